/* Which kernels this processor runs; names and sizes of the types. */
#include "tsblock/kernels.h"

const AinTsKernels *ain_tsblock_kernels(void) {
#ifdef AIN_TSBLOCK_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
      && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
      && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2")
      && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt")) {
    return &ain_tsblock_kernels_avx512;
  }
#endif
#ifdef AIN_TSBLOCK_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")
      && __builtin_cpu_supports("popcnt")) {
    return &ain_tsblock_kernels_avx2;
  }
#endif
  return &ain_tsblock_kernels_base;
}

gsize ain_dtype_size(AinDType dtype) {
  static const gsize sizes[AIN_DTYPE_COUNT] = { 1, 4, 8, 4, 8 };
  return (guint)dtype < AIN_DTYPE_COUNT ? sizes[dtype] : 0;
}

const char *ain_dtype_name(AinDType dtype) {
  static const char *const names[AIN_DTYPE_COUNT] = { "bool", "int32", "int64", "float32", "float64" };
  return (guint)dtype < AIN_DTYPE_COUNT ? names[dtype] : "unknown";
}

const char *ain_tsblock_type_name(guint8 type) {
  static const char *const names[] = { "BOOLEAN", "INT32",   "INT64",     "FLOAT", "DOUBLE", "TEXT",
                                       "VECTOR",  "UNKNOWN", "TIMESTAMP", "DATE",  "BLOB",   "STRING" };
  return type < G_N_ELEMENTS(names) ? names[type] : "an unknown type";
}
