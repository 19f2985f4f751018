/* The check of a DataNode's replies: lets every real reply pass, and nothing that the generated reader could
 * stumble over. */
#include "answers.h"
#include "base/error.h"
#include "protocol/types.h"

static AinSlice slice_of(const GByteArray *bytes) {
  return (AinSlice){ bytes->data, bytes->len };
}

/* The test's parameter: call and protocol. */
#define PARAMETER(call, compact) GINT_TO_POINTER((int)(call)*2 + (compact))
#define CALL_OF(data) ((AinSessionCall)(GPOINTER_TO_INT(data) / 2))
#define COMPACT_OF(data) (GPOINTER_TO_INT(data) % 2 == 1)

static void test_full(gconstpointer data) {
  g_autoptr(GError) error = NULL;
  g_auto(AinNodePage) page = { 0 };
  g_autoptr(GByteArray) bytes = test_answer_new(CALL_OF(data), COMPACT_OF(data));
  g_assert_true(test_answer_read(CALL_OF(data), slice_of(bytes), COMPACT_OF(data), &page, &error));
  g_assert_no_error(error);
  if (CALL_OF(data) != AIN_SESSION_EXECUTE) {
    return;
  }
  g_assert_cmpint(page.query_id, ==, 5);
  g_autoptr(AinRows) rows = ain_rows_new(NULL, "select", NULL, &page, &error);
  g_assert_no_error(error);
  g_assert_cmpuint(ain_rows_n_columns(rows), ==, 3); /* Time, i, t */
  g_assert_cmpint(test_rows_read_all(rows, &error), ==, 4);
  g_assert_no_error(error);
}

static void test_truncations(gconstpointer data) {
  g_autoptr(GByteArray) bytes = test_answer_new(CALL_OF(data), COMPACT_OF(data));
  for (guint size = 0; size < bytes->len; size++) {
    /* an exact copy, so that a sanitizer sees a read past its end */
    g_autofree guint8 *part = g_memdup2(bytes->data, MAX(size, 1));
    g_autoptr(GError) error = NULL;
    g_assert_false(
        ain_session_reply_check(CALL_OF(data), (AinSlice){ part, size }, COMPACT_OF(data), &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_MALFORMED);
  }
}

/* Every byte changed to telling values: what passes must be readable, and its rows an error or values. */
static void test_mutations(gconstpointer data) {
  static const guint8 values[] = { 0x00, 0x01, 0x02, 0x0b, 0x0c, 0x0d, 0x0f, 0x10, 0x7f, 0x80, 0xf0, 0xff };
  g_autoptr(GByteArray) bytes = test_answer_new(CALL_OF(data), COMPACT_OF(data));
  guint passed = 0;
  for (guint at = 0; at < bytes->len; at++) {
    guint8 saved = bytes->data[at];
    for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
      bytes->data[at] = values[i];
      g_auto(AinNodePage) page = { 0 };
      if (test_answer_read(CALL_OF(data), slice_of(bytes), COMPACT_OF(data), &page, NULL)) {
        passed++;
        g_autoptr(GError) error = NULL;
        g_autoptr(AinRows) rows = page.names != NULL ? ain_rows_new(NULL, "x", NULL, &page, &error) : NULL;
        g_assert_true(rows == NULL || test_rows_read_all(rows, &error) >= 0 || error != NULL);
      }
    }
    bytes->data[at] = saved;
  }
  g_assert_cmpuint(passed, >, bytes->len / 8); /* bytes of texts and numbers may be anything */
}

static void test_other_method(gconstpointer data) {
  g_autoptr(GByteArray) bytes = test_answer_new(CALL_OF(data), COMPACT_OF(data));
  AinSessionCall other = (AinSessionCall)((CALL_OF(data) + 1) % AIN_SESSION_CALLS);
  g_autoptr(GError) error = NULL;
  g_assert_false(ain_session_reply_check(other, slice_of(bytes), COMPACT_OF(data), &error));
  g_assert_nonnull(strstr(error->message, ain_session_method(other)));
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  ain_protocol_register_types();
  for (int call = 0; call < (int)AIN_SESSION_CALLS; call++) {
    for (int compact = 0; compact < 2; compact++) {
      const struct {
        const char *name;
        GTestDataFunc func;
      } tests[] = { { "full", test_full },
                    { "truncations", test_truncations },
                    { "mutations", test_mutations },
                    { "other-method", test_other_method } };
      for (gsize i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path =
            g_strdup_printf("/session/reply/%s/%s/%s", tests[i].name,
                            ain_session_method((AinSessionCall)call), compact != 0 ? "compact" : "binary");
        g_test_add_data_func(path, PARAMETER(call, compact), tests[i].func);
      }
    }
  }
  return g_test_run();
}
