/* The marks of a venv, its lock and its removal; what start does with each state. Making one for real is
 * tested by tests/interpreters. */
#include "env/venv.h"

#include "base/error.h"
#include "base/exit.h"
#include "env/env.h"

#include "folder.h"

#include <sys/file.h>
#include <unistd.h>

static void test_states(void) {
  char *home = folder_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *venv = g_build_filename(home, "venv", NULL);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_ABSENT);
  g_assert_cmpint(g_mkdir(venv, 0777), ==, 0);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_ABSENT);
  g_assert_true(ain_env_venv_begin(venv, &error));
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_HALF);
  g_autofree char *configuration = folder_file(venv, "pyvenv.cfg", "", 0644);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_HALF);
  g_assert_true(ain_env_venv_finish(venv, &error));
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_OURS);
  g_assert_true(ain_env_venv_begin(venv, &error)); /* again: half made until finished */
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_HALF);
  g_assert_true(ain_env_venv_clear(venv, &error));
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_HALF);
  g_assert_false(g_file_test(configuration, G_FILE_TEST_EXISTS));
  g_assert_true(ain_env_venv_remove(venv, &error));
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_ABSENT);
  g_autofree char *operators = folder_file(venv, "pyvenv.cfg", "", 0644);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_OPERATOR);
  g_assert_false(ain_env_venv_remove(venv, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_true(g_file_test(operators, G_FILE_TEST_EXISTS));
  g_assert_cmpint(g_unlink(operators), ==, 0);
  g_autofree char *other = folder_file(venv, "thesis.tex", "", 0644);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_FOREIGN);
  folder_free(home);
}

static AinInterpreter *ensure(const char *home, AinEnvRequest request, GError **error) {
  request.home = home;
  return ain_env_ensure(&request, NULL, error);
}

static void expect_failure(const char *home, AinEnvRequest request, AinErrorCode code, const char *says) {
  g_autoptr(GError) error = NULL;
  g_assert_null(ensure(home, request, &error));
  g_assert_error(error, AIN_ERROR, (int)code);
  if (strstr(error->message, says) == NULL) {
    g_error("'%s' does not say '%s'", error->message, says);
  }
}

/* A home with the real bootstrap folder. */
static char *home_new(void) {
  char *home = folder_new();
  g_autofree char *link = g_build_filename(home, "venv-bootstrap", NULL);
  g_assert_cmpint(symlink(AIN_BOOTSTRAP, link), ==, 0);
  return home;
}

static void test_start_refuses_what_it_may_not_make(void) {
  char *home = home_new();
  g_autofree char *requirements = folder_file(home, "bad.txt", "!\n", 0644);
  g_autofree char *wanting = folder_file(home, "wanting.txt", "numpy\nno-machine-has-this\n", 0644);
  expect_failure(home, (AinEnvRequest){ .no_install = TRUE, .requirements = wanting }, AIN_ERROR_ENVIRONMENT,
                 "-n forbids");
  expect_failure(home, (AinEnvRequest){ .mirror = "ftp://x" }, AIN_ERROR_INVALID, "mirror 'ftp://x'");
  expect_failure(home, (AinEnvRequest){ .mirror = "--evil" }, AIN_ERROR_INVALID, "mirror '--evil'");
  expect_failure(home, (AinEnvRequest){ .requirements = requirements }, AIN_ERROR_INVALID, "line 1");
  expect_failure(home, (AinEnvRequest){ .wheelhouse = "/nonexistent/wheels" }, AIN_ERROR_ENVIRONMENT,
                 "folder or archive /nonexistent/wheels does not exist");
  g_autofree char *venv = g_build_filename(home, "venv", NULL);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_ABSENT); /* refused before anything was begun */
  g_autofree char *other = folder_file(home, "venv/thesis.tex", "", 0644);
  expect_failure(home, (AinEnvRequest){ 0 }, AIN_ERROR_ENVIRONMENT, "not a virtual environment");
  expect_failure(home, (AinEnvRequest){ .force_reinstall = TRUE }, AIN_ERROR_ENVIRONMENT, "not a virtual");
  g_assert_true(g_file_test(other, G_FILE_TEST_EXISTS));
  folder_free(home);
}

