/* Bounded and visible child processes: posix_spawn, a pidfd for the end, the process group for the kill. */
#include "env/spawn.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT_ERRORS 2000u
#define POLL_WITHOUT_PIDFD_MS 20
#define POLL_CANCELLED_MS 100
#define HELD_FD 3
#define PIPE_CAPACITY 65536u

void ain_env_capture_clear(AinEnvCapture *capture) {
  if (capture->output != NULL) {
    g_string_free(g_steal_pointer(&capture->output), TRUE);
  }
  if (capture->errors != NULL) {
    g_string_free(g_steal_pointer(&capture->errors), TRUE);
  }
}

char **ain_env_spawn_environment(void) {
  char **environment = g_get_environ();
  environment = g_environ_unsetenv(environment, "PYTHONHOME");
  environment = g_environ_unsetenv(environment, "PYTHONINSPECT");
  environment = g_environ_unsetenv(environment, "PYTHONSTARTUP");
  return g_environ_setenv(environment, "PYTHONDONTWRITEBYTECODE", "1", TRUE);
}

/* Starts argv with descriptors 0, 1, 2 as given (-1: ours), default signals and, on request, a group of its
 * own. Returns the pid, or -1 with errno set. */
static pid_t spawn(char **argv, char **environment, const int fds[3], int held_fd, gboolean own_group) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  for (int fd = 0; fd < 3; fd++) {
    if (fds[fd] >= 0) {
      posix_spawn_file_actions_adddup2(&actions, fds[fd], fd);
    }
  }
  if (held_fd >= 0) {
    posix_spawn_file_actions_adddup2(&actions, held_fd, HELD_FD);
  }
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  if (own_group) {
    flags |= POSIX_SPAWN_SETPGROUP;
    posix_spawnattr_setpgroup(&attributes, 0);
  }
  posix_spawnattr_setflags(&attributes, flags);
  pid_t pid = -1;
  int failure = posix_spawn(&pid, argv[0], &actions, &attributes, argv, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  errno = failure;
  return failure == 0 ? pid : -1;
}

/* Moves what the pipe holds, at most about its capacity, to text. FALSE at the end of file. */
static gboolean drain(int fd, GString *text) {
  char buffer[4096];
  for (gsize moved = 0; moved < PIPE_CAPACITY;) {
    ssize_t count = read(fd, buffer, sizeof buffer);
    if (count > 0) {
      g_string_append_len(text, buffer, count);
      moved += (gsize)count;
    } else if (count == 0 || errno != EINTR) {
      return count < 0 && errno == EAGAIN;
    }
  }
  return TRUE;
}

static gboolean has_ended(pid_t pid) {
  siginfo_t info = { 0 };
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

static int wait_status(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

static void trim_errors(GString *errors) {
  if (errors->len > KEPT_ERRORS) {
    g_string_erase(errors, 0, (gssize)(errors->len - KEPT_ERRORS));
  }
}

typedef struct {
  gint64 deadline;
  gsize max_output;
  const atomic_bool *cancelled; /* or NULL */
} Limits;

/* Reads both pipes until the child has ended or a limit is reached. */
static void collect(pid_t pid, int out, int err, const Limits *limits, AinEnvCapture *capture) {
  ain_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  struct pollfd polled[3] = { { .fd = out, .events = POLLIN },
                              { .fd = err, .events = POLLIN },
                              { .fd = pidfd, .events = POLLIN } };
  gboolean ended = FALSE;
  while (!ended) {
    gint64 left_ms = (limits->deadline - ain_loop_now()) / 1000;
    capture->timed_out = left_ms <= 0;
    capture->cancelled = limits->cancelled != NULL && atomic_load(limits->cancelled);
    if (capture->timed_out || capture->cancelled) {
      return;
    }
    left_ms = limits->cancelled != NULL ? MIN(left_ms, POLL_CANCELLED_MS) : left_ms;
    int wait_ms = (int)MIN(left_ms, pidfd < 0 ? POLL_WITHOUT_PIDFD_MS : left_ms);
    if (poll(polled, G_N_ELEMENTS(polled), wait_ms) < 0 && errno != EINTR) {
      return;
    }
    ended = has_ended(pid); /* asked before reading: what it wrote last is in the pipes by then */
    for (int i = 0; i < 2; i++) {
      if (polled[i].fd >= 0 && !drain(polled[i].fd, i == 0 ? capture->output : capture->errors)) {
        polled[i].fd = -1; /* poll() would report the end of file for ever */
      }
    }
    trim_errors(capture->errors);
    if (capture->output->len > limits->max_output) {
      capture->overflowed = TRUE;
      return;
    }
  }
}

gboolean ain_env_spawn_capture(char **argv, char **environment, gint64 limit_us, gsize max_output,
                               AinEnvCapture *capture, GError **error) {
  return ain_env_spawn_cancellable(argv, environment, limit_us, max_output, NULL, capture, error);
}

gboolean ain_env_spawn_cancellable(char **argv, char **environment, gint64 limit_us, gsize max_output,
                                   const atomic_bool *cancelled, AinEnvCapture *capture, GError **error) {
  const Limits limits = { ain_loop_now() + limit_us, max_output, cancelled };
  *capture = (AinEnvCapture){ .output = g_string_new(NULL), .errors = g_string_new(NULL) };
  int out[2] = { -1, -1 };
  int err[2] = { -1, -1 };
  ain_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  gboolean piped = null >= 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0;
  ain_fd int out_read = out[0];
  ain_fd int out_write = out[1];
  ain_fd int err_read = err[0];
  ain_fd int err_write = err[1];
  if (!piped) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot make pipes to run %s", argv[0]);
    return FALSE;
  }
  /* Only our ends: the child may expect blocking pipes. */
  (void)fcntl(out_read, F_SETFL, O_NONBLOCK);
  (void)fcntl(err_read, F_SETFL, O_NONBLOCK);
  const int fds[3] = { null, out_write, err_write };
  pid_t pid = spawn(argv, environment, fds, -1, TRUE);
  if (pid < 0) {
    ain_error_set_errno(error, AIN_ERROR_ENVIRONMENT, errno, "cannot run %s", argv[0]);
    return FALSE;
  }
  ain_fd_close(&out_write);
  ain_fd_close(&err_write);
  collect(pid, out_read, err_read, &limits, capture);
  (void)kill(-pid, SIGKILL); /* before it is reaped: the group's number is still its own */
  capture->status = wait_status(pid);
  return TRUE;
}

int ain_env_spawn_visible(char **argv, char **environment, int held_fd, GError **error) {
  const int fds[3] = { -1, -1, -1 };
  pid_t pid = spawn(argv, environment, fds, held_fd, FALSE);
  if (pid < 0) {
    ain_error_set_errno(error, AIN_ERROR_ENVIRONMENT, errno, "cannot run %s", argv[0]);
    return -1;
  }
  return wait_status(pid);
}
