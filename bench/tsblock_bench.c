/* How fast TsBlocks are read and written, in GB of value bytes (columns, as on the wire) a second, beside
 * memcpy of as many bytes. Writing also beside memcpy of the values and memset of the block's other bytes
 * (the time column, mostly), which no writer can do without, and for one column without that: the values
 * alone. They alternate within one run and the median of each counts, so that a busy machine slows all.
 * Reading includes ain_tsblock_parse(). Usage: bench_tsblock [seconds per case, default 0.5] */
#include "tsblock/kernels.h"
#include "tsblock/tsblock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
  const char *name;
  guint8 types[8];
  guint n_columns;
  AinDType dtype;
  gboolean nulls;  /* 30 % of the rows */
  gboolean encode; /* tensor to block instead of block to tensor */
} Case;

static const Case cases[] = {
  { "decode 1 double -> float64", { 4 }, 1, AIN_DTYPE_FLOAT64, FALSE, FALSE },
  { "decode 1 double -> float32", { 4 }, 1, AIN_DTYPE_FLOAT32, FALSE, FALSE },
  { "decode 1 float  -> float32", { 3 }, 1, AIN_DTYPE_FLOAT32, FALSE, FALSE },
  { "decode 2 double -> float32", { 4, 4 }, 2, AIN_DTYPE_FLOAT32, FALSE, FALSE },
  { "decode 8 mixed  -> float32", { 0, 1, 2, 3, 4, 4, 1, 3 }, 8, AIN_DTYPE_FLOAT32, FALSE, FALSE },
  { "decode 1 double -> float64, 30% null", { 4 }, 1, AIN_DTYPE_FLOAT64, TRUE, FALSE },
  { "decode 1 double -> float32, 30% null", { 4 }, 1, AIN_DTYPE_FLOAT32, TRUE, FALSE },
  { "decode 2 double -> float32, 30% null", { 4, 4 }, 2, AIN_DTYPE_FLOAT32, TRUE, FALSE },
  { "encode 1 float64 -> double", { 4 }, 1, AIN_DTYPE_FLOAT64, FALSE, TRUE },
  { "encode 1 float32 -> double", { 4 }, 1, AIN_DTYPE_FLOAT32, FALSE, TRUE },
  { "encode 1 float32 -> float", { 3 }, 1, AIN_DTYPE_FLOAT32, FALSE, TRUE },
  { "encode 2 float32 -> double", { 4, 4 }, 2, AIN_DTYPE_FLOAT32, FALSE, TRUE },
  { "encode 8 float32 -> mixed", { 0, 1, 2, 3, 4, 4, 1, 3 }, 8, AIN_DTYPE_FLOAT32, FALSE, TRUE },
};

typedef struct {
  const Case *about;
  guint32 rows;
  gsize value_bytes; /* in the block's value columns, bitmaps apart */
  gsize other_bytes; /* beside them, when it is written */
  guint8 *block;
  gsize block_size;
  guint8 *tensor;
  gsize tensor_size;
  guint8 *copy_from;
  guint8 *copy_to;
  guint8 *floor_from;
  guint8 *floor_to;
} Work;

static guint8 *buffer_new(gsize size) {
  guint8 *buffer = g_malloc(size + 64);
  for (gsize i = 0; i < size; i += 512) {
    buffer[i] = 1; /* page faults belong to nobody's time */
  }
  return buffer;
}

static gsize type_bits(guint8 type) {
  static const gsize bits[] = { 1, 32, 64, 32, 64 };
  return bits[type];
}

/* Takes the values of the null rows out of a block made without nulls. One column after another, in place:
 * the block only shrinks, but for its bitmaps, which are built aside. */
