/* The .properties reader: what it accepts, as a table, and each complaint with all its parts. */
#include "base/error.h"
#include "config/properties.h"

#include <string.h>

typedef struct {
  const char *text;
  const char *expected; /* "line:key>value<" joined by ' ' */
} Accepted;

static const Accepted ACCEPTED[] = {
  { "", "" },
  { "\n\n  \t\n", "" },
  { "# a comment = 1\n! another = 2\n   # indented\n", "" },
  { "a=1\nb=2", "1:a>1< 2:b>2<" },
  { "a=1\r\nb=2\r\n", "1:a>1< 2:b>2<" },
  { "\xEF\xBB\xBF"
    "a=1\n",
    "1:a>1<" },
  { "  a \t=\t 1 2  \n", "1:a>1 2<" },
  { "a=\n", "1:a><" },
  { "a=b=c\n", "1:a>b=c<" },
  { "a=\"quoted value\"\n", "1:a>quoted value<" },
  { "a=\" kept \"\n", "1:a> kept <" },
  { "a=\"\"\n", "1:a><" },
  { "a=in\"side\n", "1:a>in\"side<" },
  { "a=\\\"x\\\"\n", "1:a>\"x\"<" },
  { "a=127.0.0.1\\:10710\n", "1:a>127.0.0.1:10710<" },
  { "a\\=b=1\n", "1:a=b>1<" },
  { "a=\\\\\\:\\=\\#\\!\\'\n", "1:a>\\:=#!'<" },
  { "a=C\\:\\\\data\n", "1:a>C:\\data<" },
  { "a=x\\tz\n", "1:a>x\tz<" },
  { "a=\\u00e9\\u4E2D\n", "1:a>\xC3\xA9\xE4\xB8\xAD<" },
  { "a=\\ud83d\\ude00\n", "1:a>\xF0\x9F\x98\x80<" },
  { "a=caf\xC3\xA9\n", "1:a>caf\xC3\xA9<" },
  { "a=x\\ \n", "1:a>x <" },
  { "a=1 # no comment\n", "1:a>1 # no comment<" },
  { "# \xFF is fine in a comment\na=1\n", "2:a>1<" },
  { "a=1\na=2\n", "1:a>1< 2:a>2<" },
};

static void test_accepted(void) {
  for (guint i = 0; i < G_N_ELEMENTS(ACCEPTED); i++) {
    g_autoptr(GError) error = NULL;
    const char *text = ACCEPTED[i].text;
    g_autoptr(GPtrArray) properties = ain_properties_parse(text, strlen(text), "f", &error);
    g_assert_no_error(error);
    g_autoptr(GString) got = g_string_new(NULL);
    for (guint j = 0; j < properties->len; j++) {
      const AinProperty *property = g_ptr_array_index(properties, j);
      g_string_append_printf(got, "%s%u:%s>%s<", j > 0 ? " " : "", property->line, property->key,
                             property->value);
    }
    g_assert_cmpstr(got->str, ==, ACCEPTED[i].expected);
  }
}

typedef struct {
  const char *text;
  const char *parts[4];
} Refused;

static const Refused REFUSED[] = {
  { "a=1\nain_rpc_port 10810\n", { "conf/x.properties:2:", "\"ain_rpc_port\"", "key=value" } },
  { "ain_rpc_port: 10810\n", { "conf/x.properties:1:", "\"ain_rpc_port\"", "key=value" } },
  { "=5\n", { ":1:", "key=value" } },
  { "a\\=5\n", { ":1:", "key=value" } },
  { "k\\q=5\n", { ":1:", "is no key", "letters" } },
  { "k\\n=5\n", { ":1:", "is no key" } },
  { "a=x\\qy\n", { ":1:", "\"a\"", "\"\\q\"", "\\uXXXX" } },
  { "a=x\\\nb=2\n", { ":1:", "\"a\"", "no escape", "cannot be continued" } },
  { "a=x\\\r\nb=2\n", { ":1:", "\"a\"", "no escape" } },
  { "a=\\u12\n", { ":1:", "\"\\u12\"", "no escape" } },
  { "a=\\u0000\n", { ":1:", "no escape" } },
  { "a=\\ud83d\n", { ":1:", "no escape" } },
  { "a=\\ude00\\ud83d\n", { ":1:", "no escape" } },
  { "a=\\ud83d\\u0041\n", { ":1:", "no escape" } },
  { "a=\"open\n", { ":1:", "\"a\"", "one side only", "\\\"" } },
  { "a=close\"\n", { ":1:", "\"a\"", "one side only" } },
  { "a=\"close\\\"\n", { ":1:", "\"a\"", "one side only" } },
  { "a=\"\n", { ":1:", "one side only" } },
  { "b=1\na=\xFF\n", { ":2:", "not UTF-8" } },
};

