/* Tensors to result blocks: every element type to every column type, any strides, compared byte by byte with
 * the tests' own writer; sizes that overflow. */
#include "tsblock/kernels.h"
#include "wire.h"

#include <math.h>
#include <string.h>

static const guint8 types[] = { AIN_TS_BOOLEAN, AIN_TS_INT32, AIN_TS_INT64, AIN_TS_FLOAT, AIN_TS_DOUBLE };

/* One element of a source as a number both ways. */
static Cell source_cell(const guint8 *at, AinDType dtype) {
  Cell cell = { 0 };
  gint32 i32;
  gfloat f32;
  switch (dtype) {
  case AIN_DTYPE_BOOL:
    cell.integer = *at;
    break;
  case AIN_DTYPE_INT32:
    memcpy(&i32, at, 4);
    cell.integer = i32;
    break;
  case AIN_DTYPE_INT64:
    memcpy(&cell.integer, at, 8);
    break;
  case AIN_DTYPE_FLOAT32:
    memcpy(&f32, at, 4);
    cell.real = f32;
    break;
  default:
    memcpy(&cell.real, at, 8);
  }
  return cell;
}

/* What the column stores of it; NaN are canonical in the tests' writer because NAN is. */
static Cell stored_cell(const Cell *source, AinDType dtype, guint8 type) {
  static const guint8 source_types[] = { AIN_TS_BOOLEAN, AIN_TS_INT32, AIN_TS_INT64, AIN_TS_FLOAT,
                                         AIN_TS_DOUBLE };
  static const AinDType stored[] = { AIN_DTYPE_BOOL, AIN_DTYPE_INT32, AIN_DTYPE_INT64, AIN_DTYPE_FLOAT32,
                                     AIN_DTYPE_FLOAT64 };
  guint64 element = wire_element(source, source_types[dtype], stored[type]);
  Cell cell = source_cell((const guint8 *)&element, stored[type]);
  if (isnan(cell.real)) {
    cell.real = NAN;
  }
  return cell;
}

static void assert_encoded(const guint8 *columns, guint n_columns, guint32 n_rows, AinDType dtype,
                           const guint8 *src, gssize row_stride, gssize column_stride) {
  g_autofree WireColumn *wire = g_new(WireColumn, n_columns + 1);
  g_autofree Cell *cells = g_new0(Cell, (gsize)n_columns * n_rows + 1);
  for (guint c = 0; c < n_columns; c++) {
    for (guint32 row = 0; row < n_rows; row++) {
      Cell source = source_cell(src + (gssize)row * row_stride + (gssize)c * column_stride, dtype);
      cells[(gsize)c * n_rows + row] = stored_cell(&source, dtype, columns[c]);
    }
    wire[c] = (WireColumn){ .type = columns[c], .cells = cells + (gsize)c * n_rows };
  }
  g_autoptr(GByteArray) expected = wire_block(wire, n_columns, n_rows);
  gsize head = 4 + n_columns + 4 + n_columns + 1 + 1;
  memset(expected->data + head, 0, 8 * (gsize)n_rows); /* results carry no times */
  gsize size = ain_tsblock_encoded_size(columns, n_columns, n_rows);
  g_assert_cmpuint(size, ==, expected->len);
  g_autofree guint8 *block = g_malloc(size);
  memset(block, 0xee, size);
  ain_tsblock_from_tensor(block, columns, n_columns, n_rows, dtype, src, row_stride, column_stride);
  wire_assert_bytes(block, size, expected->data, expected->len);
}

/* Random elements with odd ones among them; bools are 0 or 1. */
static guint8 *random_source(guint64 *seed, AinDType dtype, gsize n) {
  gsize size = ain_dtype_size(dtype);
  static const guint8 source_types[] = { AIN_TS_BOOLEAN, AIN_TS_INT32, AIN_TS_INT64, AIN_TS_FLOAT,
                                         AIN_TS_DOUBLE };
  g_autofree Cell *cells = wire_random_cells(seed, source_types[dtype], (guint32)n, 0);
  guint8 *source = g_malloc(n * size + 1);
  for (gsize i = 0; i < n; i++) {
    guint64 element = wire_element(&cells[i], source_types[dtype], dtype);
    memcpy(source + i * size, &element, size);
  }
  return source;
}

