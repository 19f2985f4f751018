/* Word to the service manager, as sd_notify(3) sends it. */
#include "base/fd.h"
#include "observe/observe.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

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
