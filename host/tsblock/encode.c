/* A tensor to a result block. A column whose source lies contiguous is one kernel call; from a row-major
 * source all columns of a chunk of rows are written before the next chunk is read, so that the source passes
 * the cache once. */
#include "tsblock/kernels.h"

#include <string.h>

static guint8 column_encoding(guint8 type) {
  return type == AIN_TS_BOOLEAN ? 0 : type == AIN_TS_INT32 || type == AIN_TS_FLOAT ? 1 : 2;
}

static AinDType column_storage(guint8 type) {
  AinTsColumn column = { .type = type, .encoding = column_encoding(type) };
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

typedef struct {
  const AinTsKernels *kernels;
  const guint8 *types;
  guint n_columns;
  guint32 n_rows;
  const guint8 *src;
  gssize row_stride;
  gssize column_stride;
  AinDType dtype;
  gsize size; /* of one element */
} Job;

/* Everything before the first value column. */
static guint8 *write_head(const Job *job, guint8 *to) {
  to = write_count(to, job->n_columns);
  for (guint i = 0; i < job->n_columns; i++) {
    *to++ = job->types[i];
  }
  to = write_count(to, job->n_rows);
  *to++ = column_encoding(AIN_TS_INT64);
  for (guint i = 0; i < job->n_columns; i++) {
    *to++ = column_encoding(job->types[i]);
  }
  gsize time_size = 1 + 8 * (gsize)job->n_rows;
  if (time_size >= AIN_TS_STREAM_BYTES) {
    job->kernels->stream_zeros(to, time_size);
  } else {
    memset(to, 0, time_size);
  }
  return to + time_size;
}

/* n contiguous elements to column values. */
static void write_values(const Job *job, guint8 type, guint8 *to, const guint8 *from, gsize n) {
  job->kernels->encode[job->dtype][column_storage(type)](to, from, n);
}

/* Columns first .. first + n_columns - 1 (one group at most), rows row .. row + n - 1 (one chunk at most,
 * from a multiple of 8 on), from a source whose columns are not contiguous. `column`: where the first one
 * begins. Returns where the one behind the last begins. */
static guint8 *write_chunk(const Job *job, guint first, guint n_columns, guint32 row, gsize n,
                           guint8 *column) {
  guint8 buffer[AIN_TS_GROUP_BUFFER];
  gsize column_bytes = AIN_TS_CHUNK_ROWS * job->size;
  const guint8 *from = job->src + (gssize)row * job->row_stride + (gssize)first * job->column_stride;
  job->kernels->deinterleave[ain_tsblock_size_class(job->dtype)](buffer, column_bytes, from, job->row_stride,
                                                                 n_columns, n);
  for (guint i = 0; i < n_columns; i++) {
    guint8 type = job->types[first + i];
    write_values(job, type, column + 1 + values_size(type, row), buffer + i * column_bytes, n);
    column += 1 + values_size(type, job->n_rows);
  }
  return column;
}

static void write_strided(const Job *job, guint8 *columns) {
  guint group = job->column_stride == (gssize)job->size ? ain_tsblock_group_columns(job->dtype) : 1;
  for (guint32 row = 0; row < job->n_rows;) {
    guint32 part = MIN(AIN_TS_CHUNK_ROWS, job->n_rows - row);
    guint8 *column = columns;
    for (guint first = 0; first < job->n_columns; first += group) {
      column = write_chunk(job, first, MIN(group, job->n_columns - first), row, part, column);
    }
    row += part;
  }
}

static void write_contiguous(const Job *job, guint8 *column) {
  for (guint i = 0; i < job->n_columns; i++) {
    write_values(job, job->types[i], column + 1, job->src + (gssize)i * job->column_stride, job->n_rows);
    column += 1 + values_size(job->types[i], job->n_rows);
  }
}

void ain_tsblock_from_tensor(guint8 *dst, const guint8 *types, guint n_columns, guint32 n_rows,
                             AinDType src_dtype, const void *src, gssize row_stride, gssize column_stride) {
  Job job = { .kernels = ain_tsblock_kernels(),
              .types = types,
              .n_columns = n_columns,
              .n_rows = n_rows,
              .src = src,
              .row_stride = row_stride,
              .column_stride = column_stride,
              .dtype = src_dtype,
              .size = ain_dtype_size(src_dtype) };
  guint8 *columns = write_head(&job, dst);
  guint8 *flag = columns;
  for (guint i = 0; i < n_columns; i++) {
    *flag = 0; /* no nulls */
    flag += 1 + values_size(types[i], n_rows);
  }
  if (row_stride == (gssize)job.size) {
    write_contiguous(&job, columns);
  } else {
    write_strided(&job, columns);
  }
}
