/* What the system refuses: what has run out is told apart, with what helps. */
#include "base/error.h"

#include <errno.h>
#include <string.h>

static void expect(int errno_value, AinErrorCode code, const char *help) {
  g_autoptr(GError) error = NULL;
  ain_error_set_os(&error, errno_value, "cannot start %s", "it");
  g_assert_error(error, AIN_ERROR, (gint)code);
  g_assert_true(g_str_has_prefix(error->message, "cannot start it: "));
  g_assert_nonnull(strstr(error->message, g_strerror(errno_value)));
  g_assert_nonnull(strstr(error->message, help));
}

static void test_remedies(void) {
  expect(EAGAIN, AIN_ERROR_EXHAUSTED, "limit of processes is reached (ulimit -u");
  expect(EMFILE, AIN_ERROR_EXHAUSTED, "ulimit -n");
  expect(ENFILE, AIN_ERROR_EXHAUSTED, "fs.file-max");
  expect(ENOMEM, AIN_ERROR_EXHAUSTED, "more memory");
  expect(ENOSPC, AIN_ERROR_EXHAUSTED, "more memory");
  expect(ENOENT, AIN_ERROR_INTERNAL, "");
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/base/error/remedies", test_remedies);
  return g_test_run();
}
