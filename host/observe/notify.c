/* Word to the service manager, as sd_notify(3) sends it. */
#include "base/fd.h"
#include "observe/observe.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* FALSE when the text names no socket of the two kinds there are. */
static gboolean make_address(const char *name, struct sockaddr_un *address, socklen_t *size) {
  gsize length = strlen(name);
  if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof address->sun_path) {
    return FALSE;
  }
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  memcpy(address->sun_path, name, length);
  if (name[0] == '@') {
    address->sun_path[0] = '\0'; /* abstract: not terminated, the size tells the end */
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
  } else {
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
  }
  return TRUE;
}

void ain_observe_notify(const char *state) {
  const char *name = g_getenv("NOTIFY_SOCKET");
  if (name == NULL || *name == '\0') {
    return;
  }
  struct sockaddr_un address;
  socklen_t size;
  if (!make_address(name, &address, &size)) {
    g_warning("NOTIFY_SOCKET=%s is neither an absolute path nor an abstract name; the service manager is not "
              "told",
              name);
    return;
  }
  ain_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct timeval limit = { .tv_sec = 1 }; /* a manager that does not read must not stop the loop */
  gsize length = strlen(state);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0
      || sendto(fd, state, length, MSG_NOSIGNAL, (const struct sockaddr *)&address, size)
             != (ssize_t)length) {
    g_warning("cannot tell the service manager at %s: %s", name, g_strerror(errno));
  }
}

/* --- the watchdog --- */

struct AinWatchdog {
  AinLoop *loop;
  AinLoopTimer *timer;
  gint64 period;
};

static void pat(gpointer data) {
  AinWatchdog *watchdog = data;
  ain_observe_notify("WATCHDOG=1");
  watchdog->timer = ain_loop_timer(watchdog->loop, ain_loop_now() + watchdog->period, pat, watchdog);
}

static guint64 number_in(const char *variable) {
  const char *text = g_getenv(variable);
  guint64 number = 0;
  return text != NULL && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, &number, NULL) ? number : 0;
}

AinWatchdog *ain_observe_watchdog_new(AinLoop *loop) {
  guint64 interval = number_in("WATCHDOG_USEC");
  guint64 pid = number_in("WATCHDOG_PID");
  if (interval < 2 || (pid != 0 && pid != (guint64)getpid())) { /* none, or somebody else's */
    return NULL;
  }
  AinWatchdog *watchdog = g_new0(AinWatchdog, 1);
  watchdog->loop = loop;
  watchdog->period = (gint64)(interval / 2);
  pat(watchdog);
  return watchdog;
}

void ain_observe_watchdog_free(AinWatchdog *watchdog) {
  if (watchdog != NULL) {
    ain_loop_timer_stop(watchdog->timer);
    g_free(watchdog);
  }
}
