/* Blocks to tensors: every type, form, element type and null policy against the plainest conversion; row
 * ranges, column orders, borders between chunks and groups. */
#include "base/error.h"
#include "wire.h"

#include <math.h>
#include <string.h>

static const guint8 numeric[] = { AIN_TS_BOOLEAN, AIN_TS_INT32, AIN_TS_INT64,    AIN_TS_FLOAT,
                                  AIN_TS_DOUBLE,  AIN_TS_DATE,  AIN_TS_TIMESTAMP };

typedef struct {
  WireColumn column;
  Cell *cells;
  guint32 *ids;
} Owned;

static void owned_init(Owned *owned, guint64 *seed, guint8 type, Form form, guint32 n_rows,
                       guint null_percent) {
  guint32 n_entries = form == FORM_DICTIONARY ? 1 + (guint32)(wire_random(seed) % (n_rows + 200)) : n_rows;
  owned->cells = wire_random_cells(seed, type, MAX(n_entries, 1), null_percent);
  owned->ids = g_new(guint32, n_rows);
  for (guint32 i = 0; i < n_rows; i++) {
    owned->ids[i] = (guint32)(wire_random(seed) % n_entries);
  }
  owned->column = (WireColumn){ type, form, owned->cells, n_entries, owned->ids };
}

static void owned_clear(Owned *owned) {
  g_free(owned->cells);
  g_free(owned->ids);
}

static gdouble number_of(const Cell *cell, guint8 type) {
  guint64 element = wire_element(cell, type, AIN_DTYPE_FLOAT64);
  gdouble number;
  memcpy(&number, &element, sizeof number);
  return number;
}

/* The neighbour of a null row in direction step, or NULL. */
static const Cell *neighbour(const WireColumn *column, guint32 n_rows, guint32 row, gint step, guint32 *at) {
  for (gint64 i = (gint64)row + step; i >= 0 && i < n_rows; i += step) {
    const Cell *cell = wire_cell(column, (guint32)i);
    if (!cell->is_null) {
      *at = (guint32)i;
      return cell;
    }
  }
  return NULL;
}

static guint64 interpolated(const WireColumn *column, guint32 n_rows, guint32 row, AinDType dtype) {
  guint32 left_at = 0;
  guint32 right_at = 0;
  const Cell *left = neighbour(column, n_rows, row, -1, &left_at);
  const Cell *right = neighbour(column, n_rows, row, 1, &right_at);
  if (left == NULL || right == NULL || (dtype != AIN_DTYPE_FLOAT32 && dtype != AIN_DTYPE_FLOAT64)) {
    return wire_element(left != NULL ? left : right, column->type, dtype);
  }
  gdouble a = number_of(left, column->type);
  gdouble b = number_of(right, column->type);
  gdouble part = (gdouble)(row - left_at) / (gdouble)(right_at - left_at);
  gdouble value = isfinite(a) && isfinite(b) && isinf(b - a) ? a * (1 - part) + b * part : a + (b - a) * part;
  return wire_element(&(Cell){ .real = value }, AIN_TS_DOUBLE, dtype);
}

static guint64 expected_element(const WireColumn *column, guint32 n_rows, guint32 row, AinDType dtype,
                                AinNullPolicy policy) {
  const Cell *cell = wire_cell(column, row);
  if (!cell->is_null) {
    return wire_element(cell, column->type, dtype);
  }
  if (policy == AIN_NULLS_NAN) {
    return wire_element(&(Cell){ .real = NAN }, AIN_TS_DOUBLE, dtype);
  }
  return policy == AIN_NULLS_INTERPOLATE ? interpolated(column, n_rows, row, dtype) : 0;
}

static void assert_range(const AinTsBlock *block, const Owned *columns, const guint *order, guint n_order,
                         guint32 first, guint32 n, AinDType dtype, AinNullPolicy policy) {
  gsize size = ain_dtype_size(dtype);
  gsize tensor_size = (gsize)n * n_order * size;
  g_autofree guint8 *tensor = g_malloc(tensor_size + 1);
  g_autoptr(GError) error = NULL;
  memset(tensor, 0xee, tensor_size + 1);
  g_assert_true(ain_tsblock_to_tensor(block, order, n_order, first, n, dtype, policy, tensor, &error));
  g_assert_no_error(error);
  g_assert_cmphex(tensor[tensor_size], ==, 0xee);
  for (guint32 row = 0; row < n; row++) {
    for (guint i = 0; i < n_order; i++) {
      const WireColumn *column = &columns[order != NULL ? order[i] : i].column;
      wire_assert_element(tensor + ((gsize)row * n_order + i) * size, dtype,
                          expected_element(column, block->n_rows, first + row, dtype, policy));
    }
  }
}

