/* config.yaml: every rule with its sentence, and attributes as Python prints them. */
#include "base/error.h"
#include "registry/model_config.h"
#include "tsblock/tsblock.h"

#include <string.h>

#define SHAPES "  input_shape: [96, 2]\n  output_shape: [24, 1]\n"
#define GOOD "configs:\n" SHAPES

typedef struct {
  const char *name;
  const char *text;
  int code;
  const char *parts[4]; /* all of them are in the message */
} BadCase;

static const BadCase BAD_CASES[] = {
  { "empty", "", AIN_ERROR_INVALID_CONFIG, { "m/config.yaml, line 1", "is empty", "configs" } },
  { "only a comment", "# nothing\n", AIN_ERROR_INVALID_CONFIG, { "line 1", "is empty" } },
  { "a list", "- 1\n", AIN_ERROR_INVALID_CONFIG, { "the file is [1]", "has to be a mapping" } },
  { "a word", "hello\n", AIN_ERROR_INVALID_CONFIG, { "the file is 'hello'" } },
  { "no configs", "attributes: {}\n", AIN_ERROR_INVALID_CONFIG, { "line 1", "the key configs is missing" } },
  { "configs empty", "configs:\n", AIN_ERROR_INVALID_CONFIG, { "configs is empty", "has to be a mapping" } },
  { "configs a list", "configs: [1]\n", AIN_ERROR_INVALID_CONFIG, { "line 1", "configs is [1]" } },
  { "no input_shape",
    "configs:\n  output_shape: [1, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 2", "input_shape is missing", "[rows, columns]" } },
  { "no output_shape",
    "configs:\n  input_shape: [1, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 2", "output_shape is missing" } },
  { "shape a number",
    "configs:\n  input_shape: 96\n  output_shape: [1, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 2", "input_shape is 96", "list of two positive whole numbers" } },
  { "shape of one",
    "configs:\n  input_shape: [1, 1]\n  output_shape: [24]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 3", "output_shape is [24]" } },
  { "shape of three",
    "configs:\n  input_shape: [1, 2, 3]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "input_shape is [1, 2, 3]" } },
  { "shape empty", "configs:\n  input_shape:\n", AIN_ERROR_INVALID_CONFIG, { "input_shape is empty" } },
  { "shape a mapping", "configs:\n  input_shape: {a: b}\n", AIN_ERROR_INVALID_CONFIG, { "is {'a': 'b'}" } },
  { "rows zero",
    "configs:\n  input_shape: [0, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 2", "the number of rows (element 1) of input_shape is 0", "positive whole number" } },
  { "columns negative",
    "configs:\n  input_shape:\n  - 5\n  - -3\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 4", "the number of columns (element 2) of input_shape is -3" } },
  { "rows a float",
    "configs:\n  input_shape: [1.5, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "input_shape is 1.5" } },
  { "rows quoted", "configs:\n  input_shape: ['96', 1]\n", AIN_ERROR_INVALID_CONFIG, { "is '96'" } },
  { "rows false", "configs:\n  input_shape: [false, 1]\n", AIN_ERROR_INVALID_CONFIG, { "is False" } },
  { "rows a list", "configs:\n  input_shape: [[1], 1]\n", AIN_ERROR_INVALID_CONFIG, { "is [1];" } },
  { "rows null", "configs:\n  input_shape: [~, 1]\n", AIN_ERROR_INVALID_CONFIG, { "is empty;" } },
  { "rows too many",
    "configs:\n  input_shape: [268435457, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "is 268435457", "at most 268435456" } },
  { "rows beyond 64 bits",
    "configs:\n  input_shape: [99999999999999999999, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "is 99999999999999999999" } },
  { "columns too many",
    "configs:\n  input_shape: [1, 4097]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "at most 4096" } },
  { "elements too many",
    "configs:\n  input_shape: [100000, 4096]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "input_shape is [100000, 4096]", "rows times columns may be at most 268435456" } },
  { "input_type short",
    GOOD "  input_type: [float32]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 4", "input_type is ['float32']", "input_shape has 2 columns" } },
  { "output_type long",
    GOOD "  output_type: [int32, int32]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "output_type is ['int32', 'int32']", "output_shape has 1 column" } },
  { "input_type a word",
    GOOD "  input_type: float32\n",
    AIN_ERROR_INVALID_CONFIG,
    { "input_type is 'float32'", "has to be a list" } },
  { "type unknown",
    GOOD "  input_type: [float32, float16]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 4", "element 2 of input_type is 'float16'", "bool, int32, int64, float32, float64 and text" } },
  { "type in capitals", GOOD "  output_type: [FLOAT32]\n", AIN_ERROR_INVALID_CONFIG, { "is 'FLOAT32'" } },
  { "type a number", GOOD "  output_type: [3]\n", AIN_ERROR_INVALID_CONFIG, { "of output_type is 3" } },
  { "key twice",
    GOOD "  input_shape: [1, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 4", "'input_shape' is there twice" } },
  { "configs twice", GOOD GOOD, AIN_ERROR_INVALID_CONFIG, { "line 4", "'configs' is there twice" } },
  { "attribute twice",
    GOOD "attributes: {a: 1, 'a': 2}\n",
    AIN_ERROR_INVALID_CONFIG,
    { "'a' is there twice" } },
  { "merge key",
    "base: &b {input_shape: [1, 1]}\nconfigs:\n  <<: *b\n  input_shape: [1, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 3", "merge key <<" } },
  { "list as key", GOOD "attributes: {[1]: 2}\n", AIN_ERROR_INVALID_CONFIG, { "cannot be a key" } },
  { "syntax",
    "configs:\n  input_shape: [96, 2\n  output_shape: [1, 1]\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 3: this is not valid YAML at column 15: did not find expected" } },
  { "tab", "configs:\n\tinput_shape: [1, 1]\n", AIN_ERROR_INVALID_CONFIG, { "line 2", "not valid YAML" } },
  { "unknown alias",
    "configs: *nowhere\n",
    AIN_ERROR_INVALID_CONFIG,
    { "not valid YAML", "undefined alias" } },
  { "python tag",
    "configs: !!python/object/apply:os.system ['true']\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 1", "the tag \"tag:yaml.org,2002:python/object/apply:os.system\" is not allowed" } },
  { "core tag", GOOD "attributes: !!set {x}\n", AIN_ERROR_INVALID_CONFIG, { "the tag" } },
  { "two documents", GOOD "---\na: b\n", AIN_ERROR_INVALID_CONFIG, { "line 4", "second document" } },
  { "not UTF-8", GOOD "attributes: {a: \"\xff\"}\n", AIN_ERROR_INVALID_CONFIG, { "line 4", "not UTF-8" } },
  { "UTF-16",
    "\xff\xfe"
    "c\0o\0",
    AIN_ERROR_INVALID_CONFIG,
    { "line 1: byte 1 of the file", "UTF-8" } },
  { "control character",
    GOOD "attributes: \x01\n",
    AIN_ERROR_INVALID_CONFIG,
    { "line 4: byte 69 of the file is not allowed" } },
};

