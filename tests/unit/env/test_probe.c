/* Interpreters that lie, hang, flood and die, and real ones. */
#include "env/probe.h"

#include "base/error.h"
#include "base/loop.h"
#include "env/env.h"

#include "folder.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Probes with a short limit and expects an error that says so. */
static void expect_refusal_within(const char *python, gint64 limit_us, const char *says) {
  g_autoptr(GError) error = NULL;
  const AinEnvProbing probing = { .bootstrap_dir = AIN_BOOTSTRAP, .limit_us = limit_us };
  g_autoptr(AinInterpreter) interpreter = ain_env_probe_with(python, &probing, NULL, &error);
  g_assert_null(interpreter);
  g_assert_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  if (strstr(error->message, says) == NULL) {
    g_error("'%s' does not say '%s'", error->message, says);
  }
}

static void expect_refusal(const char *python, const char *says) {
  expect_refusal_within(python, 0, says);
}

static void test_paths_that_are_no_interpreter(void) {
  char *folder = folder_new();
  g_autofree char *text = folder_file(folder, "text", "hello", 0644);
  g_autofree char *missing = g_build_filename(folder, "missing", NULL);
  g_autofree char *dangling = g_build_filename(folder, "venv", "bin", "python3", NULL);
  g_autofree char *venv = g_build_filename(folder, "venv", NULL);
  g_autofree char *keep = folder_file(folder, "venv/bin/keep", "", 0644);
  g_assert_cmpint(symlink("/nowhere/python3.11", dangling), ==, 0);
  expect_refusal("", "empty");
  expect_refusal("no-such-python-anywhere", "no 'no-such-python-anywhere' on PATH");
  expect_refusal(missing, "does not exist");
  expect_refusal(text, "not a program that this user may run");
  expect_refusal(keep, "not a program");
  expect_refusal("/dev/null", "not a program");
  expect_refusal(dangling, "link to /nowhere/python3.11, which does not exist");
  expect_refusal(venv, "python3 -m venv --clear");
  expect_refusal(folder, "does not exist");
  folder_free(folder);
}

static void test_programs_that_are_no_interpreter(void) {
  static const struct {
    const char *body;
    const char *says;
  } cases[] = {
    { "exit 0", "did not answer as a Python interpreter does" },
    { "exit 3", "ended with exit code 3" },
    { "echo 'broken thing' >&2; exit 1", "it says: broken thing" },
    { "kill -SEGV $$", "ended by signal 11" },
    { "echo hello; head -c 200 /dev/urandom", "did not answer" },
    { "printf '\\nAIN-PROBE-BEGIN wrong\\nversion=3.11.7\\nAIN-PROBE-END wrong\\n'", "did not answer" },
    { "printf '\\nAIN-PROBE-BEGIN %s\\nversion=3.11.7\\n' $word", "did not answer" },
    { "printf '\\nAIN-PROBE-BEGIN %s\\nAIN-PROBE-END %s\\n' $word $word", "cannot be understood" },
    { "printf '\\nAIN-PROBE-BEGIN %s\\nno equals sign\\nAIN-PROBE-END %s\\n' $word $word",
      "cannot be understood" },
    { "yes", "printed more than" },
    { "yes >&2", "did not answer within" },
    { "printf '\\000'; exit 0", "did not answer" },
  };
  char *folder = folder_new();
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *python = folder_program(folder, "python", cases[i].body);
    expect_refusal_within(python, G_USEC_PER_SEC, cases[i].says);
  }
  folder_free(folder);
}