typedef struct {
  Owned *columns;
  guint n_columns;
  GByteArray *bytes;
  guint8 *exact;
  AinTsBlock block;
} Fixture;

static void fixture_init(Fixture *f, Owned *columns, guint n_columns, guint32 n_rows) {
  WireColumn *wire = g_new(WireColumn, MAX(n_columns, 1));
  g_autoptr(GError) error = NULL;
  for (guint i = 0; i < n_columns; i++) {
    wire[i] = columns[i].column;
  }
  f->columns = columns;
  f->n_columns = n_columns;
  f->bytes = wire_block(wire, n_columns, n_rows);
  g_free(wire);
  f->exact = wire_exact(f->bytes->data, f->bytes->len);
  g_assert_true(ain_tsblock_parse(&f->block, f->exact, f->bytes->len, &error));
  g_assert_no_error(error);
}

static void fixture_clear(Fixture *f) {
  ain_tsblock_clear(&f->block);
  g_byte_array_unref(f->bytes);
  g_free(f->exact);
  for (guint i = 0; i < f->n_columns; i++) {
    owned_clear(&f->columns[i]);
  }
}

static gboolean may_use(const Owned *column, guint32 n_rows, AinDType dtype, AinNullPolicy policy) {
  gboolean real = dtype == AIN_DTYPE_FLOAT32 || dtype == AIN_DTYPE_FLOAT64;
  guint32 present = 0;
  for (guint32 row = 0; row < n_rows; row++) {
    present += wire_cell(&column->column, row)->is_null ? 0 : 1;
  }
  return (policy != AIN_NULLS_NAN || real) && (policy != AIN_NULLS_INTERPOLATE || present > 0)
         && (policy != AIN_NULLS_ERROR || present == n_rows);
}

static void test_one_column(void) {
  static const guint32 sizes[] = { 1, 7, 8, 63, 64, 65, 255, 256, 257, 600 };
  guint64 seed = 1;
  for (guint t = 0; t < G_N_ELEMENTS(numeric); t++) {
    for (Form form = FORM_PLAIN; form <= FORM_DICTIONARY; form++) {
      for (guint s = 0; s < G_N_ELEMENTS(sizes); s++) {
        guint null_percent = s % 3 == 0 ? 0 : s % 3 == 1 ? 30 : 97;
        Owned column;
        Fixture f;
        owned_init(&column, &seed, numeric[t], form, sizes[s], null_percent);
        fixture_init(&f, &column, 1, sizes[s]);
        for (AinDType dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
          for (AinNullPolicy policy = AIN_NULLS_ZERO; policy <= AIN_NULLS_NAN; policy++) {
            if (may_use(&column, sizes[s], dtype, policy)) {
              assert_range(&f.block, &column, NULL, 1, 0, sizes[s], dtype, policy);
            }
          }
        }
        fixture_clear(&f);
      }
    }
  }
}

/* Every range of a short column, random ones of a long one. */
static void test_row_ranges(void) {
  guint64 seed = 2;
  for (guint t = 0; t < G_N_ELEMENTS(numeric); t++) {
    for (Form form = FORM_PLAIN; form <= FORM_DICTIONARY; form++) {
      Owned column;
      Fixture f;
      owned_init(&column, &seed, numeric[t], form, 40, 40);
      column.cells[0].is_null = FALSE;
      column.ids[0] = 0;
      fixture_init(&f, &column, 1, 40);
      for (guint32 first = 0; first <= 40; first++) {
        for (guint32 n = 0; n <= 40 - first; n++) {
          assert_range(&f.block, &column, NULL, 1, first, n, AIN_DTYPE_FLOAT32, AIN_NULLS_INTERPOLATE);
        }
      }
      fixture_clear(&f);
      owned_init(&column, &seed, numeric[t], form, 3000, 30);
      column.cells[0].is_null = FALSE;
      column.ids[0] = 0;
      fixture_init(&f, &column, 1, 3000);
      for (guint i = 0; i < 40; i++) {
        guint32 first = (guint32)(wire_random(&seed) % 3000);
        guint32 n = (guint32)(wire_random(&seed) % (3001 - first));
        assert_range(&f.block, &column, NULL, 1, first, n, i % AIN_DTYPE_COUNT, AIN_NULLS_INTERPOLATE);
      }
      fixture_clear(&f);
    }
  }
}

