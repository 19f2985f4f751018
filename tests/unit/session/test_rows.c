/* Pages to values: types, nulls, runs, dictionaries, the places of columns, bounds and lies. */
#include "answers.h"
#include "base/error.h"

static AinRows *rows_of(AinNodePage *page, const AinQueryLimits *limits) {
  g_autoptr(GError) error = NULL;
  AinRows *rows = ain_rows_new(NULL, "select", limits, page, &error);
  g_assert_no_error(error);
  return rows;
}

static guint32 next(AinRows *rows) {
  g_autoptr(GError) error = NULL;
  guint32 n = 0;
  gboolean more = ain_rows_next(rows, &n, &error);
  g_assert_no_error(error);
  g_assert_true(more == (n > 0));
  return n;
}

static void take(AinRows *rows, guint column, guint32 first, guint32 n, void *values, guint8 *nulls) {
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_rows_read(rows, column, first, n, values, nulls, &error));
  g_assert_no_error(error);
}

#define TIMES_3 "00 0000000000000005 0000000000000006 0000000000000007"

static void test_numbers(void) {
  g_auto(AinNodePage) page;
  /* BOOLEAN, INT32 with a null, DOUBLE as a run, DATE */
  test_page_fill(&page, "b,i,d,day", "BOOLEAN,INT32,DOUBLE,DATE", NULL, TRUE,
                 "00000004 00 01 04 01 00000003 02 00 01 04 01" TIMES_3 "00 a0"
                 "01 40 00000007 ffffffff"
                 "02 00 3ff8000000000000"
                 "00 0134d6e5 0134d6e6 0134d6e7",
                 NULL);
  g_autoptr(AinRows) rows = rows_of(&page, NULL);
  g_assert_cmpuint(ain_rows_n_columns(rows), ==, 5);
  g_assert_cmpstr(ain_rows_column(rows, 0)->name, ==, "Time");
  g_assert_cmpint(ain_rows_column(rows, 4)->type, ==, AIN_TS_DATE);
  g_assert_cmpuint(next(rows), ==, 3);
  gint64 times[3];
  guint8 bools[4];
  gint32 ints[3];
  double doubles[2];
  gint32 days[3];
  guint8 nulls[3];
  take(rows, 0, 0, 3, times, nulls);
  g_assert_cmpint(times[2], ==, 7);
  take(rows, 1, 0, 3, bools, nulls);
  g_assert_cmpint(bools[0] * 100 + bools[1] * 10 + bools[2], ==, 101);
  take(rows, 2, 0, 3, ints, nulls);
  g_assert_cmpint(ints[0], ==, 7);
  g_assert_cmpint(nulls[0] * 100 + nulls[1] * 10 + nulls[2], ==, 10);
  g_assert_cmpint(ints[1], ==, 0);
  g_assert_cmpint(ints[2], ==, -1);
  take(rows, 3, 1, 2, doubles, NULL);
  g_assert_cmpfloat(doubles[1], ==, 1.5);
  take(rows, 4, 0, 3, days, nulls);
  g_assert_cmpint(days[2], ==, 20240103);
  const guint both[] = { 0, 3 };
  float tensor[6];
  g_assert_true(ain_rows_to_tensor(rows, both, 2, 0, 3, AIN_DTYPE_FLOAT32, AIN_NULLS_ERROR, tensor, NULL));
  g_assert_cmpfloat(tensor[4], ==, 7);
  g_assert_cmpfloat(tensor[5], ==, 1.5);
  g_assert_cmpuint(next(rows), ==, 0);
  g_assert_cmpuint(next(rows), ==, 0);
}

