/* The process that imports PyTorch once and forks a worker in milliseconds; what it costs when it dies. */
#include "runtime/internal.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_FIRST_US (G_USEC_PER_SEC / 2)
#define RESTART_MAX_US (G_GINT64_CONSTANT(30) * G_USEC_PER_SEC)
/* A prototype that was ready for so long was healthy. */
#define HEALTHY_US (G_GINT64_CONSTANT(3) * G_USEC_PER_SEC)
/* A fork takes milliseconds: a prototype that does not answer for so long is stopped or hangs. */
#define FORK_OVERDUE_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)
/* Importing torch takes a second, and a minute on a slow disk that is busy. */
#define START_OVERDUE_US (G_GINT64_CONSTANT(300) * G_USEC_PER_SEC)
/* So many failures in a row make the state FAILED; it is still tried again. */
#define FAILURES_TO_FAIL 3

#define MAX_CUDA 64

typedef struct {
  guint64 request;   /* 0 once it is born */
  pid_t pid;         /* 0 before */
  AinWorker *worker; /* NULL once forgotten */
} Child;

struct AinPrototype {
  AinRuntime *runtime;
  pid_t pid; /* 0 when none runs */
  int pidfd;
  int control;
  AinLoopFd *pid_watch;
  AinLoopFd *control_watch;
  AinLoopTimer *restart;
  AinLoopTimer *idle;  /* armed while it has no children */
  gboolean ended_idle; /* it was ended for idleness: the next fork starts another */
  AinProcessOutput *output;
  GArray *children; /* Child */
  gboolean ready;
  guint n_cuda;          /* CUDA devices that its PyTorch can use */
  AinLoopTimer *late;    /* armed until it is ready */
  AinLoopTimer *overdue; /* armed while it is ready and was asked for a worker */
  gint64 begun;
  gint64 ready_since; /* 0 when it is not */
  gboolean worked;    /* a process that it forked has loaded a model */
  guint failures;
  char *reason;      /* why the last one ended, or NULL */
  char *environment; /* that it has imported, as runtime.h has it; NULL when that is not known */
  gboolean retired;
  gboolean hangs;      /* retired for that: it will not tell how its workers end */
  AinLoopTimer *going; /* it is retired and has no children: about to be freed */
};

AinPrototype *ain_prototype_new(AinRuntime *runtime) {
  AinPrototype *prototype = g_new0(AinPrototype, 1);
  prototype->runtime = runtime;
  prototype->pidfd = -1;
  prototype->control = -1;
  prototype->children = g_array_new(FALSE, TRUE, sizeof(Child));
  return prototype;
}

AinRuntimeState ain_prototype_state(const AinPrototype *prototype, const char **reason) {
  if (prototype->ready || prototype->ended_idle) {
    return AIN_RUNTIME_READY;
  }
  *reason = prototype->reason != NULL ? prototype->reason : "runtime starting";
  return prototype->failures >= FAILURES_TO_FAIL ? AIN_RUNTIME_FAILED : AIN_RUNTIME_STARTING;
}

guint ain_prototype_cuda_devices(const AinPrototype *prototype) {
  return prototype->n_cuda;
}

static void let_go(AinPrototype *prototype) {
  ain_loop_timer_stop(g_steal_pointer(&prototype->idle));
  ain_loop_timer_stop(g_steal_pointer(&prototype->overdue));
  ain_loop_timer_stop(g_steal_pointer(&prototype->late));
  ain_loop_unwatch(g_steal_pointer(&prototype->pid_watch));
  ain_loop_unwatch(g_steal_pointer(&prototype->control_watch));
  ain_fd_close(&prototype->pidfd);
  ain_fd_close(&prototype->control);
  ain_process_output_free(g_steal_pointer(&prototype->output));
  prototype->pid = 0;
  prototype->ready = FALSE;
}

