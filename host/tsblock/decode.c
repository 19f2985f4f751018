/* Columns to a tensor. One column without nulls is one kernel call. Everything else goes in chunks of rows
 * that stay in the first-level cache: each column of the chunk is converted, rows are taken out of the packed
 * values, and the chunk's columns are interleaved into the tensor. Memory is read once and written once. */
#include "tsblock/bits.h"
#include "tsblock/kernels.h"

#include "base/error.h"

#include <math.h>

#define RANKS 512 /* samples of the rank of a dictionary's entries */

typedef struct {
  const AinTsBlock *block;
  const AinTsKernels *kernels;
  guint32 first_row;
  guint32 n_rows;
  AinDType dtype;
  guint shift; /* log2 of the element's size */
  AinNullPolicy policy;
} Job;

/* Consecutive null rows and the values beside them. */
typedef struct {
  guint64 start;
  guint64 end;
  gboolean has_left;
  gboolean has_right;
  guint64 left; /* the element, in the tensor's type */
  guint64 right;
  gdouble left_number;
  gdouble right_number;
} Run;

/* One column while it is read. */
typedef struct {
  const Job *job;
  const AinTsColumn *column;
  void (*decode)(void *to, const guint8 *values, guint64 first, gsize n);
  guint64 next_value; /* index of the next stored value; of a dictionary: not used */
  guint64 fill;       /* element for a null row, or for every row of a constant column */
  Run run;            /* the last one looked up */
  AinDType storage;
  gboolean has_nulls;   /* in the rows asked for */
  guint rank_shift;     /* a rank is sampled every 1 << rank_shift entries */
  guint32 ranks[RANKS]; /* only for a dictionary with nulls: values stored before that entry */
} Cursor;

/* Chunk-sized buffers. */
typedef struct {
  guint64 nulls[AIN_TS_CHUNK_ROWS / 64];
  guint8 picked[AIN_TS_CHUNK_ROWS * 8]; /* a dictionary's values, as stored */
  guint8 packed[(AIN_TS_CHUNK_ROWS + AIN_TS_PACKED_SLACK) * 8];
} Scratch;

/* --- positions --- */

static guint64 count_nulls(const AinTsKernels *kernels, const guint8 *nulls, guint64 first, guint64 end) {
  guint64 count = 0;
  for (; first < end && (first & 7) != 0; first++) {
    count += bits_get(nulls, first) ? 1 : 0;
  }
  if (first < end) {
    count += kernels->count_bits(nulls + (first >> 3), (gsize)((end - first) >> 3));
    for (first = MAX(first, end & ~(guint64)7); first < end; first++) {
      count += bits_get(nulls, first) ? 1 : 0;
    }
  }
  return count;
}

static guint32 id_of_row(const AinTsColumn *column, guint64 row) {
  guint32 wire;
  memcpy(&wire, column->ids + 4 * row, sizeof wire);
  return __builtin_bswap32(wire);
}

static gboolean row_is_null(const AinTsColumn *column, guint64 row) {
  if (column->nulls == NULL) {
    return FALSE;
  }
  guint64 stored = column->constant ? 0 : column->dictionary ? id_of_row(column, row) : row;
  return bits_get(column->nulls, stored);
}

static void sample_ranks(Cursor *cursor) {
  const AinTsColumn *column = cursor->column;
  cursor->rank_shift = 6;
  while (((guint64)RANKS << cursor->rank_shift) < column->stored_rows) {
    cursor->rank_shift++;
  }
  guint32 rank = 0;
  guint64 step = (guint64)1 << cursor->rank_shift;
  for (guint64 row = 0, i = 0; row < column->stored_rows; row += step, i++) {
    guint64 end = MIN(row + step, column->stored_rows);
    cursor->ranks[i] = rank;
    rank += (guint32)(end - row - count_nulls(cursor->job->kernels, column->nulls, row, end));
  }
}

/* Index of the value of a dictionary's entry that is not null. */
static guint64 value_of_entry(const Cursor *cursor, guint32 id) {
  const AinTsColumn *column = cursor->column;
  if (column->nulls == NULL || cursor->storage == AIN_DTYPE_BOOL) {
    return id; /* null entries keep their bit */
  }
  guint64 sampled = (guint64)(id >> cursor->rank_shift) << cursor->rank_shift;
  return cursor->ranks[id >> cursor->rank_shift] + (id - sampled)
         - count_nulls(cursor->job->kernels, column->nulls, sampled, id);
}