/* -i wins over the settings, is never modified, and may lack torch but not NumPy. */
static void test_named_interpreter(void) {
  char *home = home_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *with = folder_answer("/usr/bin/env", "numpy=2.0\n");
  g_autofree char *without = folder_answer("/usr/bin/env", "");
  g_autofree char *good = folder_program(home, "good", with);
  g_autofree char *poor = folder_program(home, "poor", without);
  g_autofree char *line = g_strconcat("ain_interpreter_dir=", poor, "\n", NULL);
  g_autofree char *settings = folder_file(home, "conf/ainode-env.sh", line, 0644);
  g_autoptr(AinInterpreter) named =
      ensure(home, (AinEnvRequest){ .python = good, .force_reinstall = TRUE }, &error);
  g_assert_no_error(error);
  g_assert_cmpstr(named->numpy, ==, "2.0");
  expect_failure(home, (AinEnvRequest){ 0 }, AIN_ERROR_ENVIRONMENT, "lacks numpy");
  g_autofree char *venv = g_build_filename(home, "venv", NULL);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_ABSENT);
  folder_free(home);
}

/* The newest lacks torch, an older one has all: that one is used as it is, and known at once the next time.
 */
static void test_ready_interpreter_is_preferred(void) {
  char *home = home_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *newest = folder_answer("/usr/bin/env", "version=3.13.99\nhexversion=30d63f0\nnumpy=2.0\n");
  g_autofree char *older =
      folder_answer("/usr/bin/env", "version=3.13.98\nhexversion=30d62f0\nnumpy=2.0\ntorch=2.5\n");
  g_autofree char *first = folder_program(home, "bin/python3.13", newest);
  g_autofree char *second = folder_program(home, "bin/python3.12", older);
  g_autofree char *bin = g_build_filename(home, "bin", NULL);
  g_autofree char *here = g_canonicalize_filename(bin, NULL);
  g_autofree char *before = g_strdup(g_getenv("PATH"));
  g_autofree char *path = g_strconcat(here, ":", before, NULL);
  g_autofree char *cache = g_build_filename(home, "interpreter.probe", NULL);
  const AinEnvRequest request = { .home = home, .cache_file = cache };
  g_setenv("PATH", path, TRUE);
  gboolean from_cache = TRUE;
  g_autoptr(AinInterpreter) found = ain_env_ensure(&request, &from_cache, &error);
  g_assert_no_error(error);
  g_assert_cmpstr(found->version, ==, "3.13.98");
  g_assert_false(from_cache);
  g_autoptr(AinInterpreter) again = ain_env_ensure(&request, &from_cache, &error);
  g_assert_cmpstr(again->version, ==, "3.13.98");
  g_assert_true(from_cache);
  g_autofree char *venv = g_build_filename(home, "venv", NULL);
  g_assert_cmpint(ain_env_venv_state(venv), ==, AIN_VENV_ABSENT);
  /* It loses torch: the next start looks anew, and does not take it. */
  g_autofree char *poorer = folder_program(home, "bin/python3.12", newest);
  g_autoptr(AinInterpreter) other = ain_env_ensure(
      &(AinEnvRequest){ .home = home, .cache_file = cache, .no_install = TRUE }, &from_cache, NULL);
  g_assert_true(other == NULL || strcmp(other->version, "3.13.98") != 0);
  g_setenv("PATH", before, TRUE);
  folder_free(home);
}

