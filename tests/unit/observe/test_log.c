/* The log: the form of a line, what cannot forge one, the four files, rotation, many threads. */
#include "base/error.h"
#include "base/fd.h"
#include "observe/log_format.h"
#include "observe/observe.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WHEN G_GINT64_CONSTANT(1767323045678901) /* 2026-01-02 03:04:05.678901 UTC */
#define STAMP "2026-01-02 03:04:05,678 "

typedef struct {
  GLogLevelFlags level;
  const char *text;
  gssize size; /* -1: strlen */
  const char *expected;
} Line;

static const Line LINES[] = {
  { G_LOG_LEVEL_INFO, "hello", -1, STAMP "INFO [12:34] hello\n" },
  { G_LOG_LEVEL_MESSAGE, "hello", -1, STAMP "INFO [12:34] hello\n" },
  { G_LOG_LEVEL_DEBUG, "", -1, STAMP "DEBUG [12:34] \n" },
  { G_LOG_LEVEL_WARNING, "x", -1, STAMP "WARNING [12:34] x\n" },
  { G_LOG_LEVEL_CRITICAL, "x", -1, STAMP "ERROR [12:34] x\n" },
  { G_LOG_LEVEL_ERROR | G_LOG_FLAG_FATAL, "x", -1, STAMP "ERROR [12:34] x\n" },
  { G_LOG_LEVEL_INFO, "a\n" STAMP "ERROR [1:1] forged", -1,
    STAMP "INFO [12:34] a\\n" STAMP "ERROR [1:1] forged\n" },
  { G_LOG_LEVEL_INFO, "a\r\tb\x1b[2J\x07\x7f", -1, STAMP "INFO [12:34] a\\r\\tb\\x1b[2J\\x07\\x7f\n" },
  { G_LOG_LEVEL_INFO, "nul\0after", 9, STAMP "INFO [12:34] nul\\x00after\n" },
  { G_LOG_LEVEL_INFO, "caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80", -1,
    STAMP "INFO [12:34] caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80\n" },
  { G_LOG_LEVEL_INFO, "bad\xFF\xC3", -1, STAMP "INFO [12:34] bad\\xff\\xc3\n" },
  { G_LOG_LEVEL_INFO, "\xC2\x85|\xE2\x80\xA8|\xE2\x80\xAE|\xEF\xBB\xBF", -1,
    STAMP "INFO [12:34] \\u0085|\\u2028|\\u202e|\\ufeff\n" },
};

static void test_format(void) {
  for (guint i = 0; i < G_N_ELEMENTS(LINES); i++) {
    const Line *line = &LINES[i];
    gsize size = line->size < 0 ? strlen(line->text) : (gsize)line->size;
    /* a block of its own size, not terminated: a sanitizer sees a read too far */
    g_autofree char *block = g_malloc(MAX(size, 1));
    memcpy(block, line->text, size);
    g_autoptr(GString) out = g_string_new(NULL);
    ain_log_format(out, WHEN, line->level, 12, 34, block, size);
    g_assert_cmpstr(out->str, ==, line->expected);
  }
}

static void test_long_message_is_cut(void) {
  g_autofree char *text = g_strnfill(AIN_LOG_MAX_MESSAGE + 7, 'x');
  g_autoptr(GString) out = g_string_new(NULL);
  ain_log_format(out, WHEN, G_LOG_LEVEL_INFO, 1, 2, text, strlen(text));
  g_assert_true(g_str_has_suffix(out->str, "xxx... (7 more bytes)\n"));
  g_assert_cmpuint(out->len, <, AIN_LOG_MAX_MESSAGE + 100);
}

static const char *const NAMES[] = { "log_ainode_all.log", "log_ainode_info.log", "log_ainode_warning.log",
                                     "log_ainode_error.log" };