static guint64 fill_of_policy(const Job *job) {
  if (job->policy != AIN_NULLS_NAN) {
    return 0;
  }
  return job->dtype == AIN_DTYPE_FLOAT32 ? 0x7fc00000U : G_GUINT64_CONSTANT(0x7ff8000000000000);
}

static void cursor_init(Cursor *cursor, const Job *job, const AinTsColumn *column) {
  cursor->job = job;
  cursor->column = column;
  cursor->storage = ain_tsblock_storage(column);
  cursor->decode = job->kernels->decode[cursor->storage][job->dtype];
  cursor->has_nulls = FALSE;
  cursor->next_value = job->first_row;
  cursor->fill = fill_of_policy(job);
  cursor->run = (Run){ 0 };
  if (column->constant) {
    if (column->nulls == NULL) {
      cursor->fill = 0;
      cursor->decode(&cursor->fill, column->values, 0, 1);
    }
  } else if (column->dictionary) {
    if (column->nulls != NULL && cursor->storage != AIN_DTYPE_BOOL) {
      sample_ranks(cursor);
    }
  } else if (column->nulls != NULL) {
    guint64 first = job->first_row;
    cursor->has_nulls = count_nulls(job->kernels, column->nulls, first, first + job->n_rows) > 0;
    if (cursor->storage != AIN_DTYPE_BOOL) {
      cursor->next_value -= count_nulls(job->kernels, column->nulls, 0, first);
    }
  }
}

/* --- null rows --- */

static void put(const Job *job, void *out, gsize at, guint64 element) {
  memcpy((guint8 *)out + (at << job->shift), &element, (gsize)1 << job->shift);
}

static void load_neighbour(const Cursor *cursor, guint64 value, guint64 *element, gdouble *number) {
  *element = 0;
  cursor->decode(element, cursor->column->values, value, 1);
  cursor->job->kernels->decode[cursor->storage][AIN_DTYPE_FLOAT64](number, cursor->column->values, value, 1);
}

/* The run around a null row. next_value: index of the first value stored behind the run. */
static const Run *find_run(Cursor *cursor, guint64 row, guint64 next_value) {
  const AinTsColumn *column = cursor->column;
  guint64 n_rows = cursor->job->block->n_rows;
  Run *run = &cursor->run;
  if (row >= run->start && row < run->end) {
    return run;
  }
  run->start = row;
  while (run->start > 0 && row_is_null(column, run->start - 1)) {
    run->start--;
  }
  run->end = row + 1;
  while (run->end < n_rows && row_is_null(column, run->end)) {
    run->end++;
  }
  run->has_left = run->start > 0;
  run->has_right = run->end < n_rows;
  guint64 left = next_value - 1;
  guint64 right = next_value;
  if (column->dictionary) {
    left = run->has_left ? value_of_entry(cursor, id_of_row(column, run->start - 1)) : 0;
    right = run->has_right ? value_of_entry(cursor, id_of_row(column, run->end)) : 0;
  } else if (cursor->storage == AIN_DTYPE_BOOL) {
    left = run->start - 1;
    right = run->end;
  }
  if (run->has_left) {
    load_neighbour(cursor, left, &run->left, &run->left_number);
  }
  if (run->has_right) {
    load_neighbour(cursor, right, &run->right, &run->right_number);
  }
  return run;
}

static guint64 interpolate(const Job *job, const Run *run, guint64 row) {
  gboolean real = job->dtype == AIN_DTYPE_FLOAT32 || job->dtype == AIN_DTYPE_FLOAT64;
  if (!run->has_left || !run->has_right || !real) {
    return run->has_left ? run->left : run->right;
  }
  gdouble part = (gdouble)(row - run->start + 1) / (gdouble)(run->end - run->start + 1);
  gdouble distance = run->right_number - run->left_number;
  gdouble value = run->left_number + distance * part;
  if (isinf(distance) && isfinite(run->left_number) && isfinite(run->right_number)) {
    value = run->left_number * (1 - part) + run->right_number * part; /* two huge values of unlike sign */
  }
  guint64 element = 0;
  if (job->dtype == AIN_DTYPE_FLOAT64) {
    memcpy(&element, &value, sizeof value);
  } else {
    gfloat narrow = (gfloat)value;
    memcpy(&element, &narrow, sizeof narrow);
  }
  return element;
}