static void idle_too_long(gpointer data) {
  AinPrototype *prototype = data;
  prototype->idle = NULL;
  g_message("the Python runtime ends after %" G_GINT64_FORMAT
            " s without a loaded model; the next one starts another",
            prototype->runtime->config.prototype_idle_us / G_USEC_PER_SEC);
  ain_loop_unwatch(g_steal_pointer(&prototype->pid_watch));
  ain_runtime_reap_later(prototype->runtime, prototype->pid, ain_fd_steal(&prototype->pidfd), NULL);
  let_go(prototype); /* it ends with its control socket */
  prototype->ended_idle = TRUE;
}

static char *look_at_environment(const AinPrototype *prototype) {
  const AinRuntimeConfig *config = &prototype->runtime->config;
  return config->environment != NULL ? config->environment(config->environment_data) : NULL;
}

gboolean ain_prototype_is_current(const AinPrototype *prototype) {
  g_autofree char *now = prototype->ready ? look_at_environment(prototype) : NULL;
  return now == NULL || prototype->environment == NULL || g_str_equal(now, prototype->environment);
}

static void go(gpointer data) {
  AinPrototype *prototype = data;
  prototype->going = NULL;
  g_ptr_array_remove_fast(prototype->runtime->retired, prototype); /* frees it */
}

static gboolean has_workers(const AinPrototype *prototype) {
  gboolean found = FALSE;
  for (guint i = 0; i < prototype->children->len; i++) {
    found |= !prototype->hangs || g_array_index(prototype->children, Child, i).worker != NULL;
  }
  return found;
}

static void go_when_done(AinPrototype *prototype) {
  if (!has_workers(prototype) && prototype->going == NULL) {
    prototype->going = ain_loop_timer(prototype->runtime->loop, ain_loop_now(), go, prototype);
  }
}

void ain_prototype_retire(AinPrototype *prototype) {
  prototype->retired = TRUE;
  ain_loop_timer_stop(g_steal_pointer(&prototype->idle));
  go_when_done(prototype);
}

/* Called whenever the number of children or the readiness changed. */
static void watch_idle(AinPrototype *prototype) {
  if (prototype->retired) {
    go_when_done(prototype);
    return;
  }
  gint64 limit = prototype->runtime->config.prototype_idle_us;
  ain_loop_timer_stop(g_steal_pointer(&prototype->idle));
  if (limit > 0 && prototype->ready && prototype->children->len == 0) {
    prototype->idle =
        ain_loop_timer(prototype->runtime->loop, ain_loop_now() + limit, idle_too_long, prototype);
  }
}

static void restart_due(gpointer data) {
  AinPrototype *prototype = data;
  prototype->restart = NULL;
  ain_prototype_start(prototype);
}

/* Waits the longer the more of them ended in a row that were of no use; not at all for one that was ended
 * from outside and is to be there again. */
static void schedule_restart(AinPrototype *prototype, gboolean useful, gboolean from_outside) {
  prototype->ready_since = 0;
  prototype->failures = useful ? 0 : prototype->failures;
  gint64 delay = useful && from_outside ? 0 : RESTART_FIRST_US << MIN(prototype->failures, 6U);
  prototype->failures += delay == 0 ? 0 : 1;
  prototype->restart = ain_loop_timer(prototype->runtime->loop, ain_loop_now() + MIN(delay, RESTART_MAX_US),
                                      restart_due, prototype);
}

/* The workers die with it (PDEATHSIG): tell their owners now, while the reason is known. */
static void orphan_children(AinPrototype *prototype, const GError *reason) {
  while (prototype->children->len > 0) {
    Child child = g_array_index(prototype->children, Child, prototype->children->len - 1);
    g_array_set_size(prototype->children, prototype->children->len - 1);
    if (child.worker != NULL) {
      ain_worker_orphaned(child.worker, reason);
    }
  }
}

static char *describe_end(int status) {
  if (WIFSIGNALED(status)) {
    return g_strdup_printf("signal %d (%s)", WTERMSIG(status), g_strsignal(WTERMSIG(status)));
  }
  return g_strdup_printf("exit code %d", WEXITSTATUS(status));
}

static gboolean was_healthy(const AinPrototype *prototype) {
  return prototype->ready_since != 0 && ain_loop_now() - prototype->ready_since > HEALTHY_US;
}

/* By an operator, or the kernel out of memory. */
static gboolean is_from_outside(int status) {
  return WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
}

