/* What a worker is told to load, and which of the numbers that it answers are believed. */
#include "runtime/load_text.h"
#include "runtime/result_check.h"

#include <glib.h>
#include <string.h>

static const AinWorkerSpec plain = {
  .name = "drift",
  .kind = "torchscript",
  .directory = "/srv/a \"b\"\n",
  .device = "cpu",
  .dtype = AIN_DTYPE_FLOAT32,
  .input_shape = { 12, 1 },
  .output_shape = { 6, 2 },
  .memory_bytes = -1,
  .threads = 3,
  .prove = TRUE,
};

static void test_load_text(void) {
  g_autofree char *text = ain_load_text(&plain, NULL, TRUE);
  g_assert_cmpstr(
      text, ==,
      "{\"name\": \"drift\", \"kind\": \"torchscript\", \"directory\": \"/srv/a \\\"b\\\"\\u000a\", "
      "\"dtype\": \"float32\", \"input_shape\": [12, 1], \"output_shape\": [6, 2], \"prove\": true, "
      "\"template\": false, \"memory_bytes\": -1, \"threads\": 3, \"official_numbers\": false, "
      "\"sandbox\": true, \"device\": \"cpu\", \"read_paths\": []}");
}

static void test_read_paths(void) {
  static const struct {
    const char *paths;
    const char *wanted;
  } cases[] = {
    { "", "\"read_paths\": []}" },
    { ":", "\"read_paths\": []}" },
    { "/a", "\"read_paths\": [\"/a\"]}" },
    { ":/a::/b c:", "\"read_paths\": [\"/a\", \"/b c\"]}" },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *text = ain_load_text(&plain, cases[i].paths, FALSE);
    g_assert_true(g_str_has_suffix(text, cases[i].wanted));
    g_assert_nonnull(strstr(text, "\"sandbox\": false"));
  }
}

static void test_listed(void) {
  g_assert_true(ain_load_is_listed("a", "a"));
  g_assert_true(ain_load_is_listed("b, a ,c", "a"));
  g_assert_false(ain_load_is_listed(NULL, "a"));
  g_assert_false(ain_load_is_listed("", "a"));
  g_assert_false(ain_load_is_listed("ab,A,b a", "a"));
}

static gboolean fits(AinResult result) {
  AinJob job = { .batch = 2 };
  return ain_result_fits(&job, &result);
}

static void test_shapes(void) {
  AinResult good = { .dtype = AIN_DTYPE_FLOAT32, .batch = 2, .rows = 3, .columns = 5, .size = 120 };
  g_assert_true(fits(good));
  AinResult bad = good;
  bad.batch = 3;
  bad.size = 180;
  g_assert_false(fits(bad)); /* agrees with itself, not with the job */
  bad = good;
  bad.size++;
  g_assert_false(fits(bad));
  bad = good;
  bad.dtype = AIN_DTYPE_COUNT;
  g_assert_false(fits(bad));
  bad.dtype = G_MAXUINT32;
  g_assert_false(fits(bad));
  /* 2^31 x 2^31 x 2 samples x 4 bytes is 0 in 64 bits */
  bad = good;
  bad.rows = bad.columns = 1U << 31;
  bad.size = 0;
  g_assert_false(fits(bad));
  bad.rows = bad.columns = G_MAXUINT32;
  bad.size = (guint64)G_MAXUINT32 * G_MAXUINT32 * 2 * 4;
  g_assert_false(fits(bad));
  AinResult empty = { .dtype = AIN_DTYPE_FLOAT32, .batch = 2, .rows = 0, .columns = G_MAXUINT32 };
  g_assert_true(fits(empty));
}

static void test_spans(void) {
  static const struct {
    gint64 begun;
    gint64 ended;
    gint64 wanted;
  } cases[] = {
    { 5, 25, 20 },
    { 0, 1000, 100 },
    { 25, 5, 0 },
    { 7, 7, 0 },
    { G_MININT64, G_MAXINT64, 0 },
    { G_MAXINT64, G_MININT64, 0 },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    AinResult result = { .begun_ns = cases[i].begun, .ended_ns = cases[i].ended };
    g_assert_cmpint(ain_result_span(&result, 100), ==, cases[i].wanted);
  }
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/runtime/wire/load-text", test_load_text);
  g_test_add_func("/runtime/wire/read-paths", test_read_paths);
  g_test_add_func("/runtime/wire/listed", test_listed);
  g_test_add_func("/runtime/wire/shapes", test_shapes);
  g_test_add_func("/runtime/wire/spans", test_spans);
  return g_test_run();
}
