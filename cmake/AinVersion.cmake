# Version and build info that SHOW CLUSTER prints: our version and the short commit, "-dev" when the tree is dirty.
set(AIN_BUILD_INFO "UNKNOWN")
find_package(Git QUIET)
if(GIT_FOUND AND EXISTS ${CMAKE_SOURCE_DIR}/.git)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${CMAKE_SOURCE_DIR} rev-parse --short=7 HEAD
                  OUTPUT_VARIABLE _commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE _rc)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${CMAKE_SOURCE_DIR} status --porcelain --untracked-files=no
                  OUTPUT_VARIABLE _dirty OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(_rc EQUAL 0 AND _commit)
    set(AIN_BUILD_INFO "${_commit}")
    if(_dirty)
      string(APPEND AIN_BUILD_INFO "-dev")
    endif()
  endif()
endif()
configure_file(${CMAKE_SOURCE_DIR}/cmake/ain-version.h.in ${CMAKE_BINARY_DIR}/generated/ain-version.h @ONLY)
target_include_directories(ain_flags INTERFACE ${CMAKE_BINARY_DIR}/generated)