static void interpolate_chunk(Cursor *cursor, const guint64 *nulls, guint64 row, gsize n, guint64 next_value,
                              void *out) {
  for (gsize i = 0; i < n;) {
    if (((nulls[i >> 6] >> (63 - (i & 63))) & 1) == 0) {
      next_value++;
      i++;
      continue;
    }
    const Run *run = find_run(cursor, row + i, next_value);
    gsize end = (gsize)MIN(run->end - row, n);
    for (; i < end; i++) {
      put(cursor->job, out, i, interpolate(cursor->job, run, row + i));
    }
  }
}

/* --- one chunk of one column --- */

/* Picks the values of n rows; returns how many are not null. */
static gsize pick_entries(const Cursor *cursor, guint64 row, gsize n, Scratch *scratch) {
  const AinTsColumn *column = cursor->column;
  gsize size = ain_dtype_size(cursor->storage);
  gsize used = 0;
  memset(scratch->nulls, 0, sizeof scratch->nulls);
  for (gsize i = 0; i < n; i++) {
    guint32 id = id_of_row(column, row + i);
    if (column->nulls != NULL && bits_get(column->nulls, id)) {
      scratch->nulls[i >> 6] |= (guint64)1 << (63 - (i & 63));
      continue;
    }
    guint64 value = value_of_entry(cursor, id);
    if (cursor->storage == AIN_DTYPE_BOOL) {
      guint8 bit = (guint8)(0x80U >> (used & 7));
      guint8 *byte = &scratch->picked[used >> 3];
      *byte = bits_get(column->values, value) ? *byte | bit : (guint8)(*byte & ~bit);
    } else {
      memcpy(scratch->picked + used * size, column->values + value * size, size);
    }
    used++;
  }
  return used;
}

/* Copies the null bits of n rows; returns how many rows are not null. */
static gsize copy_nulls(const AinTsColumn *column, guint64 row, gsize n, Scratch *scratch) {
  gsize nulls = 0;
  for (gsize i = 0; i < n; i += 64) {
    guint64 word = bits_window(column->nulls, row + i, (guint)MIN(n - i, 64));
    scratch->nulls[i >> 6] = word;
    nulls += (gsize)__builtin_popcountll(word);
  }
  return n - nulls;
}

static void read_constant(const Cursor *cursor, gsize n, Scratch *scratch, void *out) {
  memset(scratch->nulls, 0xff, sizeof scratch->nulls);
  cursor->job->kernels->expand[cursor->job->shift](out, scratch->packed, scratch->nulls, n, cursor->fill);
}

/* Rows out of the packed values, or the packed values themselves when no row is null. */
static void place_rows(Cursor *cursor, guint64 row, gsize n, guint64 next_value, Scratch *scratch,
                       void *out) {
  const Job *job = cursor->job;
  job->kernels->expand[job->shift](out, scratch->packed, scratch->nulls, n, cursor->fill);
  if (job->policy == AIN_NULLS_INTERPOLATE) {
    interpolate_chunk(cursor, scratch->nulls, row, n, next_value, out);
  }
}

static void read_dictionary(Cursor *cursor, guint64 row, gsize n, Scratch *scratch, void *out) {
  gsize present = pick_entries(cursor, row, n, scratch);
  if (present == n) {
    cursor->decode(out, scratch->picked, 0, n);
    return;
  }
  cursor->decode(scratch->packed, scratch->picked, 0, present);
  place_rows(cursor, row, n, 0, scratch, out);
}

