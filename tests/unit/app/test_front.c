/* The ainode program with stand-ins behind it: options, exit codes, the background. */
#include "base/exit.h"
#include "base/fd.h"

#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
  char *home;
  char *out;
  char *err;
  int code;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
  (void)data;
  g_autoptr(GError) error = NULL;
  f->home = g_dir_make_tmp("ain front XXXXXX", &error);
  g_assert_no_error(error);
}

static void clear_output(Fixture *f) {
  g_clear_pointer(&f->out, g_free);
  g_clear_pointer(&f->err, g_free);
}

static void tear_down(Fixture *f, gconstpointer data) {
  (void)data;
  clear_output(f);
  g_assert_true(ain_file_remove_tree(f->home, NULL));
  g_free(f->home);
}

/* ainode --home HOME words... */
static void ainode(Fixture *f, const char *words) {
  g_autoptr(GError) error = NULL;
  g_auto(GStrv) given = g_strsplit(words, " ", -1);
  g_autoptr(GPtrArray) argv = g_ptr_array_new();
  g_ptr_array_add(argv, (gpointer)AIN_FRONT);
  g_ptr_array_add(argv, (gpointer) "--home");
  g_ptr_array_add(argv, f->home);
  for (char **word = given; *word != NULL; word++) {
    if (**word != '\0') {
      g_ptr_array_add(argv, *word);
    }
  }
  g_ptr_array_add(argv, NULL);
  int status = 0;
  clear_output(f);
  g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, &f->out, &f->err, &status,
               &error);
  g_assert_no_error(error);
  g_assert_true(WIFEXITED(status));
  f->code = WEXITSTATUS(status);
}

static void expect(Fixture *f, const char *words, AinExit code, const char *says) {
  ainode(f, words);
  g_autofree char *all = g_strconcat(f->out, f->err, NULL);
  if (f->code != (int)code || strstr(all, says) == NULL) {
    g_error("ainode %s: exit code %d, wanted %d and '%s' in: %s", words, f->code, (int)code, says, all);
  }
}

static void test_words(Fixture *f, gconstpointer data) {
  (void)data;
  expect(f, "", AIN_EXIT_USAGE, "a command is missing");
  expect(f, "dance", AIN_EXIT_USAGE, "'dance' is not a command");
  expect(f, "--nonsense", AIN_EXIT_USAGE, "--nonsense");
  expect(f, "--version", AIN_EXIT_OK, "AINode ");
  expect(f, "--help", AIN_EXIT_OK, "5 already running");
  expect(f, "start --help", AIN_EXIT_OK, "ainode start");
  expect(f, "start extra", AIN_EXIT_USAGE, "'extra' is not understood");
  expect(f, "start -i", AIN_EXIT_USAGE, "see --help");
  expect(f, "config", AIN_EXIT_OK, "system_dir=");
  expect(f, "config --template", AIN_EXIT_OK, "# template");
  expect(f, "-c bad.properties config", AIN_EXIT_CONFIGURATION, "line 1");
  expect(f, "config -c bad.properties", AIN_EXIT_CONFIGURATION, "line 1");
  expect(f, "query x", AIN_EXIT_OK, "sql=x");
  expect(f, "env dance", AIN_EXIT_USAGE, "not an action");
  expect(f, "env show", AIN_EXIT_CONFIGURATION, "core.txt"); /* no bootstrap folder in this home */
}

static void test_start_in_front(Fixture *f, gconstpointer data) {
  (void)data;
  expect(f, "start -i /my/python -r -n -m https://x -v -t ignored", AIN_EXIT_OK,
         "python=/my/python mirror=https://x flags=111");
  expect(f, "-D outcome=rejected start", AIN_EXIT_REJECTED, "another name");
  expect(f, "start -D outcome=fail", AIN_EXIT_FAILURE, "no ConfigNode answers");
}

