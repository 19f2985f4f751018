/* Blocks made by the server's own code: decoded and compared with what that code reads back, cut short at
 * every byte, changed at every byte; and results written as the server expects them. */
#include "base/error.h"
#include "wire.h"

#include <math.h>
#include <string.h>

typedef struct {
  guint8 type; /* the logical one; the block may carry the physical one */
  guint8 encoding;
  const Cell *cells;
} ExpectedColumn;

typedef struct {
  const char *file;
  guint32 n_rows;
  guint8 time_encoding;
  guint n_columns;
  const gint64 *time;
  const ExpectedColumn *columns;
} Expected;

#include "expectations.inc"

static guint8 *load(const char *file, gsize *size) {
  g_autofree char *path = g_build_filename(AIN_TEST_DATA, "tsblocks", file, NULL);
  g_autofree char *content = NULL;
  g_autoptr(GError) error = NULL;
  g_file_get_contents(path, &content, size, &error);
  g_assert_no_error(error);
  return wire_exact((const guint8 *)content, *size);
}

static void assert_text_column(const AinTsColumn *column, const Cell *cells, guint32 n_rows) {
  for (guint32 row = 0; row < n_rows; row++) {
    guint32 stored = column->constant ? 0 : row;
    if (column->dictionary) {
      const guint8 *id = column->ids + 4 * (gsize)row;
      stored = (guint32)id[0] << 24 | (guint32)id[1] << 16 | (guint32)id[2] << 8 | id[3];
    }
    gboolean is_null = column->nulls != NULL && ((column->nulls[stored / 8] << (stored % 8)) & 0x80) != 0;
    g_assert_true(is_null == cells[row].is_null);
    if (is_null) {
      continue;
    }
    const guint8 *at = column->values;
    guint32 length = 0;
    for (guint32 i = 0; i <= stored; i++) {
      if (column->nulls != NULL && ((column->nulls[i / 8] << (i % 8)) & 0x80) != 0) {
        continue;
      }
      at += length;
      length = (guint32)at[0] << 24 | (guint32)at[1] << 16 | (guint32)at[2] << 8 | at[3];
      at += 4;
    }
    g_assert_cmpuint(length, ==, strlen(cells[row].hex) / 2);
    for (guint32 i = 0; i < length; i++) {
      const char *hex = cells[row].hex + 2 * (gsize)i;
      g_assert_cmpint(at[i], ==, g_ascii_xdigit_value(hex[0]) * 16 + g_ascii_xdigit_value(hex[1]));
    }
  }
}

static void assert_number_column(const AinTsBlock *block, guint index, const ExpectedColumn *expected) {
  g_autofree guint8 *tensor = g_malloc((gsize)block->n_rows * 8 + 1);
  for (AinDType dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
    g_autoptr(GError) error = NULL;
    g_assert_true(
        ain_tsblock_to_tensor(block, &index, 1, 0, block->n_rows, dtype, AIN_NULLS_ZERO, tensor, &error));
    g_assert_no_error(error);
    for (guint32 row = 0; row < block->n_rows; row++) {
      const Cell *cell = &expected->cells[row];
      wire_assert_element(tensor + row * ain_dtype_size(dtype), dtype,
                          cell->is_null ? 0 : wire_element(cell, expected->type, dtype));
    }
  }
}

static void assert_time(AinTsBlock *block, const Expected *expected) {
  /* The time column is laid out as a value column is. */
  AinTsBlock times = { .n_columns = 1, .n_rows = block->n_rows, .columns = &block->time };
  g_autofree gint64 *tensor = g_new0(gint64, block->n_rows + 1);
  g_assert_true(ain_tsblock_to_tensor(&times, NULL, 0, 0, block->n_rows, AIN_DTYPE_INT64, AIN_NULLS_ERROR,
                                      tensor, NULL));
  wire_assert_bytes(tensor, 8 * (gsize)block->n_rows, expected->time, 8 * (gsize)expected->n_rows);
}