static void assert_parts(const char *message, const char *const *parts, gsize count) {
  for (gsize i = 0; i < count && parts[i] != NULL; i++) {
    if (strstr(message, parts[i]) == NULL) {
      g_test_message("expected: %s", parts[i]);
      g_assert_cmpstr(message, ==, parts[i]);
    }
  }
}

static void test_refused(void) {
  for (guint i = 0; i < G_N_ELEMENTS(REFUSED); i++) {
    g_autoptr(GError) error = NULL;
    const char *text = REFUSED[i].text;
    g_autoptr(GPtrArray) properties = ain_properties_parse(text, strlen(text), "conf/x.properties", &error);
    g_assert_null(properties);
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    assert_parts(error->message, REFUSED[i].parts, G_N_ELEMENTS(REFUSED[i].parts));
  }
}

/* What follows the first word of a broken line may be a password. */
static void test_broken_line_does_not_leak(void) {
  static const char text[] = "ain_cluster_ingress_password hunter2\n";
  g_autoptr(GError) error = NULL;
  g_assert_null(ain_properties_parse(text, sizeof text - 1, "f", &error));
  g_assert_null(strstr(error->message, "hunter2"));
}

static void test_bounds(void) {
  g_autoptr(GError) error = NULL;
  g_autofree char *file = g_strnfill(AIN_PROPERTIES_MAX_FILE + 1, '\n');
  g_assert_null(ain_properties_parse(file, AIN_PROPERTIES_MAX_FILE + 1, "big", &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE);
  g_assert_nonnull(strstr(error->message, "big has 1048577 bytes"));
  g_assert_nonnull(strstr(error->message, "1048576"));
  g_clear_error(&error);
  g_autoptr(GPtrArray) whole = ain_properties_parse(file, AIN_PROPERTIES_MAX_FILE, "big", &error);
  g_assert_no_error(error);
  g_assert_cmpuint(whole->len, ==, 0);

  g_autofree char *line = g_strnfill(AIN_PROPERTIES_MAX_LINE + 1, 'x');
  line[1] = '=';
  g_assert_null(ain_properties_parse(line, AIN_PROPERTIES_MAX_LINE + 1, "f", &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, "f:1: the line has 8193 bytes; allowed: at most 8192"));
  g_clear_error(&error);
  g_autoptr(GPtrArray) longest = ain_properties_parse(line, AIN_PROPERTIES_MAX_LINE, "f", &error);
  g_assert_no_error(error);
  g_assert_cmpuint(longest->len, ==, 1);
}

static void test_nul_byte(void) {
  static const char text[] = "a=1\0b=2\n";
  g_autoptr(GError) error = NULL;
  g_assert_null(ain_properties_parse(text, sizeof text - 1, "f", &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
}

static void test_quote(void) {
  g_autofree char *plain = ain_properties_quote("caf\xC3\xA9");
  g_assert_cmpstr(plain, ==, "\"caf\xC3\xA9\"");
  g_autofree char *control = ain_properties_quote("a\nb");
  g_assert_cmpstr(control, ==, "\"a\\nb\"");
  g_autofree char *broken = ain_properties_quote("\xFF");
  g_assert_cmpstr(broken, ==, "\"\\377\"");
  g_autofree char *fill = g_strnfill(159, 'x');
  g_autofree char *text = g_strconcat(fill, "\xC3\xA9", "tail", NULL);
  g_autofree char *cut = ain_properties_quote(text);
  g_autofree char *expected = g_strconcat("\"", fill, "...\"", NULL);
  g_assert_cmpstr(cut, ==, expected);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/properties/accepted", test_accepted);
  g_test_add_func("/properties/refused", test_refused);
  g_test_add_func("/properties/broken-line-does-not-leak", test_broken_line_does_not_leak);
  g_test_add_func("/properties/bounds", test_bounds);
  g_test_add_func("/properties/nul-byte", test_nul_byte);
  g_test_add_func("/properties/quote", test_quote);
  return g_test_run();
}
