/* The pid file and its lock, and stopping what holds it. */
#include "app/instance.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PID_FILE "ainode.pid"
#define COMMAND_LINE_MAX 4096u
/* Somebody who only asks for the holder has the lock for a moment, and a new holder writes its pid a moment
 * after it has the lock. */
#define TRIES 20
#define TRY_PAUSE_US 10000u

struct AinInstance {
  int fd;
};

static pid_t read_pid(int fd) {
  char text[32];
  ssize_t count = pread(fd, text, sizeof text - 1, 0);
  text[count > 0 ? count : 0] = '\0';
  gint64 pid = g_ascii_strtoll(text, NULL, 10);
  return pid > 1 && pid <= G_MAXINT ? (pid_t)pid : 0;
}

static gboolean is_held(int fd) {
  if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
    return TRUE;
  }
  (void)flock(fd, LOCK_UN);
  return FALSE;
}

static gboolean write_pid(int fd, const char *path, GError **error) {
  g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
  gsize size = strlen(text);
  if (ftruncate(fd, 0) == 0 && pwrite(fd, text, size, 0) == (ssize_t)size) {
    return TRUE;
  }
  ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot write %s", path);
  return FALSE;
}

AinInstance *ain_instance_acquire(const char *system_dir, GError **error) {
  if (!ain_file_make_directory(system_dir, error)) {
    return NULL;
  }
  g_autofree char *path = g_build_filename(system_dir, PID_FILE, NULL);
  ain_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot write %s", path);
    return NULL;
  }
  int tries = 0;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot lock %s", path);
      return NULL;
    }
    if (++tries == TRIES) {
      g_set_error(
          error, AIN_ERROR, AIN_ERROR_BUSY,
          "an AINode runs on %s already, as process %d; stop it with sbin/stop-ainode.sh, or give this "
          "one another ain_system_dir",
          system_dir, (int)read_pid(fd));
      return NULL;
    }
    g_usleep(TRY_PAUSE_US);
  }
  if (!write_pid(fd, path, error)) {
    return NULL;
  }
  AinInstance *instance = g_new(AinInstance, 1);
  instance->fd = ain_fd_steal(&fd);
  return instance;
}

void ain_instance_free(AinInstance *instance) {
  if (instance == NULL) {
    return;
  }
  if (ftruncate(instance->fd, 0) != 0) {
    g_debug("the pid file is not emptied: %s", g_strerror(errno));
  }
  ain_fd_close(&instance->fd);
  g_free(instance);
}

pid_t ain_instance_holder(const char *system_dir) {
  g_autofree char *path = g_build_filename(system_dir, PID_FILE, NULL);
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  for (int tries = 0; fd >= 0 && tries < TRIES && is_held(fd); tries++) {
    pid_t pid = read_pid(fd);
    if (pid != 0) {
      return pid;
    }
    g_usleep(TRY_PAUSE_US);
  }
  return 0;
}

gboolean ain_instance_is_ainode(pid_t pid) {
  char line[COMMAND_LINE_MAX];
  g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
  line[count > 0 ? count : 0] = '\0';
  for (ssize_t i = 0; i < count; i++) {
    line[i] = (char)(line[i] == '\0' ? ' ' : line[i]); /* between the arguments */
  }
  g_autofree char *lower = g_ascii_strdown(line, -1);
  return strstr(lower, "ainode") != NULL;
}

/* A pidfd names this very process: a number that was given to another one since cannot be hit. */
gboolean ain_instance_stop(pid_t pid, gint64 wait_us, GError **error) {
  ain_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0 && errno == ESRCH) {
    return TRUE;
  }
  if (pidfd < 0 || syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) != 0) {
    if (errno == ESRCH) {
      return TRUE;
    }
    gboolean denied = errno == EPERM;
    ain_error_set_errno(error, denied ? AIN_ERROR_INVALID : AIN_ERROR_INTERNAL, errno,
                        denied ? "process %d belongs to another user: stop it as that user, or with sudo"
                               : "cannot signal process %d",
                        (int)pid);
    return FALSE;
  }
  gint64 deadline = ain_loop_now() + wait_us;
  struct pollfd polled = { .fd = pidfd, .events = POLLIN };
  for (;;) {
    gint64 left_us = deadline - ain_loop_now();
    int count = left_us <= 0 ? 0 : poll(&polled, 1, (int)MIN(left_us / 1000 + 1, G_MAXINT));
    if (count > 0) {
      return TRUE;
    }
    if (left_us <= 0) {
      g_set_error(
          error, AIN_ERROR, AIN_ERROR_TIMEOUT,
          "process %d was asked to stop and is still there after %.0f s; to end it without waiting for "
          "its requests: kill -9 %d",
          (int)pid, (double)wait_us / G_USEC_PER_SEC, (int)pid);
      return FALSE;
    }
    if (count < 0 && errno != EINTR) {
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot wait for process %d", (int)pid);
      return FALSE;
    }
  }
}