static void test_column_orders(void) {
  enum { N_COLUMNS = 37, N_ROWS = 531 };
  guint64 seed = 3;
  Owned columns[N_COLUMNS];
  Fixture f;
  for (guint i = 0; i < N_COLUMNS; i++) {
    owned_init(&columns[i], &seed, numeric[i % G_N_ELEMENTS(numeric)], (Form)(i % 4 == 0 ? i % 3 : 0), N_ROWS,
               i % 2 == 0 ? 0 : 25);
  }
  fixture_init(&f, columns, N_COLUMNS, N_ROWS);
  for (AinDType dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
    assert_range(&f.block, columns, NULL, N_COLUMNS, 0, N_ROWS, dtype, AIN_NULLS_ZERO);
    for (guint n_order = 0; n_order <= 40; n_order++) {
      guint order[40];
      for (guint i = 0; i < n_order; i++) {
        order[i] = (guint)(wire_random(&seed) % N_COLUMNS); /* also twice the same */
      }
      guint32 first = (guint32)(wire_random(&seed) % 300);
      guint32 n = (guint32)(wire_random(&seed) % (N_ROWS - first));
      assert_range(&f.block, columns, order, n_order, first, n, dtype, AIN_NULLS_ZERO);
    }
  }
  fixture_clear(&f);
}

/* A tensor may begin at any multiple of four. */
static void test_alignment(void) {
  guint64 seed = 4;
  Owned columns[2];
  Fixture f;
  owned_init(&columns[0], &seed, AIN_TS_DOUBLE, FORM_PLAIN, 100, 20);
  owned_init(&columns[1], &seed, AIN_TS_INT64, FORM_PLAIN, 100, 0);
  fixture_init(&f, columns, 2, 100);
  g_autofree guint8 *tensor = g_malloc(100 * 2 * 8 + 16);
  for (gsize offset = 0; offset <= 12; offset += 4) {
    g_assert_true(ain_tsblock_to_tensor(&f.block, NULL, 0, 0, 100, AIN_DTYPE_FLOAT64, AIN_NULLS_ZERO,
                                        tensor + offset, NULL));
    for (guint i = 0; i < 200; i++) {
      wire_assert_element(
          tensor + offset + (gsize)i * 8, AIN_DTYPE_FLOAT64,
          expected_element(&columns[i % 2].column, 100, i / 2, AIN_DTYPE_FLOAT64, AIN_NULLS_ZERO));
    }
  }
  fixture_clear(&f);
}

