/* Rows as text: numbers that read back the same, times of every precision, quoting, what a terminal must not
 * see. */
#include "answers.h"
#include "session/print.h"

static gboolean collect(const char *text, gsize size, gpointer data, GError **error) {
  (void)error;
  g_string_append_len(data, text, (gssize)size);
  return TRUE;
}

static char *print(AinNodePage *page, const AinPrintOptions *options, gboolean *cut) {
  g_autoptr(GError) error = NULL;
  g_autoptr(AinRows) rows = ain_rows_new(NULL, "select", NULL, page, &error);
  g_assert_no_error(error);
  GString *out = g_string_new(NULL);
  guint64 printed;
  g_assert_true(ain_rows_print(rows, options, collect, out, &printed, cut, &error));
  g_assert_no_error(error);
  return g_string_free(out, FALSE);
}

static char *one(const char *type, const char *kind, const char *bytes, gint64 ticks) {
  g_auto(AinNodePage) page;
  g_autofree char *block = g_strdup_printf("00000001 %s 00000001 02 %s 00 0000000000000000 00 %s", kind,
                                           strcmp(kind, "05") == 0                              ? "03"
                                           : strcmp(kind, "00") == 0                            ? "00"
                                           : strcmp(kind, "02") == 0 || strcmp(kind, "04") == 0 ? "02"
                                                                                                : "01",
                                           bytes);
  gboolean cut;
  test_page_fill(&page, "a", type, NULL, FALSE, block, NULL);
  AinPrintOptions options = { .csv = TRUE, .ticks = ticks };
  g_autofree char *text = print(&page, &options, &cut);
  g_assert_true(g_str_has_prefix(text, "a\r\n"));
  g_assert_true(g_str_has_suffix(text, "\r\n"));
  return g_strndup(text + 3, strlen(text) - 5);
}

#define EXPECT(type, kind, bytes, ticks, wanted)                                                             \
  do {                                                                                                       \
    g_autofree char *text = one(type, kind, bytes, ticks);                                                   \
    g_assert_cmpstr(text, ==, wanted);                                                                       \
  } while (0)

static void test_values(void) {
  EXPECT("BOOLEAN", "00", "80", 1000, "true");
  EXPECT("FLOAT", "03", "3dcccccd", 1000, "0.1");
  EXPECT("FLOAT", "03", "7f7fffff", 1000, "3.4028235e+38");
  EXPECT("FLOAT", "03", "7fc00000", 1000, "NaN");
  EXPECT("DOUBLE", "04", "3fb999999999999a", 1000, "0.1");
  EXPECT("DOUBLE", "04", "3fd3333333333334", 1000, "0.30000000000000004");
  EXPECT("DOUBLE", "04", "fff0000000000000", 1000, "-Infinity");
  EXPECT("DATE", "01", "0134d6e5", 1000, "2024-01-01");
  EXPECT("TIMESTAMP", "02", "0000000000000001", 1000, "1970-01-01T00:00:00.001Z");
  EXPECT("TIMESTAMP", "02", "ffffffffffffffff", 1000000, "1969-12-31T23:59:59.999999Z");
  EXPECT("TIMESTAMP", "02", "17a8ee1b6df8b83f", 1000000000, "2024-01-10T08:11:00.536277055Z");
  EXPECT("TIMESTAMP", "02", "7fffffffffffffff", 1000, "9223372036854775807");
  EXPECT("TIMESTAMP", "02", "8000000000000000", 1000, "-9223372036854775808");
  EXPECT("BLOB", "05", "00000002 00ff", 1000, "0x00ff");
  EXPECT("TEXT", "05", "00000000", 1000, "\"\"");
  EXPECT("TEXT", "05", "00000003 612c62", 1000, "\"a,b\"");
  EXPECT("TEXT", "05", "00000001 22", 1000, "\"\"\"\"");
}

static void test_table(void) {
  g_auto(AinNodePage) page;
  gboolean cut;
  test_page_fill(&page, "n,text", "INT32,TEXT", NULL, FALSE,
                 "00000002 01 05 00000002 02 01 03 00 0000000000000000 0000000000000000"
                 "01 40 0000002a 00 00000004 1b5b324a 00000003 61ff0a",
                 NULL);
  AinPrintOptions options = { .ticks = 1000, .max_rows = 0 };
  g_autofree char *text = print(&page, &options, &cut);
  g_assert_cmpstr(text, ==,
                  "n    | text\n"
                  "-----+----------\n"
                  "  42 | \\u001b[2J\n"
                  "null | a\xef\xbf\xbd\\n\n");
  g_assert_false(cut);
}

static void test_cut(void) {
  g_auto(AinNodePage) page;
  gboolean cut;
  test_page_fill(&page, "n", "INT32", NULL, FALSE,
                 "00000001 01 00000002 02 01 00 0000000000000000 0000000000000000 00 00000001 00000002",
                 NULL);
  AinPrintOptions options = { .csv = TRUE, .ticks = 1000, .max_rows = 1 };
  g_autofree char *text = print(&page, &options, &cut);
  g_assert_cmpstr(text, ==, "n\r\n1\r\n");
  g_assert_true(cut);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/session/print/values", test_values);
  g_test_add_func("/session/print/table", test_table);
  g_test_add_func("/session/print/cut", test_cut);
  return g_test_run();
}