static void test_background(Fixture *f, gconstpointer data) {
  (void)data;
  expect(f, "stop", AIN_EXIT_FAILURE, "No AINode to stop");
  expect(f, "start -d -D outcome=ready", AIN_EXIT_OK, "AINode runs as process");
  int pid = (int)g_ascii_strtoll(strstr(f->out, "process ") + strlen("process "), NULL, 10);
  g_assert_cmpint(kill(pid, 0), ==, 0);
  g_assert_cmpint(getpgid(pid), ==, pid);
  g_assert_cmpint(getsid(pid), !=, getsid(0));
  g_autofree char *running = g_strdup_printf("as process %d", pid);
  expect(f, "start", AIN_EXIT_RUNNING, running);
  expect(f, "start -d", AIN_EXIT_RUNNING, running);
  expect(f, "stop", AIN_EXIT_OK, "has stopped");
  expect(f, "stop", AIN_EXIT_FAILURE, "No AINode to stop");
}

static void test_background_failures(Fixture *f, gconstpointer data) {
  (void)data;
  expect(f, "start -d -D outcome=fail", AIN_EXIT_FAILURE, "no ConfigNode answers");
  expect(f, "start -d -D outcome=rejected", AIN_EXIT_REJECTED, "another name");
  expect(f, "start -d -D outcome=crash", AIN_EXIT_FAILURE, "ended before it was ready");
  expect(f, "start -d", AIN_EXIT_FAILURE, "ended before it was ready"); /* an end without a word */
}

/* A signal to the one who waits goes on to the one who starts. */
static void test_background_interrupted(Fixture *f, gconstpointer data) {
  (void)data;
  char *argv[] = { AIN_FRONT, "--home", f->home, "start", "-d", "-D", "outcome=hang", NULL };
  g_autoptr(GError) error = NULL;
  GPid waiting = 0;
  g_spawn_async(NULL, argv, NULL,
                G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                NULL, &waiting, &error);
  g_assert_no_error(error);
  g_autofree char *pid_file = g_build_filename(f->home, "data", "ainode.pid", NULL);
  for (int tries = 0; tries < 500 && !g_file_test(pid_file, G_FILE_TEST_EXISTS); tries++) {
    g_usleep(10000);
  }
  g_usleep(100000);
  g_assert_cmpint(kill(waiting, SIGINT), ==, 0);
  int status = 0;
  g_assert_cmpint(waitpid(waiting, &status, 0), ==, waiting);
  g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == AIN_EXIT_FAILURE);
  expect(f, "stop", AIN_EXIT_FAILURE, "No AINode to stop");
}

static void test_stop_at_an_address(Fixture *f, gconstpointer data) {
  (void)data;
  expect(f, "stop -t nonsense", AIN_EXIT_FAILURE, "ADDRESS:PORT is expected");
  expect(f, "stop -t 127.0.0.1:1", AIN_EXIT_FAILURE, "nothing listens");
}

static void test_remove(Fixture *f, gconstpointer data) {
  (void)data;
  g_autofree char *folder = g_build_filename(f->home, "data", NULL);
  g_autofree char *identity = g_build_filename(folder, "system.properties", NULL);
  g_assert_cmpint(g_mkdir_with_parents(folder, 0777), ==, 0);
  g_assert_true(g_file_set_contents(identity, "#date\nainode_id=3\ncluster_name=x\n", -1, NULL));
  expect(f, "remove 9", AIN_EXIT_REJECTED, "no node 9");
  expect(f, "remove -t 10.0.0.1:10810", AIN_EXIT_CONFIGURATION, "NodeID that SHOW CLUSTER prints");
  expect(f, "remove -t 7", AIN_EXIT_OK, "Node 7 is removed");
  g_assert_true(g_file_test(identity, G_FILE_TEST_EXISTS)); /* that was another node */
  expect(f, "remove -t 127.0.0.1:10810 -i /ignored", AIN_EXIT_OK, "its models stay");
  g_assert_false(g_file_test(identity, G_FILE_TEST_EXISTS));
  g_assert_true(g_file_set_contents(identity, "ainode_id=7\n", -1, NULL));
  expect(f, "start -d -D outcome=ready", AIN_EXIT_OK, "runs as process");
  expect(f, "remove 7", AIN_EXIT_OK, "has stopped");
  g_assert_false(g_file_test(identity, G_FILE_TEST_EXISTS));
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/app/front/" name, Fixture, NULL, set_up, func, tear_down)
  ADD("words", test_words);
  ADD("start", test_start_in_front);
  ADD("background", test_background);
  ADD("background-fails", test_background_failures);
  ADD("background-interrupted", test_background_interrupted);
  ADD("stop-at", test_stop_at_an_address);
  ADD("remove", test_remove);
  return g_test_run();
}