/* With its whole group, at once and also when it ignores SIGTERM and has closed its output. */
static void test_hanging_interpreter_is_killed(void) {
  char *folder = folder_new();
  g_autofree char *body =
      g_strdup_printf("trap '' TERM; exec >&- 2>&-; sleep 60 & echo $! > '%s/child'; wait", folder);
  g_autofree char *python = folder_program(folder, "python", body);
  g_autofree char *child = g_build_filename(folder, "child", NULL);
  gint64 before = ain_loop_now();
  expect_refusal_within(python, 400000, "did not answer within 0.4 s");
  g_assert_cmpint(ain_loop_now() - before, <, 3000000);
  g_autofree char *pid = NULL;
  g_assert_true(g_file_get_contents(child, &pid, NULL, NULL));
  /* Killed; its reaper may need a moment. */
  int sleeper = (int)g_ascii_strtoll(pid, NULL, 10);
  for (int tries = 0; tries < 200 && kill(sleeper, 0) == 0; tries++) {
    g_autofree char *state_path = g_strdup_printf("/proc/%d/stat", sleeper);
    g_autofree char *state = NULL;
    if (g_file_get_contents(state_path, &state, NULL, NULL) && strstr(state, ") Z ") != NULL) {
      break;
    }
    g_usleep(10000);
  }
  g_autofree char *state_path = g_strdup_printf("/proc/%d/stat", sleeper);
  g_autofree char *state = NULL;
  g_assert_true(!g_file_get_contents(state_path, &state, NULL, NULL) || strstr(state, ") Z ") != NULL);
  folder_free(folder);
}

/* A grandchild that keeps the pipe open must not hold up an answer that is there. */
static void test_left_over_child_does_not_delay(void) {
  char *folder = folder_new();
  g_autofree char *answer = folder_answer("/usr/bin/env", "");
  g_autofree char *body = g_strconcat("sleep 60 &\n", answer, NULL);
  g_autofree char *python = folder_program(folder, "python", body);
  g_autoptr(GError) error = NULL;
  gint64 before = ain_loop_now();
  g_autoptr(AinInterpreter) interpreter = ain_env_probe(python, AIN_BOOTSTRAP, NULL, NULL, &error);
  g_assert_no_error(error);
  g_assert_cmpint(ain_loop_now() - before, <, 5000000);
  folder_free(folder);
}

static void test_answers_that_are_refused(void) {
  static const struct {
    const char *overrides;
    const char *says;
  } cases[] = {
    { "implementation=pypy\n", "is pypy 3.11.7, and AINode runs models with CPython 3.9 or newer" },
    { "version=3.8.18\nhexversion=030812f0\n", "cpython 3.8.18 (too old)" },
    { "implementation=unknown\nversion=2.7.18\nhexversion=020712f0\n", "2.7.18 (too old)" },
    { "free_threaded=1\n", "built free-threaded" },
    { "executable=\n", "does not know its own path" },
    { "executable=python3\n", "does not know its own path" },
    { "hexversion=fffffffff\n", "cannot be understood" },
    { "hexversion=-1\n", "cannot be understood" },
    { "hexversion=0\n", "cannot be understood" },
    { "free_threaded=2\n", "cannot be understood" },
    { "prefix=%00\n", "cannot be understood" },
    { "prefix=%zz\n", "cannot be understood" },
  };
  char *folder = folder_new();
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *body = folder_answer("/usr/bin/env", cases[i].overrides);
    g_autofree char *python = folder_program(folder, "python", body);
    expect_refusal(python, cases[i].says);
  }
  folder_free(folder);
}

static void test_foreign_architecture_is_refused(void) {
  char *folder = folder_new();
  /* an ELF head of another machine (32-bit SPARC) */
  guint8 head[64] = { 0x7f, 'E', 'L', 'F', 1, 2, 1, [16] = 0, 2, 0, 2 };
  g_autofree char *foreign = g_build_filename(folder, "foreign", NULL);
  g_assert_true(g_file_set_contents(foreign, (const char *)head, sizeof head, NULL));
  g_autofree char *body = folder_answer(foreign, "");
  g_autofree char *python = folder_program(folder, "python", body);
  expect_refusal(python, "another machine architecture");
  folder_free(folder);
}