typedef struct {
  char *root;
  char *logs;
  int saved_stderr;
  char *stderr_path;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
  (void)data;
  f->root = g_dir_make_tmp("ain-log-XXXXXX", NULL);
  g_assert_nonnull(f->root);
  f->logs = g_build_filename(f->root, "deep", "logs", NULL);
  f->stderr_path = g_build_filename(f->root, "stderr", NULL);
  f->saved_stderr = dup(STDERR_FILENO);
  ain_fd int fd = open(f->stderr_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  g_assert_cmpint(dup2(fd, STDERR_FILENO), ==, STDERR_FILENO);
}

static void tear_down(Fixture *f, gconstpointer data) {
  (void)data;
  ain_observe_log_close();
  g_assert_cmpint(dup2(f->saved_stderr, STDERR_FILENO), ==, STDERR_FILENO);
  ain_fd_close(&f->saved_stderr);
  g_assert_true(ain_file_remove_tree(f->root, NULL));
  g_free(f->root);
  g_free(f->logs);
  g_free(f->stderr_path);
}

static void open_log(const Fixture *f, gboolean debug) {
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_observe_log_open(f->logs, debug, &error));
  g_assert_no_error(error);
}

static char *content(const char *path) {
  char *text = NULL;
  g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
  return text;
}

static char *log_path(const Fixture *f, const char *name) {
  return g_build_filename(f->logs, name, NULL);
}

/* The message texts of a log, joined by ' '. */
static char *texts(const char *path) {
  g_autofree char *text = content(path);
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  g_autoptr(GString) out = g_string_new(NULL);
  for (guint i = 0; lines[i] != NULL && *lines[i] != '\0'; i++) {
    const char *end = strstr(lines[i], "] ");
    g_assert_nonnull(end);
    g_string_append_printf(out, "%s%s", i > 0 ? " " : "", end + 2);
  }
  return g_string_free(g_steal_pointer(&out), FALSE);
}

static void log_each_level(void) {
  g_debug("d");
  g_info("i");
  g_message("m");
  g_warning("w");
  g_critical("c");
}

static void assert_texts(const Fixture *f, const char *const *expected) {
  for (guint i = 0; i < G_N_ELEMENTS(NAMES); i++) {
    g_autofree char *path = log_path(f, NAMES[i]);
    g_autofree char *got = texts(path);
    g_assert_cmpstr(got, ==, expected[i]);
  }
}

static void test_files(Fixture *f, gconstpointer data) {
  (void)data;
  open_log(f, FALSE);
  log_each_level();
  assert_texts(f, (const char *const[]){ "i m w c", "i m w c", "w c", "c" });
  g_autofree char *on_stderr = texts(f->stderr_path);
  g_assert_cmpstr(on_stderr, ==, "i m w c");
  open_log(f, TRUE); /* again: appends, now with debug */
  log_each_level();
  assert_texts(f, (const char *const[]){ "i m w c d i m w c", "i m w c i m w c", "w c w c", "c c" });
  ain_observe_log_close();
  g_message("late");
  assert_texts(f, (const char *const[]){ "i m w c d i m w c", "i m w c i m w c", "w c w c", "c c" });
  g_autofree char *after = texts(f->stderr_path);
  g_assert_true(g_str_has_suffix(after, " late"));
}

static void test_modes(Fixture *f, gconstpointer data) {
  (void)data;
  mode_t old = umask(0);
  open_log(f, FALSE);
  umask(old);
  struct stat info;
  g_assert_cmpint(stat(f->logs, &info), ==, 0);
  g_assert_cmpuint(info.st_mode & 0777, ==, 0755);
  for (guint i = 0; i < G_N_ELEMENTS(NAMES); i++) {
    g_autofree char *path = log_path(f, NAMES[i]);
    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpuint(info.st_mode & 0777, ==, 0640);
  }
}

static void test_line_on_disk(Fixture *f, gconstpointer data) {
  (void)data;
  open_log(f, FALSE);
  g_message("model %s", "a\nb");
  g_autofree char *path = log_path(f, NAMES[0]);
  g_autofree char *text = content(path);
  g_autofree char *pattern = g_strdup_printf(
      "^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d,\\d{3} INFO \\[%ld:%ld\\] model a\\\\nb\\n$",
      (long)getpid(), (long)gettid());
  g_assert_true(g_regex_match_simple(pattern, text, 0, 0));
}

static void test_reopen(Fixture *f, gconstpointer data) {
  (void)data;
  open_log(f, FALSE);
  g_message("before");
  g_autofree char *path = log_path(f, NAMES[0]);
  g_autofree char *rotated = log_path(f, "rotated");
  g_assert_cmpint(g_rename(path, rotated), ==, 0);
  g_message("between");
  ain_observe_log_reopen();
  g_message("after");
  g_autofree char *old = texts(rotated);
  g_autofree char *new = texts(path);
  g_assert_cmpstr(old, ==, "before between");
  g_assert_cmpstr(new, ==, "after");
}