static void assert_refused(const AinTsBlock *block, const guint *order, guint n_order, guint32 first,
                           guint32 n, AinDType dtype, AinNullPolicy policy, const char *message) {
  g_autoptr(GError) error = NULL;
  guint8 untouched[64];
  memset(untouched, 0xee, sizeof untouched);
  g_assert_false(ain_tsblock_to_tensor(block, order, n_order, first, n, dtype, policy, untouched, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_cmpstr(error->message, ==, message);
  for (guint i = 0; i < sizeof untouched; i++) {
    g_assert_cmphex(untouched[i], ==, 0xee);
  }
}

static void test_refused(void) {
  const Cell doubles[] = { { .real = 1 }, { .is_null = TRUE }, { .real = 3 } };
  const Cell text[] = { { .hex = "61" }, { .hex = "62" }, { .hex = "63" } };
  const Cell null[] = { { .is_null = TRUE } };
  const Cell entries[] = { { .is_null = TRUE }, { .integer = 7 } };
  const guint32 ids[] = { 1, 1, 0 };
  const guint32 null_ids[] = { 0, 0, 0 };
  const WireColumn columns[] = { { AIN_TS_DOUBLE, FORM_PLAIN, doubles, 0, NULL },
                                 { AIN_TS_TEXT, FORM_PLAIN, text, 0, NULL },
                                 { AIN_TS_INT32, FORM_RUN, null, 0, NULL },
                                 { AIN_TS_INT32, FORM_DICTIONARY, entries, 2, ids },
                                 { AIN_TS_INT32, FORM_DICTIONARY, entries, 2, null_ids } };
  g_autoptr(GByteArray) bytes = wire_block(columns, G_N_ELEMENTS(columns), 3);
  g_auto(AinTsBlock) block = { 0 };
  g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, NULL));
  const guint c[] = { 0, 1, 2, 3, 4, 5 };
  assert_refused(
      &block, &c[0], 1, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_ERROR,
      "value column 1 of 5 (DOUBLE) is null in row 2 of 3, and the model accepts no nulls: fill or "
      "filter them in the query");
  assert_refused(&block, &c[2], 1, 1, 2, AIN_DTYPE_FLOAT32, AIN_NULLS_ERROR,
                 "value column 3 of 5 (INT32) is null in row 2 of 3, and the model accepts no nulls: fill or "
                 "filter them in the query");
  assert_refused(&block, &c[3], 1, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_ERROR,
                 "value column 4 of 5 (INT32) is null in row 3 of 3, and the model accepts no nulls: fill or "
                 "filter them in the query");
  assert_refused(&block, c, 2, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_ZERO,
                 "value column 2 of 5 is TEXT, which is no number: leave it out or convert it");
  assert_refused(&block, &c[2], 1, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_INTERPOLATE,
                 "value column 3 of 5 (INT32) is null in every row, so there is nothing to interpolate from");
  assert_refused(&block, &c[4], 1, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_INTERPOLATE,
                 "value column 5 of 5 (INT32) is null in every row, so there is nothing to interpolate from");
  assert_refused(&block, &c[5], 1, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_ZERO,
                 "value column 6 was asked of a block of 5 value columns");
  assert_refused(&block, c, 1, 1, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_ZERO,
                 "3 rows from row 2 on were asked of a block of 3 rows");
  assert_refused(&block, c, 1, 4, 0, AIN_DTYPE_FLOAT32, AIN_NULLS_ZERO,
                 "0 rows from row 5 on were asked of a block of 3 rows");
  assert_refused(&block, c, 1, 2, G_MAXUINT32, AIN_DTYPE_FLOAT32, AIN_NULLS_ZERO,
                 "4294967295 rows from row 3 on were asked of a block of 3 rows");
  assert_refused(&block, c, 1, 0, 1, AIN_DTYPE_INT64, AIN_NULLS_NAN,
                 "nulls cannot become NaN in a tensor of int64: use a float type or another null policy");
  assert_refused(&block, c, 1, 0, 1, (AinDType)5, AIN_NULLS_ZERO,
                 "element type 5 or null policy 0 is unknown");
  assert_refused(&block, c, 1, 0, 1, AIN_DTYPE_BOOL, (AinNullPolicy)4,
                 "element type 0 or null policy 4 is unknown");
  /* Rows without nulls pass, whatever lies outside the range. */
  gdouble one;
  g_assert_true(ain_tsblock_to_tensor(&block, c, 1, 2, 1, AIN_DTYPE_FLOAT64, AIN_NULLS_ERROR, &one, NULL));
  g_assert_cmpfloat(one, ==, 3.0);
  g_assert_true(
      ain_tsblock_to_tensor(&block, &c[2], 1, 3, 0, AIN_DTYPE_FLOAT64, AIN_NULLS_INTERPOLATE, &one, NULL));
}