static void parse_bad(const char *text, gsize size, int code, const char *const *parts) {
  g_autoptr(GError) error = NULL;
  AinModelConfig config;
  g_assert_false(ain_model_config_parse(&config, "m/config.yaml", text, size, &error));
  g_test_message("%s", error->message);
  g_assert_error(error, AIN_ERROR, code);
  for (; *parts != NULL; parts++) {
    g_assert_nonnull(strstr(error->message, *parts));
  }
  g_assert_null(config.input_types);
  g_assert_null(config.warnings);
}

static void test_rules(void) {
  for (guint i = 0; i < G_N_ELEMENTS(BAD_CASES); i++) {
    const BadCase *c = &BAD_CASES[i];
    g_test_message("%s", c->name);
    parse_bad(c->text, strlen(c->text), c->code, c->parts);
  }
}

/* What is large or deep is refused, quickly. */
static void test_limits(void) {
  g_autofree char *huge = g_strnfill(AIN_CONFIG_MAX_BYTES + 1, '#');
  parse_bad(huge, strlen(huge), AIN_ERROR_TOO_LARGE, (const char *[]){ "1048577 bytes", "1048576", NULL });
  g_autofree char *deep = g_strnfill(AIN_CONFIG_MAX_BYTES, '[');
  parse_bad(deep, strlen(deep), AIN_ERROR_INVALID_CONFIG,
            (const char *[]){ "deeper than the 32 levels", NULL });
  GString *anchors = g_string_new("a:\n");
  GString *values = g_string_new("a: [");
  GString *directives = g_string_new(NULL);
  for (int i = 0; i < 60000; i++) {
    g_string_append_printf(anchors, "- &a%d x\n", i);
    g_string_append(values, "1, 1, ");
    g_string_append_printf(directives, "%%TAG !%d! !\n", i);
  }
  parse_bad(anchors->str, anchors->len, AIN_ERROR_INVALID_CONFIG,
            (const char *[]){ "more than 64 anchors", NULL });
  parse_bad(values->str, values->len, AIN_ERROR_INVALID_CONFIG,
            (const char *[]){ "more than 100000 values", NULL });
  parse_bad(directives->str, directives->len, AIN_ERROR_INVALID_CONFIG,
            (const char *[]){ "60000 lines that start with '%'", NULL });
  g_string_free(anchors, TRUE);
  g_string_free(values, TRUE);
  g_string_free(directives, TRUE);
}