static void test_decode(void) {
  for (guint i = 0; i < G_N_ELEMENTS(expectations); i++) {
    const Expected *expected = &expectations[i];
    gsize size;
    g_autofree guint8 *data = load(expected->file, &size);
    g_autoptr(GError) error = NULL;
    g_auto(AinTsBlock) block = { 0 };
    g_test_message("%s", expected->file);
    g_assert_true(ain_tsblock_parse(&block, data, size, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(block.n_rows, ==, expected->n_rows);
    g_assert_cmpuint(block.n_columns, ==, expected->n_columns);
    g_assert_true(block.time.constant == (expected->time_encoding == 4));
    assert_time(&block, expected);
    for (guint c = 0; c < block.n_columns; c++) {
      const AinTsColumn *column = &block.columns[c];
      g_assert_cmpuint(column->encoding, ==, wire_encoding(expected->columns[c].type));
      g_assert_true(column->constant == (expected->columns[c].encoding == 4));
      g_assert_true(column->dictionary == (expected->columns[c].encoding == 5));
      if (column->encoding == 3) {
        assert_text_column(column, expected->columns[c].cells, block.n_rows);
      } else {
        assert_number_column(&block, c, &expected->columns[c]);
      }
    }
  }
}

/* Whatever was parsed must also convert or be refused, without touching a byte outside. */
static gboolean try_all(const guint8 *data, gsize size) {
  AinTsBlock block;
  g_autoptr(GError) error = NULL;
  if (!ain_tsblock_parse(&block, data, size, &error)) {
    g_assert_true(error->code == AIN_ERROR_MALFORMED || error->code == AIN_ERROR_TOO_LARGE);
    g_assert_nonnull(strstr(error->message, "byte "));
    return FALSE;
  }
  guint32 rows = MIN(block.n_rows, 300);
  g_autofree guint8 *tensor = g_malloc((gsize)rows * block.n_columns * 8 + 1);
  static guint turn;
  AinDType dtype = (AinDType)(turn++ % AIN_DTYPE_COUNT);
  for (AinNullPolicy policy = AIN_NULLS_ZERO; policy <= AIN_NULLS_NAN; policy++) {
    g_autoptr(GError) refused = NULL;
    if (!ain_tsblock_to_tensor(&block, NULL, 0, block.n_rows - rows, rows, dtype, policy, tensor, &refused)) {
      g_assert_error(refused, AIN_ERROR, AIN_ERROR_INVALID);
    }
  }
  ain_tsblock_clear(&block);
  return TRUE;
}

static void test_every_prefix_is_refused(void) {
  for (guint i = 0; i < G_N_ELEMENTS(expectations); i++) {
    gsize size;
    g_autofree guint8 *data = load(expectations[i].file, &size);
    for (gsize cut = 0; cut < size; cut++) {
      g_autofree guint8 *prefix = wire_exact(data, cut);
      g_assert_false(try_all(prefix, cut));
    }
    g_autofree guint8 *longer = g_malloc0(size + 1);
    memcpy(longer, data, size);
    g_assert_true(try_all(longer, size));
    g_assert_false(try_all(longer, size + 1));
  }
}

/* Every byte: all 256 values in the small fixtures, a few in the others. */
static void test_every_mutation_parses_or_fails(void) {
  static const guint8 few[] = { 0xff, 0x01, 0x7f, 0x80, 0x04, 0x05 };
  guint counts[2] = { 0, 0 };
  for (guint i = 0; i < G_N_ELEMENTS(expectations); i++) {
    gsize size;
    g_autofree guint8 *data = load(expectations[i].file, &size);
    guint n_values = size <= 100 ? 256 : size <= 4000 ? G_N_ELEMENTS(few) : 1;
    for (gsize at = 0; at < size; at++) {
      guint8 original = data[at];
      for (guint value = 0; value < n_values; value++) {
        data[at] = n_values == 256 ? (guint8)value : (guint8)(original ^ few[value]);
        counts[try_all(data, size)]++;
      }
      data[at] = original;
    }
  }
  g_test_message("%u mutations refused, %u accepted", counts[0], counts[1]);
  g_assert_cmpuint(counts[0], >, 10000);
  g_assert_cmpuint(counts[1], >, 10000);
}

static void assert_result(const char *file, guint8 type, AinDType dtype, const void *values) {
  gsize size;
  g_autofree guint8 *expected = load(file, &size);
  g_assert_cmpuint(ain_tsblock_encoded_size(&type, 1, 3), ==, size);
  g_autofree guint8 *block = g_malloc(size);
  memset(block, 0xee, size);
  ain_tsblock_from_tensor(block, &type, 1, 3, dtype, values, (gssize)ain_dtype_size(dtype), 0);
  wire_assert_bytes(block, size, expected, size);
}

static void test_results(void) {
  const gfloat narrow[] = { 0.5F, 1.5F, 2.5F };
  const gdouble wide[] = { 0.5, 1.5, 2.5 };
  assert_result("ainode_result_float_3.bin", AIN_TS_FLOAT, AIN_DTYPE_FLOAT32, narrow);
  assert_result("ainode_result_float_3.bin", AIN_TS_FLOAT, AIN_DTYPE_FLOAT64, wide);
  assert_result("ainode_result_double_3.bin", AIN_TS_DOUBLE, AIN_DTYPE_FLOAT32, narrow);
  assert_result("ainode_result_double_3.bin", AIN_TS_DOUBLE, AIN_DTYPE_FLOAT64, wide);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/tsblock/fixtures/decode", test_decode);
  g_test_add_func("/tsblock/fixtures/prefixes", test_every_prefix_is_refused);
  g_test_add_func("/tsblock/fixtures/mutations", test_every_mutation_parses_or_fails);
  g_test_add_func("/tsblock/fixtures/results", test_results);
  return g_test_run();
}
