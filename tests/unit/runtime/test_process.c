/* What the host reads about the ends of processes. */
#include "runtime/process.h"

#include <glib/gstdio.h>
#include <unistd.h>

static void test_oom_kills(void) {
  static const struct {
    const char *text;
    gint64 count;
  } cases[] = {
    { "nr_free_pages 11\noom_kill 3\nnuma_hit 5\n", 3 },
    { "nr_free_pages 11\noom_kill 18446744073709\n", G_GINT64_CONSTANT(18446744073709) },
    { "nr_free_pages 11\nx_oom_kill 3\n", -1 },
    { "", -1 },
  };
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp("vmstat-XXXXXX", &path, NULL);
  g_assert_cmpint(fd, >=, 0);
  close(fd);
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_assert_true(g_file_set_contents(path, cases[i].text, -1, NULL));
    g_assert_cmpint(ain_process_oom_kills(path), ==, cases[i].count);
  }
  g_unlink(path);
  g_assert_cmpint(ain_process_oom_kills(path), ==, -1);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/process/oom-kills", test_oom_kills);
  return g_test_run();
}
