/* Text for others: JSON strings and what a terminal may be shown. */
#include "base/text.h"

static void test_json(void) {
  g_autoptr(GString) out = g_string_new(NULL);
  ain_text_append_json(out, "a\"\\\n\xff", 5);
  g_assert_cmpstr(out->str, ==, "\"a\\\"\\\\\\u000a\xef\xbf\xbd\"");
}

static void test_printable(void) {
  g_autofree char *escape = ain_text_printable("red \x1b[31m\n\xc2\x9b"
                                               "end",
                                               "");
  g_assert_cmpstr(escape, ==, "red  [31m  end");
  g_autofree char *lines = ain_text_printable("one\ntwo\tthree\r", "\n\t");
  g_assert_cmpstr(lines, ==, "one\ntwo\tthree ");
  g_autofree char *mark = ain_text_printable("a\xe2\x80\xae"
                                             "b",
                                             "\n"); /* right-to-left override */
  g_assert_cmpstr(mark, ==, "a b");
  g_autofree char *other = ain_text_printable("Größe 数 \xff", "");
  g_assert_cmpstr(other, ==, "Größe 数 \xef\xbf\xbd");
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/text/json", test_json);
  g_test_add_func("/text/printable", test_printable);
  return g_test_run();
}