static void test_answer_is_read(void) {
  char *folder = folder_new();
  g_autofree char *body = folder_answer(
      "/usr/bin/env", "prefix=/with%%25percent%%0Aand newline\nlibpython=relative.so\nlibpython=/etc/passwd\n"
                      "numpy=2.0.1\npackage=sktime==0.38\npath=/a\npath=/b\nfuture=unknown key\n");
  g_autofree char *escaped = g_strdup(body);
  for (char *p; (p = strstr(escaped, "%%")) != NULL;) {
    memmove(p, p + 1, strlen(p)); /* the here-document takes single percent signs */
  }
  g_autofree char *python = folder_program(folder, "python", escaped);
  g_autoptr(GError) error = NULL;
  g_autoptr(AinInterpreter) interpreter = ain_env_probe(python, AIN_BOOTSTRAP, NULL, NULL, &error);
  g_assert_no_error(error);
  g_assert_cmpstr(interpreter->asked, ==, python);
  g_assert_cmpstr(interpreter->prefix, ==, "/with%percent\nand newline");
  g_assert_null(interpreter->libpython);
  g_assert_cmpstr(interpreter->numpy, ==, "2.0.1");
  g_assert_null(interpreter->torch);
  g_assert_cmpstr(interpreter->packages[0], ==, "sktime==0.38");
  g_assert_cmpuint(g_strv_length(interpreter->paths), ==, 2);
  g_assert_true(interpreter->has_venv && interpreter->has_ensurepip && interpreter->has_ssl);
  g_assert_cmphex(interpreter->version_hex, ==, 0x030b07f0);
  g_autoptr(GPtrArray) problems = ain_env_problems(interpreter);
  g_assert_cmpuint(problems->len, ==, 2); /* pip, torch */
  folder_free(folder);
}