static void test_texts(void) {
  g_auto(AinNodePage) page;
  /* plain with a null and an empty one; a run; a dictionary; the type bytes of other writers */
  test_page_fill(&page, "t,run,dictionary", "STRING,BLOB,TEXT", NULL, FALSE,
                 "00000003 05 0a 0b 00000003 02 03 04 05" TIMES_3 "01 40 00000002 c3a9 00000000"
                 "03 00 00000001 ff"
                 "03 00000002 01 80 00000003 616263 00000003 00000001 00000000 00000001",
                 NULL);
  g_autoptr(AinRows) rows = rows_of(&page, NULL);
  g_assert_cmpuint(next(rows), ==, 3);
  AinSlice texts[3];
  guint8 nulls[3];
  take(rows, 0, 0, 3, texts, nulls);
  g_assert_true(ain_slice_equal(texts[0], "é") && nulls[0] == 0);
  g_assert_true(texts[1].data == NULL && texts[1].size == 0 && nulls[1] == 1);
  g_assert_true(texts[2].data != NULL && texts[2].size == 0 && nulls[2] == 0);
  take(rows, 1, 2, 1, texts, nulls);
  g_assert_true(ain_slice_equal(texts[0], "\xff"));
  take(rows, 2, 0, 3, texts, nulls);
  g_assert_true(ain_slice_equal(texts[0], "abc") && texts[1].data == NULL && nulls[1] == 1);
  g_autoptr(GError) error = NULL;
  g_assert_false(ain_rows_read(rows, 0, 2, 2, texts, nulls, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_false(ain_rows_read(rows, 3, 0, 1, texts, nulls, NULL));
  g_assert_false(ain_rows_read(rows, 0, G_MAXUINT32, G_MAXUINT32, texts, nulls, NULL));
}

#define BLOCK_INT32 "00000001 01 00000001 02 01 00 0000000000000000 00 0000002a"
#define BLOCK_EMPTY "00000001 01 00000000 02 04 00 01 01 80"

static void test_places(void) {
  g_auto(AinNodePage) page;
  const gint32 sources[] = { 1, 0, 1, -1 };
  test_page_fill(&page, "a,b,c,time", "INT32,INT64,INT32,TIMESTAMP", sources, FALSE,
                 "00000002 02 01 00000001 02 02 01 00 0000000000000009 00 0000000000000008 00 0000002a",
                 NULL);
  g_autoptr(AinRows) rows = rows_of(&page, NULL);
  g_assert_cmpuint(next(rows), ==, 1);
  gint32 a;
  gint64 b;
  gint64 time;
  take(rows, 0, 0, 1, &a, NULL);
  take(rows, 1, 0, 1, &b, NULL);
  take(rows, 3, 0, 1, &time, NULL);
  g_assert_cmpint(a, ==, 42);
  g_assert_cmpint(b, ==, 8);
  g_assert_cmpint(time, ==, 9);
}

static void test_empty_blocks(void) {
  g_auto(AinNodePage) page;
  test_page_fill(&page, "a", "INT32", NULL, FALSE, BLOCK_EMPTY, BLOCK_INT32, BLOCK_EMPTY, NULL);
  g_autoptr(AinRows) rows = rows_of(&page, NULL);
  g_assert_cmpuint(next(rows), ==, 1);
  g_assert_cmpuint(next(rows), ==, 0);
}

static void test_limits(void) {
  g_auto(AinNodePage) page;
  g_autoptr(GError) error = NULL;
  AinQueryLimits limits = { .max_rows = 1 };
  guint32 n;
  test_page_fill(&page, "a", "INT32", NULL, FALSE, BLOCK_INT32, BLOCK_INT32, NULL);
  g_autoptr(AinRows) rows = rows_of(&page, &limits);
  g_assert_true(ain_rows_next(rows, &n, NULL));
  g_assert_false(ain_rows_next(rows, &n, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE);
  g_clear_error(&error);
  g_assert_false(ain_rows_next(rows, &n, &error)); /* and stays so */
  g_assert_nonnull(error);
}

typedef struct {
  const char *what;
  const char *names;
  const char *types;
  gint32 source; /* -2: none */
  const char *block;
  int code;
  const char *says;
} Lie;

static const Lie lies[] = {
  { "type-name", "a", "INT33", -2, BLOCK_INT32, AIN_ERROR_UNSUPPORTED, "INT33" },
  { "counts", "a,b", "INT32", -2, BLOCK_INT32, AIN_ERROR_MALFORMED, "2 column names, 1 types" },
  { "place", "a", "INT32", 4096, BLOCK_INT32, AIN_ERROR_MALFORMED, "column 4096" },
  { "negative-place", "a", "INT32", -3, BLOCK_INT32, AIN_ERROR_MALFORMED, "column -3" },
  { "no-such-column", "a", "INT32", 1, BLOCK_INT32, AIN_ERROR_MALFORMED,
    "has 1 columns, the result needs 2" },
  { "other-type", "a", "INT64", -2, BLOCK_INT32, AIN_ERROR_MALFORMED,
    "announced as type 2 and comes as type 1" },
  { "text-for-number", "a", "TEXT", -2, BLOCK_INT32, AIN_ERROR_MALFORMED, "comes as type 1" },
  { "time-as-text", "a", "TEXT", -1, BLOCK_INT32, AIN_ERROR_MALFORMED, "comes as type 2" },
  { "cut", "a", "INT32", -2, "00000001 01 00000001 02 01 00 00000000", AIN_ERROR_MALFORMED, "ends in" },
  { "run-of-many", "a", "INT32", -2, "00000001 01 00200000 04 04 02 00 0000000000000000 01 00 0000002a",
    AIN_ERROR_TOO_LARGE, "2097152 rows" },
  { "nothing", "a", "INT32", -2, "", AIN_ERROR_MALFORMED, "number of value columns" },
};

static void test_lie(gconstpointer data) {
  const Lie *lie = data;
  g_auto(AinNodePage) page;
  g_autoptr(GError) error = NULL;
  test_page_fill(&page, lie->names, lie->types, lie->source != -2 ? &lie->source : NULL, FALSE, lie->block,
                 NULL);
  g_autoptr(AinRows) rows = ain_rows_new(NULL, "select", NULL, &page, &error);
  if (rows != NULL) {
    g_assert_cmpint(test_rows_read_all(rows, &error), ==, -1);
  }
  g_assert_error(error, AIN_ERROR, lie->code);
  if (strstr(error->message, lie->says) == NULL) {
    g_error("\"%s\" does not say \"%s\"", error->message, lie->says);
  }
}

static void test_no_columns(void) {
  g_auto(AinNodePage) page;
  g_autoptr(GError) error = NULL;
  test_page_fill(&page, "", "", NULL, FALSE, NULL);
  g_assert_null(ain_rows_new(NULL, "select", NULL, &page, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED);
  ain_node_page_clear(&page);
  g_clear_error(&error);
  test_page_fill(&page, "a", "INT32", NULL, FALSE, NULL);
  page.is_legacy = TRUE;
  g_assert_null(ain_rows_new(NULL, "select", NULL, &page, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED);
  ain_node_page_clear(&page);
  g_clear_error(&error);
  test_page_fill(&page, "a", "INT32", NULL, FALSE, NULL);
  page.more = TRUE;
  g_assert_null(ain_rows_new(NULL, "select", NULL, &page, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_MALFORMED);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/session/rows/numbers", test_numbers);
  g_test_add_func("/session/rows/texts", test_texts);
  g_test_add_func("/session/rows/places", test_places);
  g_test_add_func("/session/rows/empty-blocks", test_empty_blocks);
  g_test_add_func("/session/rows/limits", test_limits);
  g_test_add_func("/session/rows/no-columns", test_no_columns);
  for (gsize i = 0; i < G_N_ELEMENTS(lies); i++) {
    g_autofree char *path = g_strdup_printf("/session/rows/lie/%s", lies[i].what);
    g_test_add_data_func(path, &lies[i], test_lie);
  }
  return g_test_run();
}