static void prototype_died(AinPrototype *prototype) {
  int status = 0;
  waitpid(prototype->pid, &status, 0);
  g_autofree char *end = describe_end(status);
  const char *said = ain_process_output_tail(prototype->output);
  g_free(prototype->reason);
  prototype->reason =
      g_strdup_printf("the Python runtime (%s) ended by %s%s%s", prototype->runtime->config.python, end,
                      said[0] != '\0' ? "; it said: " : "", said);
  g_warning("%s", prototype->reason);
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_ENVIRONMENT, "%s", prototype->reason);
  let_go(prototype);
  ain_orphans_sweep_soon(prototype->runtime);
  if (!prototype->retired) {
    gboolean from_outside = is_from_outside(status);
    schedule_restart(prototype, was_healthy(prototype) || (prototype->worked && from_outside), from_outside);
  }
  orphan_children(prototype, error);
  if (prototype->retired) {
    go_when_done(prototype);
  }
}

static void pid_ready(guint32 events, gpointer data) {
  (void)events;
  prototype_died(data);
}

static Child *find_child(AinPrototype *prototype, guint64 request, pid_t pid) {
  for (guint i = 0; i < prototype->children->len; i++) {
    Child *child = &g_array_index(prototype->children, Child, i);
    if ((request != 0 && child->request == request) || (pid != 0 && child->pid == pid)) {
      return child;
    }
  }
  return NULL;
}

static void remove_child(AinPrototype *prototype, const Child *child) {
  g_array_remove_index_fast(prototype->children,
                            (guint)(child - &g_array_index(prototype->children, Child, 0)));
  watch_idle(prototype);
}

