/* Readiness messages arrive at path and abstract sockets; a wrong socket is a warning, none is silence. */
#include "base/fd.h"
#include "observe/observe.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* name: as NOTIFY_SOCKET has it. */
static int listen_at(const char *name) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  gsize length = strlen(name);
  g_assert_cmpuint(length, <, sizeof address.sun_path);
  memcpy(address.sun_path, name, length);
  socklen_t size = (socklen_t)sizeof address;
  if (name[0] == '@') {
    address.sun_path[0] = '\0';
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  g_assert_cmpint(fd, >=, 0);
  g_assert_cmpint(bind(fd, (const struct sockaddr *)&address, size), ==, 0);
  return fd;
}

static void assert_received(int fd, const char *expected) {
  char buffer[256] = "";
  ssize_t count = recv(fd, buffer, sizeof buffer - 1, 0);
  g_assert_cmpint(count, ==, (gssize)strlen(expected));
  g_assert_cmpstr(buffer, ==, expected);
}

static void check_socket(const char *name) {
  ain_fd int fd = listen_at(name);
  g_setenv("NOTIFY_SOCKET", name, TRUE);
  ain_observe_notify("READY=1");
  ain_observe_notify("STOPPING=1\nSTATUS=draining");
  g_unsetenv("NOTIFY_SOCKET");
  assert_received(fd, "READY=1");
  assert_received(fd, "STOPPING=1\nSTATUS=draining");
  ain_observe_notify("READY=1"); /* no variable: nothing goes out */
  char byte;
  g_assert_cmpint(recv(fd, &byte, 1, 0), ==, -1);
}

static void test_path(void) {
  g_autofree char *folder = g_dir_make_tmp("ain-notify-XXXXXX", NULL);
  g_assert_nonnull(folder);
  g_autofree char *name = g_build_filename(folder, "socket", NULL);
  check_socket(name);
  g_assert_true(ain_file_remove_tree(folder, NULL));
}

static void test_abstract(void) {
  g_autofree char *name = g_strdup_printf("@ainode-notify-test-%ld", (long)getpid());
  check_socket(name);
}

static void test_wrong(void) {
  g_autofree char *long_name = g_strnfill(200, '/');
  const char *const names[] = { "relative", "@", "/", "vsock:2:1234", long_name };
  for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
    g_setenv("NOTIFY_SOCKET", names[i], TRUE);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "NOTIFY_SOCKET=*neither an absolute path*");
    ain_observe_notify("READY=1");
    g_test_assert_expected_messages();
  }
  g_setenv("NOTIFY_SOCKET", "/nonexistent/socket", TRUE);
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                        "cannot tell the service manager at /nonexistent/socket: No such file*");
  ain_observe_notify("READY=1");
  g_test_assert_expected_messages();
  g_unsetenv("NOTIFY_SOCKET");
}

static void end_loop(gpointer data) {
  ain_loop_quit(data);
}

static void test_watchdog(void) {
  g_autofree char *name = g_strdup_printf("@ainode-watchdog-test-%ld", (long)getpid());
  g_autofree char *pid = g_strdup_printf("%ld", (long)getpid());
  ain_fd int fd = listen_at(name);
  AinLoop *loop = ain_loop_new(1, NULL);
  g_assert_null(ain_observe_watchdog_new(loop));
  g_setenv("NOTIFY_SOCKET", name, TRUE);
  g_setenv("WATCHDOG_USEC", "100000", TRUE);
  g_setenv("WATCHDOG_PID", "1", TRUE); /* somebody else's */
  g_assert_null(ain_observe_watchdog_new(loop));
  g_setenv("WATCHDOG_USEC", "soon", TRUE);
  g_setenv("WATCHDOG_PID", pid, TRUE);
  g_assert_null(ain_observe_watchdog_new(loop));
  g_setenv("WATCHDOG_USEC", "100000", TRUE);
  AinWatchdog *watchdog = ain_observe_watchdog_new(loop);
  ain_loop_timer(loop, ain_loop_now() + 120 * 1000, end_loop, loop);
  ain_loop_run(loop);
  ain_observe_watchdog_free(watchdog);
  ain_observe_watchdog_free(NULL);
  assert_received(fd, "WATCHDOG=1"); /* at once */
  assert_received(fd, "WATCHDOG=1"); /* and after half of the interval */
  g_unsetenv("NOTIFY_SOCKET");
  g_unsetenv("WATCHDOG_USEC");
  g_unsetenv("WATCHDOG_PID");
  ain_loop_free(loop);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_unsetenv("NOTIFY_SOCKET");
  g_test_add_func("/notify/path", test_path);
  g_test_add_func("/notify/abstract", test_abstract);
  g_test_add_func("/notify/wrong", test_wrong);
  g_test_add_func("/notify/watchdog", test_watchdog);
  return g_test_run();
}