/* Null rows keep a (meaningless) bit: convert all, then write over them. */
static void read_bits_with_nulls(Cursor *cursor, guint64 row, gsize n, Scratch *scratch, void *out) {
  cursor->decode(out, cursor->column->values, row, n);
  copy_nulls(cursor->column, row, n, scratch);
  for (gsize word = 0; word < (n + 63) / 64; word++) {
    guint64 left = scratch->nulls[word];
    while (left != 0) {
      guint bit = (guint)__builtin_clzll(left);
      put(cursor->job, out, word * 64 + bit, cursor->fill);
      left &= ~((guint64)1 << (63 - bit));
    }
  }
  if (cursor->job->policy == AIN_NULLS_INTERPOLATE) {
    interpolate_chunk(cursor, scratch->nulls, row, n, 0, out);
  }
}

static void read_with_nulls(Cursor *cursor, guint64 row, gsize n, Scratch *scratch, void *out) {
  guint64 next_value = cursor->next_value;
  gsize present = copy_nulls(cursor->column, row, n, scratch);
  cursor->next_value += present;
  if (present == n) {
    cursor->decode(out, cursor->column->values, next_value, n);
    return;
  }
  cursor->decode(scratch->packed, cursor->column->values, next_value, present);
  place_rows(cursor, row, n, next_value, scratch, out);
}

/* Rows row .. row + n - 1 (n at most AIN_TS_CHUNK_ROWS) to n consecutive elements. Chunks are read in order.
 */
static void read_chunk(Cursor *cursor, guint64 row, gsize n, Scratch *scratch, void *out) {
  if (cursor->column->constant) {
    read_constant(cursor, n, scratch, out);
  } else if (cursor->column->dictionary) {
    read_dictionary(cursor, row, n, scratch, out);
  } else if (!cursor->has_nulls) {
    cursor->decode(out, cursor->column->values, cursor->next_value, n);
    cursor->next_value += n;
  } else if (cursor->storage == AIN_DTYPE_BOOL) {
    read_bits_with_nulls(cursor, row, n, scratch, out);
  } else {
    read_with_nulls(cursor, row, n, scratch, out);
  }
}

/* --- the tensor --- */

static void write_column(const Job *job, const AinTsColumn *column, guint8 *dst) {
  Cursor cursor;
  Scratch scratch;
  cursor_init(&cursor, job, column);
  if (!column->constant && !column->dictionary && !cursor.has_nulls) {
    cursor.decode(dst, column->values, cursor.next_value, job->n_rows);
    return;
  }
  for (guint32 done = 0; done < job->n_rows;) {
    gsize part = MIN(job->n_rows - done, AIN_TS_CHUNK_ROWS);
    read_chunk(&cursor, (guint64)job->first_row + done, part, &scratch, dst + ((gsize)done << job->shift));
    done += (guint32)part;
  }
}

/* Columns that lie beside each other in the tensor; at most ain_tsblock_group_columns(). */
static void write_group(const Job *job, const guint *columns, guint first, guint n_columns, guint8 *dst,
                        gsize row_bytes) {
  Cursor cursors[AIN_TS_GROUP_COLUMNS];
  Scratch scratch;
  guint8 chunk[AIN_TS_GROUP_BUFFER];
  gsize column_bytes = (gsize)AIN_TS_CHUNK_ROWS << job->shift;
  for (guint i = 0; i < n_columns; i++) {
    guint index = columns != NULL ? columns[first + i] : first + i;
    cursor_init(&cursors[i], job, &job->block->columns[index]);
  }
  for (guint32 done = 0; done < job->n_rows;) {
    gsize part = MIN(job->n_rows - done, AIN_TS_CHUNK_ROWS);
    for (guint i = 0; i < n_columns; i++) {
      read_chunk(&cursors[i], (guint64)job->first_row + done, part, &scratch, chunk + i * column_bytes);
    }
    job->kernels->interleave[job->shift](dst + done * row_bytes, row_bytes, chunk, column_bytes, n_columns,
                                         part);
    done += (guint32)part;
  }
}

static void write_tensor(const Job *job, const guint *order, guint n_order, guint8 *dst) {
  if (n_order == 1) {
    write_column(job, &job->block->columns[order != NULL ? order[0] : 0], dst);
    return;
  }
  gsize row_bytes = (gsize)n_order << job->shift;
  guint group = ain_tsblock_group_columns(job->dtype);
  for (guint first = 0; first < n_order; first += group) {
    write_group(job, order, first, MIN(group, n_order - first), dst + ((gsize)first << job->shift),
                row_bytes);
  }
}

