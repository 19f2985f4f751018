/* The inner loops of the conversion, once per instruction set. Private to this folder and its tests.
 *
 * Every kernel is a pure function of its arguments: no allocation, no state. Tensor elements may be
 * unaligned; input and output never overlap. Indexes of `decode` and `encode`: AinDType. */
#pragma once
#include "tsblock/tsblock.h"

/* Where an expanded or packed chunk of rows lies between two steps; small enough for the first-level cache.
 */
#define AIN_TS_CHUNK_ROWS 256
/* Columns that are interleaved at a time, and the bytes of a tensor row they may fill: a cache line. */
#define AIN_TS_GROUP_COLUMNS 16
#define AIN_TS_GROUP_BYTES 64
/* A time column of this size is written past the caches. Measured: 1.6 times as fast at 16 MB, twice at 64
 * MB, slower at 4 MB. The same for values gains nothing. */
#define AIN_TS_STREAM_BYTES (16U << 20)
/* Elements behind a packed buffer that `expand` may read (never use). */
#define AIN_TS_PACKED_SLACK 16

typedef struct {
  const char *name;
  /* Stored values first .. first + n - 1 of a column (row: how they are stored; column: what they become),
   * written to to[0..n). */
  void (*decode[AIN_DTYPE_COUNT][AIN_DTYPE_COUNT])(void *to, const guint8 *values, guint64 first, gsize n);
  /* n contiguous elements (row: what they are; column: what the column stores), written as column values.
   * Bits start at a byte and zeros pad the last one. */
  void (*encode[AIN_DTYPE_COUNT][AIN_DTYPE_COUNT])(guint8 *to, const void *from, gsize n);
  /* n rows out of packed values: null rows (bits of `nulls`, 64 a word, most significant first) become fill.
   * May read AIN_TS_PACKED_SLACK elements behind the packed ones. Index: log2 of the element size. */
  void (*expand[4])(void *to, const void *packed, const guint64 *nulls, gsize n, guint64 fill);
  /* Columns that lie column_bytes apart, each n elements, into rows that lie row_bytes apart. Index: as
   * above.
   */
  void (*interleave[4])(guint8 *to, gsize row_bytes, const guint8 *columns, gsize column_bytes,
                        guint n_columns, gsize n);
  /* The other way round: the elements of a row lie beside each other. With one column: a strided read. */
  void (*deinterleave[4])(guint8 *columns, gsize column_bytes, const guint8 *from, gssize row_bytes,
                          guint n_columns, gsize n);
  /* Zeros that leave the caches alone, visible to all when it returns. */
  void (*stream_zeros)(guint8 *to, gsize n);
  guint64 (*count_bits)(const guint8 *bits, gsize n_bytes);
} AinTsKernels;

extern const AinTsKernels ain_tsblock_kernels_base;
#ifdef AIN_TSBLOCK_AVX2
extern const AinTsKernels ain_tsblock_kernels_avx2;
#endif
#ifdef AIN_TSBLOCK_AVX512
extern const AinTsKernels ain_tsblock_kernels_avx512;
#endif

/* The best table for this processor. */
const AinTsKernels *ain_tsblock_kernels(void);

/* log2 of ain_dtype_size(). */
static inline guint ain_tsblock_size_class(AinDType dtype) {
  return (guint)__builtin_ctzl(ain_dtype_size(dtype));
}
/* How the values of a column are stored; of no meaning for BINARY_ARRAY. */
static inline AinDType ain_tsblock_storage(const AinTsColumn *column) {
  switch (column->encoding) {
  case 0:
    return AIN_DTYPE_BOOL;
  case 1:
    return column->type == AIN_TS_FLOAT ? AIN_DTYPE_FLOAT32 : AIN_DTYPE_INT32;
  default:
    return column->type == AIN_TS_DOUBLE ? AIN_DTYPE_FLOAT64 : AIN_DTYPE_INT64;
  }
}
const char *ain_tsblock_type_name(guint8 type); /* "DOUBLE", ...; static; never NULL */
/* Columns that one group holds. */
static inline guint ain_tsblock_group_columns(AinDType dtype) {
  return MIN(AIN_TS_GROUP_COLUMNS, AIN_TS_GROUP_BYTES / (guint)ain_dtype_size(dtype));
}
#define AIN_TS_GROUP_BUFFER (AIN_TS_CHUNK_ROWS * AIN_TS_GROUP_BYTES)
