# Headers for the one module that Python sees: Python.h of any CPython >= 3.9 (only its stable ABI of 3.9 is used) and
# NumPy >= 2 (modules built with 2.x headers run on 1.19 and later; those built with 1.x headers do not run on 2.x).
# NumPy's headers come out of a wheel that pip downloads into the cache directory once.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
set(AIN_PYTHON_INCLUDE "" CACHE PATH "Folder of Python.h")
if(NOT AIN_PYTHON_INCLUDE)
  foreach(_python ${Python3_EXECUTABLE} /usr/bin/python3)
    execute_process(COMMAND ${_python} -c "import sysconfig; print(sysconfig.get_path('include'))"
                    OUTPUT_VARIABLE _include OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(_include AND EXISTS ${_include}/Python.h)
      set(AIN_PYTHON_INCLUDE ${_include} CACHE PATH "Folder of Python.h" FORCE)
      break()
    endif()
  endforeach()
  if(NOT AIN_PYTHON_INCLUDE)
    message(FATAL_ERROR "Python.h not found: apt-get install python3-dev, or set AIN_PYTHON_INCLUDE")
  endif()
endif()

set(AIN_NUMPY_INCLUDE "" CACHE PATH "Folder that holds numpy/arrayobject.h of NumPy 2 or later")
if(NOT AIN_NUMPY_INCLUDE)
  if(DEFINED ENV{IOTDB_AINODE_CACHE})
    set(_cache $ENV{IOTDB_AINODE_CACHE})
  else()
    set(_cache $ENV{HOME}/.cache/iotdb-ainode)
  endif()
  set(_numpy ${_cache}/numpy-headers)
  if(NOT EXISTS ${_numpy}/numpy/_core/include/numpy/arrayobject.h)
    message(STATUS "Downloading NumPy's headers")
    execute_process(COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-deps --only-binary=:all:
                            --python-version 3.12 --implementation cp --abi cp312 --platform manylinux2014_x86_64
                            --dest ${_numpy}/wheel numpy==2.0.2
                    RESULT_VARIABLE _failed)
    file(GLOB _wheel ${_numpy}/wheel/numpy-*.whl)
    if(_failed OR NOT _wheel)
      message(FATAL_ERROR "NumPy's headers could not be downloaded; install pip, or set AIN_NUMPY_INCLUDE")
    endif()
    file(ARCHIVE_EXTRACT INPUT ${_wheel} DESTINATION ${_numpy} PATTERNS "numpy/_core/include/*")
    file(REMOVE_RECURSE ${_numpy}/wheel)
  endif()
  set(AIN_NUMPY_INCLUDE ${_numpy}/numpy/_core/include CACHE PATH "Folder of numpy/arrayobject.h" FORCE)
endif()