static void test_interpolation_values(void) {
  const Cell cells[] = { { .is_null = TRUE }, { .real = 10 }, { .is_null = TRUE }, { .is_null = TRUE },
                         { .is_null = TRUE }, { .real = 20 }, { .is_null = TRUE } };
  const WireColumn column = { AIN_TS_DOUBLE, FORM_PLAIN, cells, 0, NULL };
  g_autoptr(GByteArray) bytes = wire_block(&column, 1, 7);
  g_auto(AinTsBlock) block = { 0 };
  gfloat values[7];
  gint32 whole[7];
  g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, NULL));
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, 7, AIN_DTYPE_FLOAT32, AIN_NULLS_INTERPOLATE, values, NULL));
  wire_assert_bytes(values, sizeof values, ((const gfloat[]){ 10, 10, 12.5F, 15, 17.5F, 20, 20 }),
                    sizeof values);
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, 7, AIN_DTYPE_INT32, AIN_NULLS_INTERPOLATE, whole, NULL));
  wire_assert_bytes(whole, sizeof whole, ((const gint32[]){ 10, 10, 10, 10, 10, 20, 20 }), sizeof whole);
  /* A range that begins and ends inside a gap sees its neighbours. */
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 3, 1, AIN_DTYPE_FLOAT32, AIN_NULLS_INTERPOLATE, values, NULL));
  g_assert_cmpfloat(values[0], ==, 15.0F);
}

/* Neighbours whose distance is no double have a middle all the same. */
static void test_interpolation_between_extremes(void) {
  const Cell cells[] = { { .real = -1.5e308 }, { .is_null = TRUE }, { .real = 1.5e308 } };
  const WireColumn column = { AIN_TS_DOUBLE, FORM_PLAIN, cells, 0, NULL };
  g_autoptr(GByteArray) bytes = wire_block(&column, 1, 3);
  g_auto(AinTsBlock) block = { 0 };
  gdouble values[3];
  g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, NULL));
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, 3, AIN_DTYPE_FLOAT64, AIN_NULLS_INTERPOLATE, values, NULL));
  g_assert_cmpfloat(values[1], ==, 0.0);
}

static void test_casts(void) {
  const Cell cells[] = { { .real = NAN },  { .real = INFINITY }, { .real = -INFINITY },
                         { .real = 3e9 },  { .real = -3e9 },     { .real = 2147483647.9 },
                         { .real = -1.9 }, { .real = 1e19 },     { .real = 9007199254740992.0 },
                         { .real = -0.0 }, { .real = 0.5 },      { .real = 1e39 } };
  const gint32 int32[] = { 0,  G_MAXINT32, G_MININT32, G_MAXINT32, G_MININT32, G_MAXINT32,
                           -1, G_MAXINT32, G_MAXINT32, 0,          0,          G_MAXINT32 };
  const gint64 int64[] = { 0,  G_MAXINT64, G_MININT64,       3000000000, -3000000000, 2147483647,
                           -1, G_MAXINT64, 9007199254740992, 0,          0,           G_MAXINT64 };
  const guint8 truth[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1 };
  const WireColumn column = { AIN_TS_DOUBLE, FORM_PLAIN, cells, 0, NULL };
  g_autoptr(GByteArray) bytes = wire_block(&column, 1, G_N_ELEMENTS(cells));
  g_auto(AinTsBlock) block = { 0 };
  gint64 out[G_N_ELEMENTS(cells)];
  g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, NULL));
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, block.n_rows, AIN_DTYPE_INT32, AIN_NULLS_ZERO, out, NULL));
  wire_assert_bytes(out, sizeof int32, int32, sizeof int32);
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, block.n_rows, AIN_DTYPE_INT64, AIN_NULLS_ZERO, out, NULL));
  wire_assert_bytes(out, sizeof int64, int64, sizeof int64);
  g_assert_true(
      ain_tsblock_to_tensor(&block, NULL, 0, 0, block.n_rows, AIN_DTYPE_BOOL, AIN_NULLS_ZERO, out, NULL));
  wire_assert_bytes(out, sizeof truth, truth, sizeof truth);
}

static void test_large(void) {
  enum { N_ROWS = 1500000 };
  guint64 seed = 5;
  Owned column;
  Fixture f;
  owned_init(&column, &seed, AIN_TS_DOUBLE, FORM_PLAIN, N_ROWS, 30);
  fixture_init(&f, &column, 1, N_ROWS);
  assert_range(&f.block, &column, NULL, 1, 0, N_ROWS, AIN_DTYPE_FLOAT32, AIN_NULLS_ZERO);
  assert_range(&f.block, &column, NULL, 1, 1234567, 2880, AIN_DTYPE_FLOAT64, AIN_NULLS_NAN);
  assert_range(&f.block, &column, NULL, 1, 1234567, 2880, AIN_DTYPE_FLOAT64, AIN_NULLS_INTERPOLATE);
  fixture_clear(&f);
}