static gsize punch_nulls(guint8 *block, guint n_columns, guint32 rows) {
  gsize head = 4 + n_columns + 4 + n_columns + 1 + 1 + 8 * (gsize)rows;
  gsize bitmap_size = ((gsize)rows + 7) / 8;
  guint8 *bitmap = g_malloc0(bitmap_size);
  guint64 seed = 1;
  for (guint32 row = 0; row < rows; row++) {
    seed = seed * G_GUINT64_CONSTANT(6364136223846793005) + 1442695040888963407;
    if ((seed >> 33) % 10 < 3) {
      bitmap[row >> 3] |= (guint8)(0x80 >> (row & 7));
    }
  }
  guint8 *to = block + head;
  const guint8 *from = block + head;
  for (guint column = 0; column < n_columns; column++) {
    guint8 *values = g_memdup2(from + 1, 8 * (gsize)rows);
    from += 1 + 8 * (gsize)rows;
    *to++ = 1;
    memcpy(to, bitmap, bitmap_size);
    to += bitmap_size;
    for (guint32 row = 0; row < rows; row++) {
      if ((bitmap[row >> 3] & (0x80 >> (row & 7))) == 0) {
        memcpy(to, values + 8 * (gsize)row, 8);
        to += 8;
      }
    }
    g_free(values);
  }
  g_free(bitmap);
  return (gsize)(to - block);
}

static void encode(const Work *work) {
  gssize size = (gssize)ain_dtype_size(work->about->dtype);
  ain_tsblock_from_tensor(work->block, work->about->types, work->about->n_columns, work->rows,
                          work->about->dtype, work->tensor, size * (gssize)work->about->n_columns, size);
}

/* A single column's values, without the block around them. */
static void encode_values(const Work *work) {
  const AinTsColumn column = { .type = work->about->types[0],
                               .encoding = work->about->types[0] == AIN_TS_DOUBLE ? 2 : 1 };
  ain_tsblock_kernels()->encode[work->about->dtype][ain_tsblock_storage(&column)](
      work->block + work->other_bytes, work->tensor, work->rows);
}

static gboolean has_values_alone(const Work *work) {
  return work->about->encode && work->about->n_columns == 1;
}

static void decode(const Work *work) {
  AinTsBlock block;
  if (!ain_tsblock_parse(&block, work->block, work->block_size, NULL)
      || !ain_tsblock_to_tensor(&block, NULL, 0, 0, work->rows, work->about->dtype, AIN_NULLS_ZERO,
                                work->tensor, NULL)) {
    abort();
  }
  ain_tsblock_clear(&block);
}

static void work_init(Work *work, const Case *about, gsize bytes) {
  gsize row_bits = 0;
  for (guint i = 0; i < about->n_columns; i++) {
    row_bits += type_bits(about->types[i]);
  }
  *work = (Work){ .about = about, .rows = (guint32)(bytes * 8 / MAX(row_bits, 1)) & ~7U };
  work->block_size = ain_tsblock_encoded_size(about->types, about->n_columns, work->rows);
  work->tensor_size = (gsize)work->rows * about->n_columns * ain_dtype_size(about->dtype);
  work->block = buffer_new(work->block_size);
  work->tensor = buffer_new(work->tensor_size);
  for (gsize i = 0; i < work->tensor_size / ain_dtype_size(about->dtype); i++) {
    gdouble value = sin((gdouble)i) * 1000;
    gfloat narrow = (gfloat)value;
    memcpy(work->tensor + i * ain_dtype_size(about->dtype),
           about->dtype == AIN_DTYPE_FLOAT32 ? (const void *)&narrow : (const void *)&value,
           ain_dtype_size(about->dtype));
  }
  encode(work);
  work->value_bytes = (gsize)work->rows * row_bits / 8;
  if (about->nulls) {
    gsize full = work->block_size;
    work->block = g_realloc(work->block, full + work->rows);
    work->block_size = punch_nulls(work->block, about->n_columns, work->rows);
    work->value_bytes -= full - work->block_size + about->n_columns * (((gsize)work->rows + 7) / 8);
  }
  work->copy_from = buffer_new(work->value_bytes);
  work->other_bytes = about->encode ? work->block_size - work->value_bytes : 0;
  work->copy_to = buffer_new(work->value_bytes);
  if (about->encode) {
    work->floor_from = buffer_new(work->value_bytes); /* their own: what was just touched is in the caches */
    work->floor_to = buffer_new(work->block_size);
  }
}