static void test_broken_venv_says_whose_it_is(void) {
  char *home = home_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *venv = g_build_filename(home, "venv", NULL);
  g_autofree char *configuration = folder_file(venv, "pyvenv.cfg", "", 0644);
  g_autofree char *bin = g_build_filename(venv, "bin", NULL);
  g_autofree char *python = g_build_filename(bin, "python3", NULL);
  g_assert_cmpint(g_mkdir(bin, 0777), ==, 0);
  g_assert_cmpint(symlink("/gone/python3", python), ==, 0);
  expect_failure(home, (AinEnvRequest){ 0 }, AIN_ERROR_ENVIRONMENT, "link to /gone/python3");
  g_assert_true(ain_env_venv_finish(venv, &error));
  expect_failure(home, (AinEnvRequest){ 0 }, AIN_ERROR_ENVIRONMENT, "env create -r");
  g_assert_true(g_file_test(configuration, G_FILE_TEST_EXISTS));
  folder_free(home);
}

static gpointer hold_lock(gpointer venv) {
  g_autoptr(GError) error = NULL;
  ain_fd int fd = ain_env_venv_lock(venv, &error);
  g_assert_no_error(error);
  return NULL;
}

static void test_lock_waits(void) {
  char *home = folder_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *venv = g_build_filename(home, "venv", NULL);
  ain_fd int fd = ain_env_venv_lock(venv, &error);
  g_assert_no_error(error);
  GThread *waiter = g_thread_new("waiter", hold_lock, venv);
  g_usleep(100000);
  g_autofree char *lock = g_strconcat(venv, ".lock", NULL);
  g_assert_true(g_file_test(lock, G_FILE_TEST_EXISTS));
  ain_fd_close(&fd);
  g_thread_join(waiter);
  g_autofree char *nowhere = g_build_filename(home, "absent", "venv", NULL);
  g_assert_cmpint(ain_env_venv_lock(nowhere, &error), ==, -1);
  g_assert_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  folder_free(home);
}

static int command(const char *home, const char *const *words) {
  g_auto(GStrv) owned = g_strdupv((char **)words);
  g_autofree char **argv = g_memdup2(owned, (g_strv_length(owned) + 1) * sizeof *owned);
  return ain_env_command((int)g_strv_length(owned), argv, home);
}

static void test_command_line(void) {
  char *home = home_new();
  g_assert_cmpint(command(home, (const char *const[]){ "env", "dance", NULL }), ==, AIN_EXIT_USAGE);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "show", "check", NULL }), ==, AIN_EXIT_USAGE);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "--nonsense", NULL }), ==, AIN_EXIT_USAGE);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "show", NULL }), ==, AIN_EXIT_OK);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "check", NULL }), ==, AIN_EXIT_ENVIRONMENT);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "check", "-i", "/nonexistent", NULL }), ==,
                  AIN_EXIT_ENVIRONMENT);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "create", "-i", "/bin/sh", NULL }), ==,
                  AIN_EXIT_ENVIRONMENT);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "create", "-m", "x", NULL }), ==,
                  AIN_EXIT_CONFIGURATION);
  g_assert_cmpint(command(home, (const char *const[]){ "env", "remove", NULL }), ==, AIN_EXIT_OK);
  /* --home wins: the same action elsewhere has nothing to show. */
  g_assert_cmpint(command(home, (const char *const[]){ "env", "show", "--home", "/nonexistent", NULL }), !=,
                  AIN_EXIT_USAGE);
  g_assert_cmpint(command("/nonexistent", (const char *const[]){ "env", "show", "--home", home, NULL }), ==,
                  AIN_EXIT_OK);
  folder_free(home);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/env/venv/states", test_states);
  g_test_add_func("/env/venv/refused", test_start_refuses_what_it_may_not_make);
  g_test_add_func("/env/venv/named", test_named_interpreter);
  g_test_add_func("/env/venv/broken", test_broken_venv_says_whose_it_is);
  g_test_add_func("/env/venv/lock", test_lock_waits);
  g_test_add_func("/env/venv/command", test_command_line);
  g_test_add_func("/env/venv/ready-interpreter", test_ready_interpreter_is_preferred);
  return g_test_run();
}
