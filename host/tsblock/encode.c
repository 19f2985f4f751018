/* A tensor to a result block. A column whose source lies contiguous is one kernel call; from a row-major
 * source all columns of a chunk of rows are written before the next chunk is read, so that the source passes
 * the cache once. */
#include "tsblock/kernels.h"

#include <string.h>

static guint32 column_encoding(guint8 type) {
  return type == AIN_TS_BOOLEAN ? 0 : type == AIN_TS_INT32 || type == AIN_TS_FLOAT ? 1 : 2;
}

static AinDType column_storage(guint8 type) {
  AinTsColumn column = { .type = type, .encoding = (guint8)column_encoding(type) };
  return ain_tsblock_storage(&column);
}

/* Bytes of the values of `rows` rows. */
static guint64 values_size(guint8 type, guint64 rows) {
  return type == AIN_TS_BOOLEAN ? (rows + 7) / 8 : rows * ain_dtype_size(column_storage(type));
}

gsize ain_tsblock_encoded_size(const guint8 *types, guint n_columns, guint32 n_rows) {
  if (n_rows > G_MAXINT32 || n_columns > G_MAXINT32) {
    return 0; /* the format counts in int32 */
  }
  gsize size = 4 + 4 + 1 + 2 * (gsize)n_columns;
  if (__builtin_add_overflow(size, (guint64)n_rows * 8 + 1, &size)) {
    return 0;
  }
  for (guint i = 0; i < n_columns; i++) {
    if (types[i] > AIN_TS_DOUBLE || __builtin_add_overflow(size, values_size(types[i], n_rows) + 1, &size)) {
      return 0;
    }
  }
  return size;
}

static guint8 *write_count(guint8 *to, guint32 value) {
  guint32 wire = __builtin_bswap32(value);
  memcpy(to, &wire, sizeof wire);
  return to + sizeof wire;
}

/* Everything before the first value column. */
static guint8 *write_head(guint8 *to, const guint8 *types, guint n_columns, guint32 n_rows) {
  to = write_count(to, n_columns);
  for (guint i = 0; i < n_columns; i++) {
    *to++ = types[i];
  }
  to = write_count(to, n_rows);
  *to++ = (guint8)column_encoding(AIN_TS_INT64);
  for (guint i = 0; i < n_columns; i++) {
    *to++ = (guint8)column_encoding(types[i]);
  }
  gsize time_size = 1 + 8 * (gsize)n_rows;
  memset(to, 0, time_size);
  return to + time_size;
}

typedef struct {
  const AinTsKernels *kernels;
  const guint8 *src;
  gssize row_stride;
  gssize column_stride;
  AinDType dtype;
} Source;

/* Rows first .. first + n - 1 of one column; first is a multiple of 8. */
static void write_rows(const Source *source, guint column, guint8 type, guint32 first, gsize n,
                       guint8 *values) {
  const guint8 *from =
      source->src + (gssize)column * source->column_stride + (gssize)first * source->row_stride;
  guint8 *to = values + values_size(type, first);
  AinDType storage = column_storage(type);
  if (source->row_stride == (gssize)ain_dtype_size(source->dtype)) {
    source->kernels->encode[source->dtype][storage](to, from, n);
    return;
  }
  guint8 buffer[AIN_TS_CHUNK_ROWS * 8];
  guint shift = ain_tsblock_size_class(source->dtype);
  for (gsize done = 0; done < n; done += AIN_TS_CHUNK_ROWS) {
    gsize part = MIN(n - done, AIN_TS_CHUNK_ROWS);
    source->kernels->gather[shift](buffer, from + (gssize)done * source->row_stride, source->row_stride,
                                   part);
    source->kernels->encode[source->dtype][storage](to + values_size(type, done), buffer, part);
  }
}

void ain_tsblock_from_tensor(guint8 *dst, const guint8 *types, guint n_columns, guint32 n_rows,
                             AinDType src_dtype, const void *src, gssize row_stride, gssize column_stride) {
  Source source = { ain_tsblock_kernels(), src, row_stride, column_stride, src_dtype };
  guint8 *columns = write_head(dst, types, n_columns, n_rows);
  guint32 step = row_stride == (gssize)ain_dtype_size(src_dtype) ? n_rows : AIN_TS_CHUNK_ROWS;
  guint32 first = 0;
  do { /* once also without rows: every column has its flag */
    guint32 part = MIN(step, n_rows - first);
    guint8 *column = columns;
    for (guint i = 0; i < n_columns; i++) {
      *column++ = 0; /* no nulls */
      write_rows(&source, i, types[i], first, part, column);
      column += values_size(types[i], n_rows);
    }
    first += part;
  } while (first < n_rows);
}