static void test_missing_bootstrap_is_named(void) {
  g_autoptr(GError) error = NULL;
  g_assert_null(ain_env_probe("/bin/sh", "/nonexistent", NULL, NULL, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  g_assert_nonnull(strstr(error->message, "installation is incomplete"));
}

/* How often the fake interpreter in folder has run. */
static gsize runs(const char *folder) {
  g_autofree char *path = g_build_filename(folder, "runs", NULL);
  g_autofree char *text = NULL;
  gsize size = 0;
  return g_file_get_contents(path, &text, &size, NULL) ? size : 0;
}

static char *counted_python(const char *folder, const char *overrides) {
  g_autofree char *answer = folder_answer("/usr/bin/env", overrides);
  g_autofree char *body = g_strdup_printf("printf x >> '%s/runs'\n%s", folder, answer);
  return folder_program(folder, "python", body);
}

static void probe_cached(const char *python, const char *cache, gboolean want_cached) {
  g_autoptr(GError) error = NULL;
  gboolean cached = !want_cached;
  g_autoptr(AinInterpreter) interpreter = ain_env_probe(python, AIN_BOOTSTRAP, cache, &cached, &error);
  g_assert_no_error(error);
  g_assert_cmpint(cached, ==, want_cached);
  g_assert_cmpstr(interpreter->executable, ==, "/usr/bin/env");
}

static void test_cache_is_used_and_noticed_when_stale(void) {
  char *folder = folder_new();
  g_autofree char *packages = folder_file(folder, "site/keep", "", 0644);
  g_autofree char *overrides = g_strdup_printf("prefix=%s\npath=%s/site\n", folder, folder);
  g_autofree char *python = counted_python(folder, overrides);
  g_autofree char *cache = g_build_filename(folder, "cache", NULL);
  probe_cached(python, cache, FALSE);
  probe_cached(python, cache, TRUE);
  g_assert_cmpuint(runs(folder), ==, 1);
  /* a package is installed */
  g_autofree char *added = folder_file(folder, "site/numpy.dist-info", "", 0644);
  probe_cached(python, cache, FALSE);
  probe_cached(python, cache, TRUE);
  /* the venv's configuration appears */
  g_autofree char *configuration = folder_file(folder, "pyvenv.cfg", "home = /x\n", 0644);
  probe_cached(python, cache, FALSE);
  probe_cached(python, cache, TRUE);
  /* the interpreter is replaced */
  g_autofree char *again = counted_python(folder, overrides);
  probe_cached(python, cache, FALSE);
  /* the search path changes */
  g_setenv("PYTHONPATH", "/somewhere", TRUE);
  probe_cached(python, cache, FALSE);
  g_unsetenv("PYTHONPATH");
  g_assert_cmpuint(runs(folder), ==, 5);
  folder_free(folder);
}

static void test_corrupt_cache_is_ignored(void) {
  char *folder = folder_new();
  g_autofree char *python = counted_python(folder, "");
  g_autofree char *cache = g_build_filename(folder, "cache", NULL);
  probe_cached(python, cache, FALSE);
  g_autofree char *good = NULL;
  gsize size = 0;
  g_assert_true(g_file_get_contents(cache, &good, &size, NULL));
  /* every prefix, and one changed byte at every tenth place */
  for (gsize i = 0; i < size; i += 10) {
    g_assert_true(g_file_set_contents(cache, good, (gssize)i, NULL));
    probe_cached(python, cache, FALSE);
    g_autofree char *bad = g_memdup2(good, size);
    bad[i] = bad[i] == 'x' ? 'y' : 'x';
    g_assert_true(g_file_set_contents(cache, bad, (gssize)size, NULL));
    probe_cached(python, cache, FALSE);
  }
  g_assert_true(g_file_set_contents(cache, good, (gssize)size, NULL));
  probe_cached(python, cache, TRUE);
  /* a folder in its place: neither read nor written, and no error */
  g_assert_cmpint(g_unlink(cache), ==, 0);
  g_assert_cmpint(g_mkdir(cache, 0777), ==, 0);
  probe_cached(python, cache, FALSE);
  folder_free(folder);
}

static void test_reprobe_tells_change(void) {
  char *folder = folder_new();
  g_autofree char *cache = g_build_filename(folder, "cache", NULL);
  g_autofree char *python = counted_python(folder, "numpy=1.0\n");
  g_autoptr(GError) error = NULL;
  g_autoptr(AinInterpreter) first = ain_env_probe(python, AIN_BOOTSTRAP, cache, NULL, &error);
  g_assert_no_error(error);
  gboolean changed = TRUE;
  g_autoptr(AinInterpreter) second = ain_env_reprobe(first, AIN_BOOTSTRAP, cache, &changed, &error);
  g_assert_no_error(error);
  g_assert_false(changed);
  g_autofree char *same = counted_python(folder, "numpy=2.0\n");
  g_autoptr(AinInterpreter) third = ain_env_reprobe(first, AIN_BOOTSTRAP, cache, &changed, &error);
  g_assert_no_error(error);
  g_assert_true(changed);
  g_assert_cmpstr(third->numpy, ==, "2.0");
  probe_cached(python, cache, TRUE);
  folder_free(folder);
}

/* The machine's own Python, by name: what it says of itself is checked by tests/interpreters. */
static void test_real_interpreter(void) {
  g_autoptr(GError) error = NULL;
  g_setenv("PYTHONHOME", "/nonexistent", TRUE); /* would keep it from starting */
  g_autoptr(AinInterpreter) interpreter = ain_env_probe("python3", AIN_BOOTSTRAP, NULL, NULL, &error);
  g_unsetenv("PYTHONHOME");
  g_assert_no_error(error);
  g_assert_cmpstr(interpreter->implementation, ==, "cpython");
  g_assert_cmphex(interpreter->version_hex, >=, 0x03090000);
  g_assert_true(g_path_is_absolute(interpreter->executable));
  g_assert_cmpuint(g_strv_length(interpreter->paths), >=, 1);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/env/probe/paths", test_paths_that_are_no_interpreter);
  g_test_add_func("/env/probe/programs", test_programs_that_are_no_interpreter);
  g_test_add_func("/env/probe/hangs", test_hanging_interpreter_is_killed);
  g_test_add_func("/env/probe/left-over", test_left_over_child_does_not_delay);
  g_test_add_func("/env/probe/refused", test_answers_that_are_refused);
  g_test_add_func("/env/probe/architecture", test_foreign_architecture_is_refused);
  g_test_add_func("/env/probe/answer", test_answer_is_read);
  g_test_add_func("/env/probe/bootstrap", test_missing_bootstrap_is_named);
  g_test_add_func("/env/probe/cache", test_cache_is_used_and_noticed_when_stale);
  g_test_add_func("/env/probe/corrupt-cache", test_corrupt_cache_is_ignored);
  g_test_add_func("/env/probe/again", test_reprobe_tells_change);
  g_test_add_func("/env/probe/real", test_real_interpreter);
  return g_test_run();
}