static void test_reopen_failing_keeps_the_files(Fixture *f, gconstpointer data) {
  (void)data;
  open_log(f, FALSE);
  g_autofree char *moved = g_build_filename(f->root, "moved", NULL);
  g_assert_cmpint(g_rename(f->logs, moved), ==, 0);
  g_assert_true(g_file_set_contents(f->logs, "a file in the way", -1, NULL));
  ain_observe_log_reopen();
  g_message("still");
  g_autofree char *path = g_build_filename(moved, NAMES[0], NULL);
  g_autofree char *got = texts(path);
  g_assert_nonnull(strstr(got, "the log goes on in its old files"));
  g_assert_nonnull(strstr(got, f->logs));
  g_assert_true(g_str_has_suffix(got, " still"));
}

static void test_unusable_directory(Fixture *f, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_autofree char *below_file = g_build_filename(f->stderr_path, "logs", NULL);
  g_assert_false(ain_observe_log_open(below_file, FALSE, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, below_file));
  g_assert_nonnull(strstr(error->message, "Not a directory"));
  g_clear_error(&error);
  g_assert_false(ain_observe_log_open("/proc", FALSE, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, "/proc/log_ainode_all.log"));
  g_clear_error(&error);
  g_autofree char *fifo = g_build_filename(f->root, NAMES[2], NULL);
  g_assert_cmpint(mkfifo(fifo, 0600), ==, 0); /* nobody reads it: opening must not hang */
  g_assert_false(ain_observe_log_open(f->root, FALSE, &error));
  g_assert_nonnull(strstr(error->message, fifo));
}

static void test_stderr_alone(Fixture *f, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_observe_log_open(NULL, FALSE, &error));
  g_message("only here");
  ain_observe_log_reopen(); /* nothing to reopen */
  g_autofree char *got = texts(f->stderr_path);
  g_assert_cmpstr(got, ==, "only here");
}

#define N_THREADS 4
#define PER_THREAD 250

static void *write_many(void *data) {
  for (int i = 0; i < PER_THREAD; i++) {
    g_message("t%d-%d", *(int *)data, i);
  }
  return NULL;
}

/* Threads write while the main thread rotates: no line is lost, none is torn. */
static void test_threads(Fixture *f, gconstpointer data) {
  (void)data;
  open_log(f, FALSE);
  pthread_t threads[N_THREADS];
  int numbers[N_THREADS];
  for (int i = 0; i < N_THREADS; i++) {
    numbers[i] = i;
    g_assert_cmpint(pthread_create(&threads[i], NULL, write_many, &numbers[i]), ==, 0);
  }
  for (int i = 0; i < 20; i++) {
    ain_observe_log_reopen();
    g_usleep(500);
  }
  for (int i = 0; i < N_THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  g_autofree char *path = log_path(f, NAMES[0]);
  g_autofree char *got = texts(path);
  g_auto(GStrv) words = g_strsplit(got, " ", -1);
  int next[N_THREADS] = { 0 };
  for (guint i = 0; words[i] != NULL; i++) {
    int thread = words[i][1] - '0';
    g_assert_cmpint(thread, >=, 0);
    g_assert_cmpint(thread, <, N_THREADS);
    g_autofree char *expected = g_strdup_printf("t%d-%d", thread, next[thread]++);
    g_assert_cmpstr(words[i], ==, expected);
  }
  for (int i = 0; i < N_THREADS; i++) {
    g_assert_cmpint(next[i], ==, PER_THREAD);
  }
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
  g_setenv("TZ", "UTC", TRUE);
  tzset();
  g_test_init(&argc, &argv, NULL);
  g_log_set_always_fatal(G_LOG_FATAL_MASK); /* warnings are what is tested here */
  g_test_add_func("/log/format", test_format);
  g_test_add_func("/log/long-message", test_long_message_is_cut);
  ADD("/log/files", test_files);
  ADD("/log/modes", test_modes);
  ADD("/log/line-on-disk", test_line_on_disk);
  ADD("/log/reopen", test_reopen);
  ADD("/log/reopen-failing", test_reopen_failing_keeps_the_files);
  ADD("/log/unusable-directory", test_unusable_directory);
  ADD("/log/stderr-alone", test_stderr_alone);
  ADD("/log/threads", test_threads);
  return g_test_run();
}