static void test_one_column(void) {
  static const guint32 sizes[] = { 0, 1, 7, 8, 9, 255, 256, 257, 1000 };
  guint64 seed = 1;
  for (AinDType dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
    gssize size = (gssize)ain_dtype_size(dtype);
    for (guint t = 0; t < G_N_ELEMENTS(types); t++) {
      for (guint s = 0; s < G_N_ELEMENTS(sizes); s++) {
        guint32 n = sizes[s];
        g_autofree guint8 *source = random_source(&seed, dtype, 3 * (gsize)n + 1);
        assert_encoded(&types[t], 1, n, dtype, source, size, 0);
        assert_encoded(&types[t], 1, n, dtype, source, 3 * size, 0);
        assert_encoded(&types[t], 1, n, dtype, source, 0, 0);
        assert_encoded(&types[t], 1, n, dtype, source + (gssize)(n > 0 ? n - 1 : 0) * size, -size, 0);
      }
    }
  }
}

static void test_many_columns(void) {
  static const guint32 sizes[] = { 1, 3, 96, 300, 513 };
  guint64 seed = 2;
  for (guint n_columns = 0; n_columns <= 35; n_columns++) {
    guint8 columns[35];
    for (guint i = 0; i < n_columns; i++) {
      columns[i] = types[wire_random(&seed) % G_N_ELEMENTS(types)];
    }
    for (AinDType dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
      gssize size = (gssize)ain_dtype_size(dtype);
      guint32 n = sizes[(n_columns + (guint)dtype) % G_N_ELEMENTS(sizes)];
      gssize width = (gssize)n_columns;
      g_autofree guint8 *source = random_source(&seed, dtype, (gsize)n * (n_columns + 2) * 2);
      assert_encoded(columns, n_columns, n, dtype, source, width * size, size);       /* rows */
      assert_encoded(columns, n_columns, n, dtype, source, (width + 2) * size, size); /* part of wider rows */
      assert_encoded(columns, n_columns, n, dtype, source, size, (gssize)n * size);   /* columns */
      assert_encoded(columns, n_columns, n, dtype, source, 2 * width * size, 2 * size);
      assert_encoded(columns, n_columns, n, dtype, source, size, 0); /* every column the same */
      assert_encoded(columns, n_columns, n, dtype, source + (width > 0 ? width - 1 : 0) * size, width * size,
                     -size);
    }
  }
}

static void test_unaligned_source(void) {
  guint64 seed = 3;
  g_autofree guint8 *source = random_source(&seed, AIN_DTYPE_FLOAT64, 300);
  const guint8 columns[] = { AIN_TS_DOUBLE, AIN_TS_FLOAT, AIN_TS_INT32 };
  for (gsize offset = 0; offset < 8; offset++) {
    assert_encoded(columns, 3, 90, AIN_DTYPE_FLOAT64, source + offset, 24, 8);
    assert_encoded(columns, 1, 90, AIN_DTYPE_FLOAT64, source + offset, 8, 8);
    assert_encoded(columns, 3, 90, AIN_DTYPE_INT64, source + offset, 17, 5);
  }
}

static void test_nan_is_canonical(void) {
  static const guint64 wide[] = { G_GUINT64_CONSTANT(0xfff8000000000001),
                                  G_GUINT64_CONSTANT(0x7ff0000000000001) };
  static const guint32 narrow[] = { 0xffc00001U, 0x7f800001U };
  static const guint8 java_double[] = { 0x7f, 0xf8, 0, 0, 0, 0, 0, 0 };
  static const guint8 java_float[] = { 0x7f, 0xc0, 0, 0 };
  const guint8 columns[] = { AIN_TS_DOUBLE, AIN_TS_FLOAT, AIN_TS_INT64, AIN_TS_INT32 };
  guint8 block[128];
  for (guint i = 0; i < 4; i++) {
    gboolean is_wide = i < 2;
    gsize size = ain_tsblock_encoded_size(columns, 4, 1);
    g_assert_cmpuint(size, <=, sizeof block);
    ain_tsblock_from_tensor(block, columns, 4, 1, is_wide ? AIN_DTYPE_FLOAT64 : AIN_DTYPE_FLOAT32,
                            is_wide ? (const void *)&wide[i % 2] : (const void *)&narrow[i % 2], 0, 0);
    const guint8 *at = block + size - (1 + 8 + 1 + 4 + 1 + 8 + 1 + 4);
    wire_assert_bytes(at + 1, 8, java_double, 8);
    wire_assert_bytes(at + 10, 4, java_float, 4);
    for (guint k = 15; k < 28; k++) {
      g_assert_cmphex(at[k], ==, 0);
    }
  }
}