/* A gap as long as the column is looked at once, not once a chunk. */
static void test_long_gap(void) {
  enum { N_ROWS = 1000000 };
  g_autofree Cell *cells = g_new0(Cell, N_ROWS);
  for (guint i = 0; i < N_ROWS - 1; i++) {
    cells[i].is_null = i > 0;
  }
  cells[N_ROWS - 1].real = N_ROWS - 1;
  const WireColumn column = { AIN_TS_DOUBLE, FORM_PLAIN, cells, 0, NULL };
  g_autoptr(GByteArray) bytes = wire_block(&column, 1, N_ROWS);
  g_auto(AinTsBlock) block = { 0 };
  g_autofree gdouble *values = g_new(gdouble, N_ROWS);
  g_assert_true(ain_tsblock_parse(&block, bytes->data, bytes->len, NULL));
  gint64 start = g_get_monotonic_time();
  g_assert_true(ain_tsblock_to_tensor(&block, NULL, 0, 0, N_ROWS, AIN_DTYPE_FLOAT64, AIN_NULLS_INTERPOLATE,
                                      values, NULL));
  g_assert_cmpint(g_get_monotonic_time() - start, <, 5000000); /* milliseconds; minutes if not */
  for (guint i = 0; i < N_ROWS; i++) {
    g_assert_cmpfloat_with_epsilon(values[i], i, 1e-6);
  }
}

/* A dictionary larger than its table of ranks. */
static void test_large_dictionary(void) {
  enum { N_ENTRIES = 200000, N_ROWS = 5000 };
  guint64 seed = 6;
  Owned column;
  Fixture f;
  column.cells = wire_random_cells(&seed, AIN_TS_INT64, N_ENTRIES, 50);
  column.ids = g_new(guint32, N_ROWS);
  for (guint i = 0; i < N_ROWS; i++) {
    column.ids[i] = i < 10 ? N_ENTRIES - 1 - i : (guint32)(wire_random(&seed) % N_ENTRIES);
  }
  column.column = (WireColumn){ AIN_TS_INT64, FORM_DICTIONARY, column.cells, N_ENTRIES, column.ids };
  fixture_init(&f, &column, 1, N_ROWS);
  assert_range(&f.block, &column, NULL, 1, 0, N_ROWS, AIN_DTYPE_INT64, AIN_NULLS_ZERO);
  fixture_clear(&f);
}

static gpointer read_all(gpointer data) {
  const Fixture *f = data;
  assert_range(&f->block, f->columns, NULL, f->n_columns, 0, f->block.n_rows, AIN_DTYPE_FLOAT32,
               AIN_NULLS_INTERPOLATE);
  return NULL;
}

static void test_readers_share_a_block(void) {
  guint64 seed = 7;
  Owned columns[3];
  Fixture f;
  for (guint i = 0; i < 3; i++) {
    owned_init(&columns[i], &seed, AIN_TS_DOUBLE, i == 1 ? FORM_DICTIONARY : FORM_PLAIN, 400, 20);
  }
  fixture_init(&f, columns, 3, 400);
  GThread *threads[4];
  for (guint i = 0; i < G_N_ELEMENTS(threads); i++) {
    threads[i] = g_thread_new("reader", read_all, &f);
  }
  for (guint i = 0; i < G_N_ELEMENTS(threads); i++) {
    g_thread_join(threads[i]);
  }
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/tsblock/decode/one-column", test_one_column);
  g_test_add_func("/tsblock/decode/row-ranges", test_row_ranges);
  g_test_add_func("/tsblock/decode/column-orders", test_column_orders);
  g_test_add_func("/tsblock/decode/alignment", test_alignment);
  g_test_add_func("/tsblock/decode/refused", test_refused);
  g_test_add_func("/tsblock/decode/interpolation", test_interpolation_values);
  g_test_add_func("/tsblock/decode/interpolation-extremes", test_interpolation_between_extremes);
  g_test_add_func("/tsblock/decode/casts", test_casts);
  g_test_add_func("/tsblock/decode/large", test_large);
  g_test_add_func("/tsblock/decode/long-gap", test_long_gap);
  g_test_add_func("/tsblock/decode/large-dictionary", test_large_dictionary);
  g_test_add_func("/tsblock/decode/threads", test_readers_share_a_block);
  return g_test_run();
}
