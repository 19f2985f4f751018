/* The kernels of every instruction set must give the same bytes. On a processor with one set only, the base
 * set is compared with itself; what it gives is checked by the other tests through whichever set runs. */
#include "tsblock/kernels.h"
#include "wire.h"

#include <math.h>
#include <string.h>

enum { MOST = 700, ROOM = (MOST + AIN_TS_PACKED_SLACK) * 8 };

typedef struct {
  guint64 in[ROOM / 8];
  guint8 a[ROOM];
  guint8 b[ROOM];
} Buffers;

static void fill(GRand *random, Buffers *buffers) {
  for (guint i = 0; i < G_N_ELEMENTS(buffers->in); i++) {
    buffers->in[i] = (guint64)g_rand_int(random) << 32 | g_rand_int(random);
    if (i % 5 == 0) { /* an everyday number, in network order */
      gdouble number = g_rand_double_range(random, -1e6, 1e6);
      memcpy(&buffers->in[i], &number, 8);
      buffers->in[i] = GUINT64_SWAP_LE_BE(buffers->in[i]);
    }
  }
  memset(buffers->a, 0xee, ROOM);
  memset(buffers->b, 0xee, ROOM);
}

static void assert_same(const Buffers *buffers) {
  wire_assert_bytes(buffers->a, ROOM, buffers->b, ROOM);
}

static void compare_conversions(GRand *random, Buffers *buffers, const AinTsKernels *best, guint from,
                                guint to) {
  const AinTsKernels *base = &ain_tsblock_kernels_base;
  for (gsize n = 0; n <= MOST; n += n < 70 ? 1 : 97) {
    guint64 first = n % 9;
    fill(random, buffers);
    base->decode[from][to](buffers->a, (const guint8 *)buffers->in, first, n - MIN(n, first));
    best->decode[from][to](buffers->b, (const guint8 *)buffers->in, first, n - MIN(n, first));
    assert_same(buffers);
    fill(random, buffers);
    base->encode[from][to](buffers->a, buffers->in, n);
    best->encode[from][to](buffers->b, buffers->in, n);
    assert_same(buffers);
  }
}

static void test_conversions(gconstpointer table) {
  g_autoptr(GRand) random = g_rand_new_with_seed(1);
  g_autofree Buffers *buffers = g_new(Buffers, 1);
  for (guint from = 0; from < AIN_DTYPE_COUNT; from++) {
    for (guint to = 0; to < AIN_DTYPE_COUNT; to++) {
      compare_conversions(random, buffers, table, from, to);
    }
  }
}

static void test_expand(gconstpointer table) {
  static const guint shifts[] = { 0, 2, 3 };
  g_autoptr(GRand) random = g_rand_new_with_seed(2);
  g_autofree Buffers *buffers = g_new(Buffers, 1);
  const AinTsKernels *best = table;
  for (guint round = 0; round < 300; round++) {
    guint shift = shifts[round % 3];
    gsize n = (gsize)g_rand_int_range(random, 0, AIN_TS_CHUNK_ROWS + 1);
    guint64 nulls[AIN_TS_CHUNK_ROWS / 64];
    for (guint i = 0; i < G_N_ELEMENTS(nulls); i++) {
      nulls[i] = (guint64)g_rand_int(random) << 32 | g_rand_int(random);
      nulls[i] = round % 7 == 0 ? G_MAXUINT64 : round % 7 == 1 ? 0 : nulls[i];
    }
    fill(random, buffers);
    ain_tsblock_kernels_base.expand[shift](buffers->a, buffers->in, nulls, n, 0x1122334455667788);
    best->expand[shift](buffers->b, buffers->in, nulls, n, 0x1122334455667788);
    assert_same(buffers);
    const guint8 *packed = (const guint8 *)buffers->in;
    const guint64 filler = 0x1122334455667788;
    for (gsize i = 0; i < n; i++) {
      gboolean is_null = ((nulls[i / 64] << (i % 64)) >> 63) != 0;
      gsize size = (gsize)1 << shift;
      wire_assert_bytes(buffers->a + i * size, size, is_null ? (const guint8 *)&filler : packed, size);
      packed += is_null ? 0 : size;
    }
  }
}