/* --- what is refused, before anything is written --- */

/* The first null row of [first, end), or end. */
static guint64 find_null(const AinTsColumn *column, guint64 first, guint64 end) {
  if (column->nulls == NULL) {
    return end;
  }
  if (column->constant || column->dictionary) {
    guint64 row = first;
    while (row < end && !row_is_null(column, row)) {
      row = column->constant ? end : row + 1;
    }
    return row;
  }
  for (guint64 row = first; row < end; row += 64) {
    guint64 window = bits_window(column->nulls, row, (guint)MIN(end - row, 64));
    if (window != 0) {
      return row + (guint)__builtin_clzll(window);
    }
  }
  return end;
}

static gboolean is_all_null(const AinTsBlock *block, const AinTsColumn *column) {
  if (!column->dictionary) {
    return column->n_nulls == column->stored_rows;
  }
  guint64 row = 0;
  while (row < block->n_rows && row_is_null(column, row)) {
    row++;
  }
  return row == block->n_rows;
}

static gboolean check_column(const Job *job, guint index, GError **error) {
  const AinTsBlock *block = job->block;
  const AinTsColumn *column = &block->columns[index];
  const char *type = ain_tsblock_type_name(column->type);
  if (column->encoding > 2) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "value column %u of %u is %s, which is no number: leave it out or convert it", index + 1,
                block->n_columns, type);
    return FALSE;
  }
  if (job->n_rows == 0 || column->n_nulls == 0) {
    return TRUE;
  }
  if (job->policy == AIN_NULLS_ERROR) {
    guint64 end = (guint64)job->first_row + job->n_rows;
    guint64 row = find_null(column, job->first_row, end);
    if (row < end) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                  "value column %u of %u (%s) is null in row %" G_GUINT64_FORMAT
                  " of %u, and the model accepts no nulls: fill or filter them in the query",
                  index + 1, block->n_columns, type, row + 1, block->n_rows);
      return FALSE;
    }
  }
  if (job->policy == AIN_NULLS_INTERPOLATE && is_all_null(block, column)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "value column %u of %u (%s) is null in every row, so there is nothing to interpolate from",
                index + 1, block->n_columns, type);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_job(const Job *job, const guint *order, guint n_order, GError **error) {
  const AinTsBlock *block = job->block;
  if (job->first_row > block->n_rows || job->n_rows > block->n_rows - job->first_row) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "%u rows from row %u on were asked of a block of %u rows", job->n_rows, job->first_row + 1,
                block->n_rows);
    return FALSE;
  }
  if (ain_dtype_size(job->dtype) == 0 || (guint)job->policy > AIN_NULLS_NAN) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "element type %d or null policy %d is unknown",
                (int)job->dtype, (int)job->policy);
    return FALSE;
  }
  if (job->policy == AIN_NULLS_NAN && job->dtype != AIN_DTYPE_FLOAT32 && job->dtype != AIN_DTYPE_FLOAT64) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "nulls cannot become NaN in a tensor of %s: use a float type or another null policy",
                ain_dtype_name(job->dtype));
    return FALSE;
  }
  for (guint i = 0; i < n_order; i++) {
    guint index = order != NULL ? order[i] : i;
    if (index >= block->n_columns) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                  "value column %u was asked of a block of %u value columns", index + 1, block->n_columns);
      return FALSE;
    }
    if (!check_column(job, index, error)) {
      return FALSE;
    }
  }
  return TRUE;
}

gboolean ain_tsblock_to_tensor(const AinTsBlock *block, const guint *order, guint n_order, guint32 first_row,
                               guint32 n_rows, AinDType dtype, AinNullPolicy nulls, void *dst,
                               GError **error) {
  Job job = { .block = block,
              .kernels = ain_tsblock_kernels(),
              .first_row = first_row,
              .n_rows = n_rows,
              .dtype = dtype,
              .policy = nulls };
  if (order == NULL) {
    n_order = block->n_columns;
  }
  if (!check_job(&job, order, n_order, error)) {
    return FALSE;
  }
  job.shift = ain_tsblock_size_class(dtype);
  if (n_rows > 0 && n_order > 0) {
    write_tensor(&job, order, n_order, dst);
  }
  return TRUE;
}