static void test_sizes(void) {
  static guint8 doubles[70000];
  memset(doubles, AIN_TS_DOUBLE, sizeof doubles);
  for (guint type = 0; type < 256; type++) {
    guint8 byte = (guint8)type;
    g_assert_true((ain_tsblock_encoded_size(&byte, 1, 5) > 0) == (type <= AIN_TS_DOUBLE));
  }
  g_assert_cmpuint(ain_tsblock_encoded_size(NULL, 0, 0), ==, 10);
  g_assert_cmpuint(ain_tsblock_encoded_size(NULL, 0, 3), ==, 34);
  g_assert_cmpuint(ain_tsblock_encoded_size(doubles, 1, (guint32)G_MAXINT32), ==,
                   4 + 1 + 4 + 2 + 2 + (gsize)G_MAXINT32 * 16);
  g_assert_cmpuint(ain_tsblock_encoded_size(doubles, 1, (guint32)G_MAXINT32 + 1), ==, 0);
  g_assert_cmpuint(ain_tsblock_encoded_size(doubles, sizeof doubles, (guint32)G_MAXINT32), ==,
                   4 + 4 + 1 + 1 + 3 * sizeof doubles + 8 * (gsize)G_MAXINT32 * (sizeof doubles + 1));
}

/* Large enough for the time column to be written past the caches. */
static void test_large(void) {
  const guint32 n = AIN_TS_STREAM_BYTES / 8 + 5;
  const guint8 columns[] = { AIN_TS_INT32, AIN_TS_BOOLEAN };
  const gint32 row[] = { 0x01020304, 0 };
  gsize size = ain_tsblock_encoded_size(columns, 2, n);
  g_autofree guint8 *block = g_malloc(size);
  memset(block, 0xee, size);
  ain_tsblock_from_tensor(block, columns, 2, n, AIN_DTYPE_INT32, row, 0, 4);
  g_auto(AinTsBlock) parsed = { 0 };
  g_assert_true(ain_tsblock_parse(&parsed, block, size, NULL));
  const guint8 *time = parsed.time.values;
  g_assert_cmpint(time[0], ==, 0);
  g_assert_cmpint(memcmp(time, time + 1, 8 * (gsize)n - 1), ==, 0);
  g_assert_cmpint(memcmp(parsed.columns[0].values, ((const guint8[]){ 1, 2, 3, 4 }), 4), ==, 0);
  g_assert_cmpint(memcmp(parsed.columns[0].values, parsed.columns[0].values + 4, 4 * (gsize)n - 4), ==, 0);
  g_assert_cmpint(parsed.columns[1].values[0], ==, 0);
  g_assert_cmpint(memcmp(parsed.columns[1].values, parsed.columns[1].values + 1, ((gsize)n + 7) / 8 - 1), ==,
                  0);
}

static void test_dtypes(void) {
  static const gsize sizes[] = { 1, 4, 8, 4, 8 };
  static const char *const names[] = { "bool", "int32", "int64", "float32", "float64" };
  for (AinDType dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
    g_assert_cmpuint(ain_dtype_size(dtype), ==, sizes[dtype]);
    g_assert_cmpstr(ain_dtype_name(dtype), ==, names[dtype]);
  }
  g_assert_cmpuint(ain_dtype_size((AinDType)5), ==, 0);
  g_assert_cmpstr(ain_dtype_name((AinDType)-1), ==, "unknown");
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/tsblock/encode/one-column", test_one_column);
  g_test_add_func("/tsblock/encode/many-columns", test_many_columns);
  g_test_add_func("/tsblock/encode/unaligned", test_unaligned_source);
  g_test_add_func("/tsblock/encode/nan", test_nan_is_canonical);
  g_test_add_func("/tsblock/encode/sizes", test_sizes);
  g_test_add_func("/tsblock/encode/large", test_large);
  g_test_add_func("/tsblock/encode/dtypes", test_dtypes);
  return g_test_run();
}
