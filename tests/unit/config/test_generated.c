/* The checked-in properties file, its page in the manual and its man page are what the table generates. With
 * --write: makes them so.
 */
#include "base/error.h"
#include "config/load.h"

#include <string.h>

#define TEMPLATE AIN_SOURCE_ROOT "/conf/iotdb-ainode.properties"
#define MANUAL AIN_SOURCE_ROOT "/docs/CONFIGURATION.md"
#define MAN_PAGE AIN_SOURCE_ROOT "/docs/man/iotdb-ainode.properties.5"

static void compare(const char *path, const char *expected) {
  g_autofree char *content = NULL;
  g_autoptr(GError) error = NULL;
  g_file_get_contents(path, &content, NULL, &error);
  g_assert_no_error(error);
  if (!g_str_equal(content, expected)) {
    g_test_message("%s differs from the table; run this program with --write", path);
  }
  g_assert_cmpstr(content, ==, expected);
}

static void test_template(void) {
  g_autofree char *text = ain_config_properties_template();
  compare(TEMPLATE, text);
}

static void test_manual(void) {
  g_autofree char *text = ain_config_markdown();
  compare(MANUAL, text);
}

static void test_man_page(void) {
  g_autofree char *text = ain_config_man();
  compare(MAN_PAGE, text);
}

static AinConfig *load(const char *text) {
  AinConfigInput input = { .home = "/nonexistent", .file = "f", .data = text, .size = strlen(text) };
  g_autoptr(GError) error = NULL;
  AinConfig *config = ain_config_load_input(&input, &error);
  g_assert_no_error(error);
  return config;
}

/* Every value of `ainode config`, without the sources. */
static char *values_of(const AinConfig *config) {
  g_autofree char *printed = ain_config_print(config);
  g_auto(GStrv) lines = g_strsplit(printed, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++) {
    lines[i][strcspn(lines[i], "#")] = '\0';
  }
  return g_strjoinv("\n", lines);
}

/* The shipped file, as it is and with every commented default taken in, says what an empty file says. */
static void test_template_is_the_defaults(void) {
  g_autofree char *shipped = ain_config_properties_template();
  g_autoptr(GRegex) commented = g_regex_new("^# (?=[a-z_]+=)", G_REGEX_MULTILINE, 0, NULL);
  g_autofree char *all = g_regex_replace(commented, shipped, -1, 0, "", 0, NULL);
  g_autoptr(AinConfig) empty = load("");
  g_autoptr(AinConfig) from_shipped = load(shipped);
  g_autoptr(AinConfig) from_all = load(all);
  g_autofree char *expected = values_of(empty);
  g_autofree char *values_shipped = values_of(from_shipped);
  g_autofree char *values_all = values_of(from_all);
  g_assert_cmpstr(values_shipped, ==, expected);
  g_assert_cmpstr(values_all, ==, expected);
  guint given = 0;
  for (guint i = 0; i < ain_n_keys; i++) {
    given += !g_str_equal(from_shipped->origins[i].source, "default");
    g_assert_true(g_str_has_prefix(from_all->origins[i].source, "f:"));
  }
  g_assert_cmpuint(given, ==, 12);
}

static gboolean write_file(const char *path, const char *text) {
  g_autofree char *folder = g_path_get_dirname(path);
  g_autoptr(GError) error = NULL;
  if (g_mkdir_with_parents(folder, 0755) != 0 || !g_file_set_contents(path, text, -1, &error)) {
    g_printerr("cannot write %s: %s\n", path, error != NULL ? error->message : g_strerror(errno));
    return FALSE;
  }
  g_print("%s\n", path);
  return TRUE;
}

static int write_all(void) {
  g_autofree char *template = ain_config_properties_template();
  g_autofree char *manual = ain_config_markdown();
  g_autofree char *man_page = ain_config_man();
  return write_file(TEMPLATE, template) && write_file(MANUAL, manual) && write_file(MAN_PAGE, man_page) ? 0
                                                                                                        : 1;
}

int main(int argc, char **argv) {
  if (argc > 1 && g_str_equal(argv[1], "--write")) {
    return write_all();
  }
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/generated/template", test_template);
  g_test_add_func("/generated/manual", test_manual);
  g_test_add_func("/generated/man-page", test_man_page);
  g_test_add_func("/generated/template-is-the-defaults", test_template_is_the_defaults);
  return g_test_run();
}
