/* One holder of a directory, stale files, who listens where, stopping. */
#include "app/instance.h"

#include "base/error.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder_new(void) {
  g_autoptr(GError) error = NULL;
  char *folder = g_dir_make_tmp("ain instance XXXXXX", &error);
  g_assert_no_error(error);
  return folder;
}

static void folder_free(char *folder) {
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_file_remove_tree(folder, &error));
  g_free(folder);
}

static pid_t run(const char *script) {
  char *argv[] = { "/bin/sh", "-c", (char *)script, NULL };
  pid_t pid = 0;
  g_assert_cmpint(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), ==, 0);
  return pid;
}

/* Whether its signal mask of what it ignores has SIGTERM. */
static gboolean ignores_term(pid_t pid) {
  g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
  g_autofree char *text = NULL;
  g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
  const char *line = strstr(text, "SigIgn:");
  g_assert_nonnull(line);
  return (g_ascii_strtoull(line + strlen("SigIgn:"), NULL, 16) >> (SIGTERM - 1) & 1) != 0;
}

static gboolean is_sleep(pid_t pid) {
  g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
  g_autofree char *text = NULL;
  return g_file_get_contents(path, &text, NULL, NULL) && strcmp(text, "sleep\n") == 0;
}

/* A shell takes its time to come that far. */
static void wait_for(gboolean (*reached)(pid_t), pid_t pid) {
  for (int tries = 0; tries < 2000 && !reached(pid); tries++) {
    g_usleep(10000);
  }
  g_assert_true(reached(pid));
}

static void test_second_is_refused_with_pid(void) {
  char *folder = folder_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *system_dir = g_build_filename(folder, "data", "ainode", "system", NULL);
  g_assert_cmpint(ain_instance_holder(system_dir), ==, 0);
  AinInstance *first = ain_instance_acquire(system_dir, &error);
  g_assert_no_error(error);
  g_assert_cmpint(ain_instance_holder(system_dir), ==, getpid());
  g_assert_null(ain_instance_acquire(system_dir, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_BUSY);
  g_autofree char *pid = g_strdup_printf("process %d", (int)getpid());
  g_assert_nonnull(strstr(error->message, pid));
  ain_instance_free(first);
  g_assert_cmpint(ain_instance_holder(system_dir), ==, 0);
  g_autoptr(AinInstance) again = ain_instance_acquire(system_dir, NULL);
  g_assert_nonnull(again);
  folder_free(folder);
}

static void test_stale_and_damaged_files(void) {
  static const char *const texts[] = { "1\n", "999999999999999999\n", "-5\n", "abc", "", "12345\n" };
  char *folder = folder_new();
  g_autofree char *path = g_build_filename(folder, "ainode.pid", NULL);
  for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_true(g_file_set_contents(path, texts[i], -1, &error));
    g_assert_cmpint(ain_instance_holder(folder), ==, 0); /* nobody has the lock */
    g_autoptr(AinInstance) instance = ain_instance_acquire(folder, &error);
    g_assert_no_error(error);
    g_assert_cmpint(ain_instance_holder(folder), ==, getpid());
  }
  folder_free(folder);
}

static void test_unusable_directory_is_named(void) {
  char *folder = folder_new();
  g_autofree char *file = g_build_filename(folder, "file", NULL);
  g_autoptr(GError) error = NULL;
  g_assert_true(g_file_set_contents(file, "", -1, NULL));
  g_assert_null(ain_instance_acquire(file, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, file));
  g_clear_error(&error);
  g_autofree char *link = g_build_filename(folder, "ainode.pid", NULL);
  g_assert_cmpint(symlink(file, link), ==, 0); /* a planted link is not written through */
  g_assert_null(ain_instance_acquire(folder, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  folder_free(folder);
}

static guint16 listen_at(int family, int *fd) {
  struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_any };
  struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
  socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
  *fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint(*fd, >=, 0);
  g_assert_cmpint(bind(*fd, address, size), ==, 0);
  g_assert_cmpint(listen(*fd, 1), ==, 0);
  g_assert_cmpint(getsockname(*fd, address, &size), ==, 0);
  return ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
}

static void expect_listener(const char *format, guint16 port, pid_t pid) {
  g_auto(GStrv) parts = g_strsplit(format, "PORT", 2);
  g_autofree char *endpoint = g_strdup_printf("%s%u%s", parts[0], port, parts[1]);
  g_autoptr(GError) error = NULL;
  g_assert_cmpint(ain_instance_listener(endpoint, &error), ==, pid);
  if (pid == 0) {
    g_assert_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE);
  } else {
    g_assert_no_error(error);
  }
}

static void test_listener_is_found(void) {
  ain_fd int v4 = -1;
  ain_fd int v6 = -1;
  guint16 port4 = listen_at(AF_INET, &v4);
  guint16 port6 = listen_at(AF_INET6, &v6);
  expect_listener("127.0.0.1:PORT", port4, getpid());
  expect_listener("localhost:PORT", port4, getpid());
  expect_listener(":PORT", port4, getpid());
  expect_listener("PORT", port4, getpid());
  expect_listener("127.0.0.2:PORT", port4, 0);
  expect_listener("[::1]:PORT", port6, getpid());
  expect_listener("127.0.0.1:PORT", port6, getpid()); /* any address is ours too */
  ain_fd_close(&v4);
  expect_listener("127.0.0.1:PORT", port4, 0);
  static const char *const nonsense[] = {
    "", ":", "x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "[]:1", "no such host.invalid:1"
  };
  for (gsize i = 0; i < G_N_ELEMENTS(nonsense); i++) {
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(ain_instance_listener(nonsense[i], &error), ==, 0);
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  }
}

static void test_stop(void) {
  g_autoptr(GError) error = NULL;
  pid_t willing = run("exec sleep 60");
  g_assert_true(ain_instance_stop(willing, 5000000, &error)); /* gone, though not yet reaped */
  g_assert_no_error(error);
  int status = 0;
  g_assert_cmpint(waitpid(willing, &status, 0), ==, willing);
  g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  g_assert_true(ain_instance_stop(willing, 0, &error)); /* nothing there any more */
  pid_t stubborn = run("trap '' TERM; while :; do sleep 0.05; done");
  wait_for(ignores_term, stubborn);
  g_assert_false(ain_instance_stop(stubborn, 200000, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_TIMEOUT);
  g_assert_nonnull(strstr(error->message, "kill -9"));
  kill(stubborn, SIGKILL);
  g_assert_cmpint(waitpid(stubborn, &status, 0), ==, stubborn);
}

static void test_name_of_process(void) {
  pid_t named = run(": AINode; while :; do sleep 0.1; done");
  pid_t other = run("exec sleep 60");
  wait_for(ain_instance_is_ainode, named);
  wait_for(is_sleep, other);
  g_assert_false(ain_instance_is_ainode(other));
  kill(named, SIGKILL);
  kill(other, SIGKILL);
  (void)waitpid(named, NULL, 0);
  (void)waitpid(other, NULL, 0);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/app/instance/second", test_second_is_refused_with_pid);
  g_test_add_func("/app/instance/stale", test_stale_and_damaged_files);
  g_test_add_func("/app/instance/unusable", test_unusable_directory_is_named);
  g_test_add_func("/app/instance/listener", test_listener_is_found);
  g_test_add_func("/app/instance/stop", test_stop);
  g_test_add_func("/app/instance/name", test_name_of_process);
  return g_test_run();
}