static void work_clear(Work *work) {
  g_free(work->block);
  g_free(work->tensor);
  g_free(work->copy_from);
  g_free(work->copy_to);
  g_free(work->floor_from);
  g_free(work->floor_to);
}

static gdouble now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (gdouble)t.tv_sec + (gdouble)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
  gdouble x = *(const gdouble *)a;
  gdouble y = *(const gdouble *)b;
  return x < y ? -1 : x > y;
}

static gdouble median(GArray *times) {
  qsort(times->data, times->len, sizeof(gdouble), compare);
  return g_array_index(times, gdouble, times->len / 2);
}

typedef enum { OWN, COPY, FLOOR, VALUES, N_TIMES } Time;

static void note(GArray *times, gdouble *since) {
  gdouble at = now();
  gdouble took = at - *since;
  g_array_append_val(times, took);
  *since = at;
}

/* Each thing once. */
static void measure_once(const Work *work, GArray **times) {
  gdouble since = now();
  memcpy(work->copy_to, work->copy_from, work->value_bytes);
  __asm__ volatile("" : : "r"(work->copy_to) : "memory");
  note(times[COPY], &since);
  if (!work->about->encode) {
    decode(work);
    note(times[OWN], &since);
    return;
  }
  encode(work);
  note(times[OWN], &since);
  memset(work->floor_to, 0, work->other_bytes);
  memcpy(work->floor_to + work->other_bytes, work->floor_from, work->value_bytes);
  __asm__ volatile("" : : "r"(work->floor_to) : "memory");
  note(times[FLOOR], &since);
  if (has_values_alone(work)) {
    encode_values(work);
    note(times[VALUES], &since);
  }
}

/* Bytes a second of all, as medians; 0 for what was not measured. */
static void measure(const Work *work, gdouble seconds, gdouble *rates) {
  GArray *times[N_TIMES];
  for (guint i = 0; i < N_TIMES; i++) {
    times[i] = g_array_new(FALSE, FALSE, sizeof(gdouble));
  }
  gdouble end = now() + seconds;
  do {
    measure_once(work, times);
  } while (now() < end || times[OWN]->len < 5);
  for (guint i = 0; i < N_TIMES; i++) {
    rates[i] = times[i]->len > 0 ? (gdouble)work->value_bytes / median(times[i]) : 0;
    g_array_unref(times[i]);
  }
}

static void measure_case(const Case *about, gsize size, gdouble seconds) {
  Work work;
  gdouble rates[N_TIMES];
  work_init(&work, about, size);
  measure(&work, seconds, rates);
  printf("%-38s %6zu %10.1f %10.1f %7.0f%%", about->name, size >> 20, rates[OWN] / 1e9, rates[COPY] / 1e9,
         100 * rates[OWN] / rates[COPY]);
  if (about->encode) {
    printf(" %11.0f%%", 100 * rates[OWN] / rates[FLOOR]);
  }
  if (has_values_alone(&work)) {
    printf(" %11.0f%%", 100 * rates[VALUES] / rates[COPY]);
  }
  printf("\n");
  work_clear(&work);
}

int main(int argc, char **argv) {
  gdouble seconds = argc > 1 ? g_ascii_strtod(argv[1], NULL) : 0.5;
  static const gsize sizes[] = { 1 << 20, 64 << 20 };
  printf("kernels: %s\n%-38s %6s %10s %10s %8s %12s %12s\n", ain_tsblock_kernels()->name, "case", "MB",
         "GB/s", "memcpy", "ratio", "with memset", "values alone");
  for (guint s = 0; s < G_N_ELEMENTS(sizes); s++) {
    for (guint c = 0; c < G_N_ELEMENTS(cases); c++) {
      measure_case(&cases[c], sizes[s], seconds);
    }
  }
  return 0;
}