static void test_interleave(gconstpointer table) {
  static const guint shifts[] = { 0, 2, 3 };
  g_autoptr(GRand) random = g_rand_new_with_seed(3);
  g_autofree Buffers *buffers = g_new(Buffers, 1);
  const AinTsKernels *tables[] = { &ain_tsblock_kernels_base, table };
  for (guint round = 0; round < 400; round++) {
    guint shift = shifts[round % 3];
    gsize size = (gsize)1 << shift;
    guint n_columns = 1 + round % 16;
    gsize n = (gsize)g_rand_int_range(random, 0, 25);
    gsize width = n_columns + (round % 5 == 0 ? 3 : 0); /* rows of a wider tensor */
    for (guint t = 0; t < G_N_ELEMENTS(tables); t++) {
      fill(random, buffers);
      tables[t]->interleave[shift](buffers->a, width * size, (const guint8 *)buffers->in, 25 * size,
                                   n_columns, n);
      for (gsize row = 0; row < 25; row++) {
        for (gsize c = 0; c < width; c++) {
          gboolean written = row < n && c < n_columns;
          const guint8 *from = (const guint8 *)buffers->in + (c * 25 + row) * size;
          wire_assert_bytes(buffers->a + (row * width + c) * size, size, written ? from : buffers->b, size);
        }
      }
      tables[t]->deinterleave[shift](buffers->b, 25 * size, buffers->a, (gssize)(width * size), n_columns, n);
      for (gsize c = 0; c < n_columns; c++) {
        wire_assert_bytes(buffers->b + c * 25 * size, n * size, (const guint8 *)buffers->in + c * 25 * size,
                          n * size);
      }
    }
  }
}

static void test_count_and_zeros(gconstpointer table) {
  const AinTsKernels *best = table;
  g_autoptr(GRand) random = g_rand_new_with_seed(4);
  g_autofree Buffers *buffers = g_new(Buffers, 1);
  for (gsize n = 0; n < 300; n++) {
    fill(random, buffers);
    guint64 count = 0;
    for (gsize i = 0; i < n * 8; i++) {
      count += (((const guint8 *)buffers->in)[i / 8] >> (i % 8)) & 1;
    }
    g_assert_cmpuint(ain_tsblock_kernels_base.count_bits((const guint8 *)buffers->in, n), ==, count);
    g_assert_cmpuint(best->count_bits((const guint8 *)buffers->in, n), ==, count);
    gsize at = n % 67;
    ain_tsblock_kernels_base.stream_zeros(buffers->a + at, n);
    best->stream_zeros(buffers->b + at, n);
    assert_same(buffers);
    for (gsize i = 0; i < ROOM; i++) {
      g_assert_cmphex(buffers->a[i], ==, i >= at && i < at + n ? 0 : 0xee);
    }
  }
}

/* Whole lines are written from every place in a line on, and past the caches from a size on. */
static void compare_lines(const AinTsKernels *best, guint from, guint to, gsize n, gsize at) {
  gsize size = n * ain_dtype_size((AinDType)to);
  g_autofree guint8 *in = g_malloc(n * 8);
  g_autofree guint8 *a = g_malloc(size + 256);
  g_autofree guint8 *b = g_malloc(size + 256);
  memset(a, 0xee, size + 256);
  memset(b, 0xee, size + 256);
  for (gsize i = 0; i < n; i++) {
    gdouble number = i % 13 == 5 ? (gdouble)NAN : (gdouble)i * 1.7 - 300;
    gfloat narrow = (gfloat)number;
    memcpy(in + i * ain_dtype_size((AinDType)from),
           from == AIN_DTYPE_FLOAT32 ? (const void *)&narrow : (const void *)&number,
           ain_dtype_size((AinDType)from));
  }
  /* the same place in a line for both, whatever the allocator gave */
  guint8 *to_a = a + (-(guintptr)a & 63) + at;
  guint8 *to_b = b + (-(guintptr)b & 63) + at;
  ain_tsblock_kernels_base.encode[from][to](to_a, in, n);
  best->encode[from][to](to_b, in, n);
  wire_assert_bytes(to_b - at, size + at + 64, to_a - at, size + at + 64);
}

static void test_lines(gconstpointer table) {
  for (guint pair = 0; pair < 4; pair++) {
    guint from = pair % 2 == 0 ? AIN_DTYPE_FLOAT32 : AIN_DTYPE_FLOAT64;
    guint to = pair / 2 == 0 ? AIN_DTYPE_FLOAT32 : AIN_DTYPE_FLOAT64;
    for (gsize at = 0; at < 64; at++) {
      for (gsize n = 30; n < 150; n += 7) {
        compare_lines(table, from, to, n, at);
      }
    }
    compare_lines(table, from, to, AIN_TS_STREAM_BYTES / ain_dtype_size((AinDType)to) + 11, 13);
  }
}

static void add_all(const AinTsKernels *table) {
  static const struct {
    const char *name;
    GTestDataFunc run;
  } tests[] = { { "conversions", test_conversions },
                { "expand", test_expand },
                { "interleave", test_interleave },
                { "count-and-zeros", test_count_and_zeros },
                { "lines", test_lines } };
  for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
    g_autofree char *path = g_strdup_printf("/tsblock/kernels/%s/%s", table->name, tests[i].name);
    g_test_add_data_func(path, table, tests[i].run);
  }
}

/* Every set that this processor has: the best one, and those below it. */
int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  add_all(ain_tsblock_kernels());
#if defined AIN_TSBLOCK_AVX2 && defined AIN_TSBLOCK_AVX512
  if (ain_tsblock_kernels() == &ain_tsblock_kernels_avx512) {
    add_all(&ain_tsblock_kernels_avx2);
  }
#endif
  return g_test_run();
}
