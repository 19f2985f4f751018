/* The one place that includes Python.h and NumPy's headers: the stable ABI of CPython 3.9, NumPy's C API as
 * of 1.19, so that one build serves every interpreter from 3.9 and every NumPy from 1.19 on. */
#pragma once
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03090000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define NPY_TARGET_VERSION NPY_1_19_API_VERSION
#include <numpy/arrayobject.h>
#pragma GCC diagnostic pop
