/* Double fork with a pipe that carries the outcome: one byte of exit code, then a sentence. */
#include "app/daemon.h"

#include "base/exit.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SENTENCE_MAX 4096u

struct AinDaemon {
  int pipe;
};

static void redirect(int target, int flags) {
  int null = open("/dev/null", flags | O_CLOEXEC);
  if (null >= 0) {
    (void)dup2(null, target);
    if (null != target) {
      close(null);
    }
  }
}

void ain_daemon_open_standard_fds(void) {
  for (int fd = 0; fd < 3; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
      (void)open("/dev/null", O_RDWR); /* the lowest free number is this one */
    }
  }
}

void ain_daemon_lead_group(void) {
  /* In a terminal's foreground group a group of our own would not get the terminal's Ctrl-C. */
  if (getpgrp() != getpid() && tcgetpgrp(STDIN_FILENO) != getpgrp()) {
    (void)setpgid(0, 0);
  }
}

/* A grandchild that is no session leader, so that no terminal is ever acquired. It says its number first: the
 * parent passes signals on to it. Only the grandchild returns. */
static void become_daemon(int out) {
  (void)setsid();
  pid_t pid = fork();
  if (pid != 0) {
    _exit(pid < 0 ? AIN_EXIT_FAILURE : AIN_EXIT_OK);
  }
  (void)setpgid(0, 0);
  redirect(STDIN_FILENO, O_RDONLY);
  pid = getpid();
  (void)!write(out, &pid, sizeof pid);
}

/* Collects what the child says until it closes the pipe; a signal to us goes on to it. */
static void listen_to_child(int in, int signals, GString *said) {
  struct pollfd polled[2] = { { .fd = in, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
  for (;;) {
    if (poll(polled, 2, -1) < 0 && errno != EINTR) {
      return;
    }
    if ((polled[1].revents & POLLIN) != 0) {
      struct signalfd_siginfo info;
      pid_t pid = 0;
      if (read(signals, &info, sizeof info) == (ssize_t)sizeof info && said->len >= sizeof pid) {
        memcpy(&pid, said->str, sizeof pid);
        (void)kill(pid, SIGTERM);
      }
    }
    if ((polled[0].revents & (POLLIN | POLLHUP)) != 0) {
      char buffer[1024];
      ssize_t count = read(in, buffer, sizeof buffer);
      if (count == 0 || (count < 0 && errno != EINTR) || said->len > SENTENCE_MAX + 64) {
        return;
      }
      g_string_append_len(said, buffer, MAX(count, 0));
    }
  }
}

static int report(const GString *said, char **sentence) {
  const gsize head = sizeof(pid_t);
  gboolean told = said->len > head;
  int exit_code = told ? (guint8)said->str[head] : AIN_EXIT_FAILURE;
  *sentence =
      g_strdup(told ? said->str + head + 1
                    : "AINode ended before it was ready; its messages are above and in the logs directory.");
  if (exit_code == AIN_EXIT_OK) {
    g_print("%s\n", *sentence);
  } else {
    g_printerr("%s\n", *sentence);
  }
  return exit_code;
}

static int wait_for_outcome(pid_t middle, int in, const sigset_t *passed_on, char **sentence) {
  ain_fd int signals = signalfd(-1, passed_on, SFD_CLOEXEC);
  g_autoptr(GString) said = g_string_new(NULL);
  listen_to_child(in, signals, said);
  while (waitpid(middle, NULL, 0) < 0 && errno == EINTR) {
  }
  return report(said, sentence);
}

int ain_daemon_enter(AinDaemon **child, char **sentence) {
  sigset_t passed_on;
  sigset_t before;
  sigemptyset(&passed_on);
  sigaddset(&passed_on, SIGINT);
  sigaddset(&passed_on, SIGTERM);
  sigaddset(&passed_on, SIGHUP);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    *sentence = g_strdup_printf("cannot go to the background: %s", g_strerror(errno));
    g_printerr("%s\n", *sentence);
    return AIN_EXIT_FAILURE;
  }
  ain_fd int in = ends[0];
  ain_fd int out = ends[1];
  (void)pthread_sigmask(SIG_BLOCK, &passed_on, &before);
  pid_t pid = fork();
  if (pid == 0) {
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    ain_fd_close(&in);
    become_daemon(out);
    *child = g_new(AinDaemon, 1);
    (*child)->pipe = ain_fd_steal(&out);
    return -1;
  }
  ain_fd_close(&out);
  int exit_code = AIN_EXIT_FAILURE;
  if (pid > 0) {
    exit_code = wait_for_outcome(pid, in, &passed_on, sentence);
  } else {
    *sentence = g_strdup_printf("cannot go to the background: %s", g_strerror(errno));
    g_printerr("%s\n", *sentence);
  }
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return exit_code;
}

void ain_daemon_tell(AinDaemon *daemon, int exit_code, const char *sentence) {
  if (daemon->pipe < 0) {
    return;
  }
  g_autoptr(GString) text = g_string_new(NULL);
  g_string_append_c(text, (char)exit_code);
  g_string_append_len(text, sentence, (gssize)MIN(strlen(sentence), SENTENCE_MAX));
  /* One write of less than a pipe holds; if the parent has gone, nobody wants to know. */
  (void)!write(daemon->pipe, text->str, text->len);
  redirect(STDOUT_FILENO, O_WRONLY);
  redirect(STDERR_FILENO, O_WRONLY);
  ain_fd_close(&daemon->pipe);
}

void ain_daemon_free(AinDaemon *daemon) {
  if (daemon != NULL) {
    ain_fd_close(&daemon->pipe);
    g_free(daemon);
  }
}