static void parse_good(AinModelConfig *config, const char *text) {
  g_autoptr(GError) error = NULL;
  gboolean good = ain_model_config_parse(config, "m/config.yaml", text, strlen(text), &error);
  g_assert_no_error(error);
  g_assert_true(good);
}

static void test_defaults(void) {
  g_auto(AinModelConfig) config;
  parse_good(&config, GOOD);
  g_assert_cmpint(config.input_shape[0], ==, 96);
  g_assert_cmpint(config.input_shape[1], ==, 2);
  g_assert_cmpint(config.output_shape[0], ==, 24);
  g_assert_cmpint(config.output_shape[1], ==, 1);
  g_assert_cmpmem(config.input_types, 2, ((guint8[]){ AIN_TS_FLOAT, AIN_TS_FLOAT }), 2);
  g_assert_cmpmem(config.output_types, 1, ((guint8[]){ AIN_TS_FLOAT }), 1);
  g_assert_null(config.attributes);
  g_assert_cmpuint(config.warnings->len, ==, 0);
}

static void test_types(void) {
  g_auto(AinModelConfig) config;
  parse_good(&config, "configs:\n  input_shape: [0x10, 6]\n  output_shape: [true, 2]\n"
                      "  input_type: [bool, int32, int64, float32, \"float64\", text]\n"
                      "  output_type:\n  - int64\n  - float64\n");
  g_assert_cmpint(config.input_shape[0], ==, 16);
  g_assert_cmpint(config.output_shape[0], ==, 1); /* a bool is a number in Python */
  g_assert_cmpmem(
      config.input_types, 6,
      ((guint8[]){ AIN_TS_BOOLEAN, AIN_TS_INT32, AIN_TS_INT64, AIN_TS_FLOAT, AIN_TS_DOUBLE, AIN_TS_TEXT }),
      6);
  g_assert_cmpmem(config.output_types, 2, ((guint8[]){ AIN_TS_INT64, AIN_TS_DOUBLE }), 2);
}

static void test_aliases(void) {
  g_auto(AinModelConfig) config;
  parse_good(&config, "configs:\n  input_shape: &s [7, 3]\n  output_shape: *s\n");
  g_assert_cmpint(config.output_shape[0], ==, 7);
  g_assert_cmpint(config.output_shape[1], ==, 3);
}

static void test_unknown_keys_warn(void) {
  g_auto(AinModelConfig) config;
  parse_good(&config, "name: x\n" GOOD "  input_types: [int32]\n  other: 1\n");
  g_assert_cmpuint(config.warnings->len, ==, 2);
  const char *root = g_ptr_array_index(config.warnings, 0);
  const char *configs = g_ptr_array_index(config.warnings, 1);
  g_assert_nonnull(strstr(root, "line 1: the key 'name' is not known"));
  g_assert_nonnull(strstr(configs, "line 5: the key 'input_types' under configs is not known"));
  g_assert_nonnull(strstr(configs, "input_type, output_type"));
}

typedef struct {
  const char *yaml;
  const char *python;
} Attributes;