static void kill_pidfd(int pidfd) {
  syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

/* Its workers go on as they are; those it was to fork are started otherwise. */
static void fork_overdue(gpointer data) {
  AinPrototype *prototype = data;
  prototype->overdue = NULL;
  g_warning("the Python runtime (pid %d) does not answer; another one is started", (int)prototype->pid);
  prototype->hangs = TRUE;
  ain_runtime_replace_prototype(prototype->runtime, prototype);
  for (guint i = 0; i < prototype->children->len; i++) {
    Child *child = &g_array_index(prototype->children, Child, i);
    AinWorker *worker = child->request != 0 ? child->worker : NULL;
    if (worker != NULL) {
      child->worker = NULL; /* if it is forked after all, it is ended */
      ain_worker_unborn(worker, NULL);
    }
  }
  go_when_done(prototype);
}

/* Called whenever it was asked for a worker, answered, or became ready. */
static void watch_forks(AinPrototype *prototype) {
  gboolean asked = FALSE;
  for (guint i = 0; i < prototype->children->len; i++) {
    const Child *child = &g_array_index(prototype->children, Child, i);
    asked |= child->request != 0 && child->worker != NULL;
  }
  ain_loop_timer_stop(g_steal_pointer(&prototype->overdue));
  if (asked && prototype->ready) {
    prototype->overdue =
        ain_loop_timer(prototype->runtime->loop, ain_loop_now() + FORK_OVERDUE_US, fork_overdue, prototype);
  }
}

/* It came without the descriptor by which it is ended and known: ours had run out. It ends with its control
 * socket, for it has been told of no model yet. */
static void child_unwatched(Child *child) {
  AinWorker *worker = child->worker;
  child->worker = NULL;
  if (worker != NULL) {
    g_autoptr(GError) error = NULL;
    ain_error_set_os(&error, EMFILE, "cannot watch the process of a model");
    ain_worker_unborn(worker, error);
  }
}

static void child_born(AinPrototype *prototype, const AinMessage *message, int pidfd) {
  ain_fd int owned = pidfd;
  Child *child = find_child(prototype, message->id, 0);
  if (child == NULL) {
    return;
  }
  child->request = 0;
  child->pid = (pid_t)message->value;
  ain_orphans_note(prototype->runtime, child->pid, FALSE);
  if (owned < 0) {
    child_unwatched(child);
  } else if (child->worker == NULL) {
    kill_pidfd(owned); /* nobody waits for it any more; its end is reported all the same */
  } else {
    ain_worker_born(child->worker, child->pid, ain_fd_steal(&owned));
  }
}

static void child_reaped(AinPrototype *prototype, const AinMessage *message) {
  ain_orphans_sweep_soon(prototype->runtime);
  Child *child = find_child(prototype, 0, (pid_t)message->id);
  if (child != NULL) {
    AinWorker *worker = child->worker;
    remove_child(prototype, child);
    if (worker != NULL) {
      ain_worker_reaped(worker, (int)message->value);
    }
  }
}

static void child_declined(AinPrototype *prototype, const AinMessage *message, const char *why) {
  Child *child = find_child(prototype, message->id, 0);
  if (child != NULL) {
    AinWorker *worker = child->worker;
    remove_child(prototype, child);
    g_message("the runtime does not fork (%s); a fresh process is started instead", why);
    if (worker != NULL) {
      ain_worker_unborn(worker, NULL);
    }
  }
}

static void handle_message(AinPrototype *prototype, const AinMessage *message, const char *text, int fd) {
  switch (message->type) {
  case AIN_MESSAGE_HELLO:
    if (message->value != AIN_ABI_VERSION) {
      g_warning("ainode-runtime speaks channel version %" G_GUINT64_FORMAT
                ", the host version %u: lib/ holds files of different releases",
                message->value, AIN_ABI_VERSION);
      kill_pidfd(prototype->pidfd);
    }
    break;
  case AIN_MESSAGE_READY: {
    g_autofree char *versions = g_utf8_make_valid(text, -1);
    prototype->ready = TRUE;
    prototype->ready_since = ain_loop_now();
    ain_loop_timer_stop(g_steal_pointer(&prototype->late));
    prototype->n_cuda = (guint)MIN(message->value, MAX_CUDA);
    g_clear_pointer(&prototype->reason, g_free);
    g_free(prototype->environment); /* only now: importing may write byte code beside the modules */
    prototype->environment = look_at_environment(prototype);
    watch_idle(prototype);
    watch_forks(prototype);
    g_message("Python runtime ready after %.1f s: %s",
              (double)(ain_loop_now() - prototype->begun) / (double)G_USEC_PER_SEC, versions);
    break;
  }
  case AIN_MESSAGE_FORKED:
    child_born(prototype, message, fd);
    watch_forks(prototype);
    return;
  case AIN_MESSAGE_REAPED:
    child_reaped(prototype, message);
    break;
  case AIN_MESSAGE_DECLINED: {
    g_autofree char *why = g_utf8_make_valid(text, -1);
    child_declined(prototype, message, why);
    watch_forks(prototype);
    break;
  }
  default:
    g_warning("the Python runtime sent a message of unknown type %u", message->type);
  }
  ain_fd_close(&fd);
}

static void control_ready(guint32 events, gpointer data) {
  (void)events;
  AinPrototype *prototype = data;
  AinMessage message;
  char text[AIN_MESSAGE_TEXT_MAX + 1];
  int fd;
  while (prototype->control_watch != NULL) {
    switch (ain_process_receive(prototype->control, &message, text, &fd)) {
    case AIN_RECEIVE_MESSAGE:
      handle_message(prototype, &message, text, fd);
      break;
    case AIN_RECEIVE_NOTHING:
      return;
    case AIN_RECEIVE_GONE:
    case AIN_RECEIVE_GARBAGE:
      /* Its end is seen through the pidfd; garbage makes sure that it ends. */
      ain_loop_unwatch(g_steal_pointer(&prototype->control_watch));
      kill_pidfd(prototype->pidfd);
      return;
    }
  }
}

/* Stopped, or an import waits for ever, for a file server say. Its death is what else is done about it. */
static void start_overdue(gpointer data) {
  AinPrototype *prototype = data;
  prototype->late = NULL;
  g_warning("the Python runtime (pid %d) is not ready after %" G_GINT64_FORMAT " s; it is ended",
            (int)prototype->pid, (ain_loop_now() - prototype->begun) / G_USEC_PER_SEC);
  kill_pidfd(prototype->pidfd);
}

static gboolean launch(AinPrototype *prototype, GError **error) {
  g_auto(AinProcessFds) fds = AIN_PROCESS_FDS_INIT;
  ain_fd int ours = -1;
  prototype->output =
      ain_process_output_new(prototype->runtime->loop, "runtime", &fds.fds[AIN_PROCESS_FDS - 1], error);
  if (prototype->output == NULL || !ain_process_control_pair(&ours, &fds.fds[0], error)) {
    return FALSE;
  }
  pid_t pid = ain_process_spawn(&prototype->runtime->config, "prototype", &fds, &prototype->pidfd, error);
  if (pid < 0) {
    return FALSE;
  }
  AinLoop *loop = prototype->runtime->loop;
  ain_orphans_note(prototype->runtime, pid, TRUE);
  prototype->pid = pid;
  prototype->control = ain_fd_steal(&ours);
  prototype->pid_watch = ain_loop_watch(loop, prototype->pidfd, EPOLLIN, pid_ready, prototype);
  prototype->control_watch = ain_loop_watch(loop, prototype->control, EPOLLIN, control_ready, prototype);
  gint64 most = prototype->runtime->config.prototype_start_us;
  prototype->late =
      ain_loop_timer(loop, ain_loop_now() + (most > 0 ? most : START_OVERDUE_US), start_overdue, prototype);
  return TRUE;
}

void ain_prototype_start(AinPrototype *prototype) {
  g_autoptr(GError) error = NULL;
  if (prototype->pid != 0) {
    return;
  }
  prototype->begun = ain_loop_now();
  prototype->worked = FALSE;
  prototype->ended_idle = FALSE;
  if (!launch(prototype, &error)) {
    g_free(prototype->reason);
    prototype->reason = g_strdup(error->message);
    g_warning("%s", error->message);
    let_go(prototype);
    schedule_restart(prototype, FALSE, FALSE);
  }
}

gboolean ain_prototype_fork(AinPrototype *prototype, AinWorker *worker, guint64 request,
                            const AinProcessFds *fds, GError **error) {
  if (prototype->pid == 0 && prototype->ended_idle) {
    ain_prototype_start(prototype); /* the request waits in its socket while it imports */
  }
  if (prototype->pid == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "%s",
                prototype->reason != NULL ? prototype->reason : "the Python runtime is not started");
    return FALSE;
  }
  g_autoptr(GError) unsent = NULL;
  if (!ain_process_send(prototype->control, AIN_MESSAGE_FORK, request, 0, "", fds->fds, AIN_PROCESS_FDS,
                        &unsent)) {
    if (errno == EPIPE || errno == ECONNRESET) { /* the news of its end is on its way: as if it were here */
      g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "the Python runtime (%s) has just ended",
                  prototype->runtime->config.python);
    } else {
      g_propagate_error(error, g_steal_pointer(&unsent));
    }
    return FALSE;
  }
  Child child = { .request = request, .worker = worker };
  g_array_append_val(prototype->children, child);
  watch_idle(prototype);
  if (prototype->overdue == NULL) {
    watch_forks(prototype);
  }
  return TRUE;
}

void ain_prototype_loaded(AinPrototype *prototype, const AinWorker *worker) {
  for (guint i = 0; i < prototype->children->len; i++) {
    prototype->worked |= g_array_index(prototype->children, Child, i).worker == worker;
  }
}

void ain_prototype_forget(AinPrototype *prototype, AinWorker *worker) {
  for (guint i = 0; i < prototype->children->len; i++) {
    Child *child = &g_array_index(prototype->children, Child, i);
    if (child->worker == worker) {
      child->worker = NULL;
    }
  }
  if (prototype->retired) {
    go_when_done(prototype);
  }
}

void ain_prototype_free(AinPrototype *prototype) {
  if (prototype == NULL) {
    return;
  }
  ain_loop_timer_stop(prototype->restart);
  ain_loop_timer_stop(prototype->going);
  if (prototype->pid != 0) {
    kill_pidfd(prototype->pidfd);
    waitpid(prototype->pid, NULL, 0);
  }
  let_go(prototype);
  g_array_unref(prototype->children);
  g_free(prototype->reason);
  g_free(prototype->environment);
  g_free(prototype);
}