/* The right side is what Python prints for the same text read by its usual YAML library. */
static const Attributes ATTRIBUTES[] = {
  { "{}", "{}" },
  { "{a: 1, b: two, c: [x, 2.5]}", "{'a': 1, 'b': 'two', 'c': ['x', 2.5]}" },
  { "\n  lr: 0.001\n  opt:\n    name: adam\n", "{'lr': 0.001, 'opt': {'name': 'adam'}}" },
  { "~", "None" },
  { "[yes, No, ON, off, TRUE, y]", "[True, False, True, False, True, 'y']" },
  { "[null, ~, Null, '~', nULL]", "[None, None, None, '~', 'nULL']" },
  { "[010, 0o7, 09, 0b101, 0x1F, +0x1F, 1_000, 1__0, 0_]", "[8, '0o7', '09', 5, 31, 31, 1000, 10, 0]" },
  { "[1:30, 190:20:30, +5, -0, -12]", "[90, 685230, 5, 0, -12]" },
  { "[12345678901234567890123, -9223372036854775808, +1_2345678901234567890123]",
    "[12345678901234567890123, -9223372036854775808, 12345678901234567890123]" },
  { "[.inf, -.INF, .nan, .NaN, .iNF]", "[inf, -inf, nan, nan, '.iNF']" },
  { "[1e5, 1.0e+5, 1.5e10, 5., .5, -.5, 1., 0.1]", "['1e5', 100000.0, '1.5e10', 5.0, 0.5, '-.5', 1.0, 0.1]" },
  { "[1.0e+16, 1.0e+15, 1.0e-5, 0.0001, 100000000000000000000.0]",
    "[1e+16, 1000000000000000.0, 1e-05, 0.0001, 1e+20]" },
  { "[123456789012345678.0, 685.230_15e+03, 1:30.5, 190:20:30.15, -0.0]",
    "[1.2345678901234568e+17, 685230.15, 90.5, 685230.15, -0.0]" },
  { "[1.7976931348623157e+308, 4.9e-324, 2.2250738585072014e-308, 1.0e+400]",
    "[1.7976931348623157e+308, 5e-324, 2.2250738585072014e-308, inf]" },
  { "{a: 2001-12-14}", "{'a': datetime.date(2001, 12, 14)}" },
  { "[it's, '\"', 'it''s \"', \"tab\\t nl\\n \\\\ \\x07 \\xe9\"]",
    "[\"it's\", '\"', 'it\\'s \"', 'tab\\t nl\\n \\\\ \\x07 \xc3\xa9']" },
  { "[\"\\u200b\", \"\\u3000\", \"\\U0001F600\", \"\\xad\", \"\\u00a0\", \"\\U000e0001\"]",
    "['\\u200b', '\\u3000', '\xf0\x9f\x98\x80', '\\xad', '\\xa0', '\\U000e0001']" },
  { "{1: a, false: b, ~: c, 1.5: d}", "{1: 'a', False: 'b', None: 'c', 1.5: 'd'}" },
  { "{\"1\": a, 1: b}", "{'1': 'a', 1: 'b'}" },
  { "plain text", "plain text" },
  { "\"\"", "" },
};

static void test_attributes(void) {
  for (guint i = 0; i < G_N_ELEMENTS(ATTRIBUTES); i++) {
    g_autofree char *text = g_strconcat(GOOD "attributes: ", ATTRIBUTES[i].yaml, "\n", NULL);
    g_auto(AinModelConfig) config;
    parse_good(&config, text);
    g_assert_cmpstr(config.attributes, ==, ATTRIBUTES[i].python);
    g_assert_cmpuint(config.warnings->len, ==, 0);
  }
}

/* Ten lists of ten of the one before: 10^10 values in 300 bytes. The text is cut, and quickly. */
static void test_alias_bomb(void) {
  GString *text = g_string_new(GOOD "attributes:\n  l0: &l0 lol\n");
  for (int i = 1; i <= 10; i++) {
    g_string_append_printf(text, "  l%d: &l%d [", i, i);
    for (int k = 0; k < 10; k++) {
      g_string_append_printf(text, "%s*l%d", k == 0 ? "" : ", ", i - 1);
    }
    g_string_append(text, "]\n");
  }
  g_auto(AinModelConfig) config;
  parse_good(&config, text->str);
  g_string_free(text, TRUE);
  g_assert_cmpuint(strlen(config.attributes), <=, AIN_CONFIG_MAX_ATTRIBUTES + 64);
  g_assert_true(g_str_has_suffix(config.attributes, "..."));
  g_assert_cmpuint(config.warnings->len, ==, 1);
}

static void test_alias_loop(void) {
  g_auto(AinModelConfig) config;
  parse_good(&config, GOOD "attributes: &a {self: *a}\n");
  g_assert_true(g_str_has_prefix(config.attributes, "{'self': {'self': "));
  g_assert_true(g_str_has_suffix(config.attributes, "..."));
  g_assert_cmpuint(config.warnings->len, ==, 1);
}

static void test_long_attributes_are_cut(void) {
  g_autofree char *value = g_strnfill(500000, 'v');
  g_autofree char *text = g_strconcat(GOOD "attributes: {a: ", value, "}\n", NULL);
  g_auto(AinModelConfig) config;
  parse_good(&config, text);
  g_assert_cmpuint(strlen(config.attributes), ==, AIN_CONFIG_MAX_ATTRIBUTES + 3);
  g_assert_true(g_str_has_suffix(config.attributes, "vvv..."));
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/config/rules", test_rules);
  g_test_add_func("/config/limits", test_limits);
  g_test_add_func("/config/defaults", test_defaults);
  g_test_add_func("/config/types", test_types);
  g_test_add_func("/config/aliases", test_aliases);
  g_test_add_func("/config/unknown-keys-warn", test_unknown_keys_warn);
  g_test_add_func("/config/attributes", test_attributes);
  g_test_add_func("/config/alias-bomb", test_alias_bomb);
  g_test_add_func("/config/alias-loop", test_alias_loop);
  g_test_add_func("/config/long-attributes", test_long_attributes_are_cut);
  return g_test_run();
}
