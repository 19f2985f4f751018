/* A model loaded once, in a process of its own that forks the workers of the model: they share its weights.
 */
#include "runtime/internal.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A fork takes milliseconds: a template that does not answer for so long is stopped or hangs. */
#define FORK_OVERDUE_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)

/* A worker that is to be forked, or was. */
typedef struct {
  guint64 request;   /* 0 once it is born */
  pid_t pid;         /* 0 before */
  AinWorker *worker; /* NULL once forgotten */
  AinProcessFds fds; /* until the template is there to take them */
  gboolean asked;
} Child;

struct AinTemplate {
  AinRuntime *runtime;
  char *name;         /* of the model, for the log */
  AinWorker *process; /* NULL when none runs */
  gboolean loaded;
  gboolean declines;
  GPtrArray *children;   /* Child */
  AinLoopTimer *overdue; /* armed while it was asked for a worker and has not answered */
};

static void child_free(gpointer data) {
  Child *child = data;
  ain_process_fds_close(&child->fds);
  g_free(child);
}

AinTemplate *ain_template_new(AinRuntime *runtime, const char *name) {
  AinTemplate *template = g_new0(AinTemplate, 1);
  template->name = g_strdup(name);
  template->runtime = runtime;
  template->children = g_ptr_array_new_with_free_func(child_free);
  return template;
}

void ain_template_free(AinTemplate *template) {
  if (template != NULL) {
    for (guint i = 0; i < template->children->len; i++) {
      g_assert(((const Child *)g_ptr_array_index(template->children, i))->worker == NULL);
    }
    ain_loop_timer_stop(template->overdue);
    ain_worker_free(template->process);
    g_ptr_array_unref(template->children);
    g_free(template->name);
    g_free(template);
  }
}

gboolean ain_template_declines(const AinTemplate *template) {
  return template->declines;
}

pid_t ain_template_pid(const AinTemplate *template) {
  return template->process != NULL ? ain_worker_pid(template->process) : 0;
}

static Child *find_child(const AinTemplate *template, guint64 request, pid_t pid) {
  for (guint i = 0; i < template->children->len; i++) {
    Child *child = g_ptr_array_index(template->children, i);
    if ((request != 0 && child->request == request) || (pid != 0 && child->pid == pid)) {
      return child;
    }
  }
  return NULL;
}

/* Its workers die with it (PDEATHSIG), and those it was to fork will not be. */
static void orphan_children(AinTemplate *template, const GError *reason) {
  while (template->children->len > 0) {
    Child *child = g_ptr_array_index(template->children, template->children->len - 1);
    AinWorker *worker = child->worker;
    g_ptr_array_remove_index(template->children, template->children->len - 1);
    if (worker != NULL) {
      ain_worker_orphaned(worker, reason);
    }
  }
}

static gboolean is_awaited(const Child *child) {
  return child->asked && child->request != 0 && child->worker != NULL;
}

/* Those it has forked go on; those it was to fork load the model for themselves, as all that come later. */
static void fork_overdue(gpointer data) {
  AinTemplate *template = data;
  template->overdue = NULL;
  template->declines = TRUE;
  g_warning("model %s: the process that its workers are forked from (pid %d) does not answer; the next ones "
            "load the model for themselves",
            template->name, (int)ain_template_pid(template));
  gboolean serves = FALSE;
  for (guint i = 0; i < template->children->len; i++) {
    Child *child = g_ptr_array_index(template->children, i);
    if (is_awaited(child)) {
      ain_worker_unborn(g_steal_pointer(&child->worker), NULL); /* if it is forked after all, it is ended */
    }
    serves |= child->worker != NULL;
  }
  if (!serves && template->process != NULL) {
    g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "it does not answer");
    ain_worker_kill(template->process, error);
  }
}

/* Called whenever it was asked for a worker or has answered. */
static void watch_forks(AinTemplate *template) {
  gboolean awaited = FALSE;
  for (guint i = 0; i < template->children->len; i++) {
    awaited |= is_awaited(g_ptr_array_index(template->children, i));
  }
  ain_loop_timer_stop(g_steal_pointer(&template->overdue));
  if (awaited) {
    template->overdue =
        ain_loop_timer(template->runtime->loop, ain_loop_now() + FORK_OVERDUE_US, fork_overdue, template);
  }
}

static void process_ended(AinWorker *process, const GError *error, gpointer data) {
  AinTemplate *template = data;
  g_autoptr(GError) reason = g_error_copy(error);
  ain_worker_free(process);
  template->process = NULL;
  template->loaded = FALSE;
  ain_loop_timer_stop(g_steal_pointer(&template->overdue));
  orphan_children(template, reason);
}

static void ask_for(AinTemplate *template, Child *child) {
  g_autoptr(GError) error = NULL;
  if (!ain_worker_pass_fork(template->process, child->request, &child->fds, &error)) {
    ain_worker_kill(template->process, error);
    return;
  }
  child->asked = TRUE;
  ain_process_fds_close(&child->fds);
  if (template->overdue == NULL) {
    watch_forks(template);
  }
}

static void process_loaded(AinWorker *process, const char *findings, gpointer data) {
  (void)process;
  (void)findings;
  AinTemplate *template = data;
  template->loaded = TRUE;
  for (guint i = 0; i < template->children->len; i++) {
    Child *child = g_ptr_array_index(template->children, i);
    if (!child->asked) {
      ask_for(template, child);
    }
  }
}

void ain_template_fork(AinTemplate *template, AinWorker *worker, const AinWorkerSpec *spec,
                       AinProcessFds *fds) {
  static const AinWorkerEvents events = { process_loaded, process_ended };
  static const AinProcessFds none = AIN_PROCESS_FDS_INIT;
  Child *child = g_new0(Child, 1);
  child->request = template->runtime->next_id++;
  child->worker = worker;
  child->fds = *fds;
  *fds = none;
  g_ptr_array_add(template->children, child);
  if (template->process == NULL) {
    AinWorkerSpec own = *spec;
    own.template = NULL;
    own.is_template = template;
    template->process = ain_worker_start(template->runtime, &own, &events, template);
  } else if (template->loaded) {
    ask_for(template, child);
  }
}

void ain_template_forget(AinTemplate *template, AinWorker *worker) {
  for (guint i = template->children->len; i > 0; i--) {
    Child *child = g_ptr_array_index(template->children, i - 1);
    if (child->worker == worker) {
      child->worker = NULL;
      if (!child->asked) {
        g_ptr_array_remove_index(template->children, i - 1);
      }
    }
  }
}

void ain_template_overdue(AinTemplate *template, const GError *error) {
  if (template->process != NULL) {
    ain_worker_kill(template->process, error);
  }
}

/* --- what the template says --- */

/* The parent of a process as the kernel tells it; 0 when there is none such. */
static pid_t parent_of(pid_t pid) {
  g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
  g_autofree char *text = NULL;
  if (!g_file_get_contents(path, &text, NULL, NULL)) {
    return 0;
  }
  const char *after_name = strrchr(text, ')'); /* "PID (NAME) STATE PARENT ..." */
  return after_name != NULL && strlen(after_name) > 4 ? (pid_t)strtol(after_name + 4, NULL, 10) : 0;
}

/* The template has seen the model: it may name only a child of its own, or we would end another process for
 * it. The number is safe to look up: a child that has ended keeps it until the pidfd is closed or dead.
 * -1 without an error: it has ended, or is none. */
static int open_child(const AinTemplate *template, pid_t pid, GError **error) {
  ain_fd int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
  if (pidfd < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
      ain_error_set_os(error, errno, "cannot watch a process of model %s", template->name);
    }
    return -1;
  }
  if (parent_of(pid) != ain_worker_pid(template->process)) {
    return -1;
  }
  gboolean alive =
      syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0; /* and so it was the one looked at */
  return alive ? ain_fd_steal(&pidfd) : -1;
}

static void child_born(AinTemplate *template, const AinMessage *message) {
  g_autoptr(GError) error = NULL;
  Child *child = find_child(template, message->id, 0);
  if (child == NULL || message->value > G_MAXINT32) {
    return;
  }
  child->request = 0;
  child->pid = (pid_t)message->value;
  ain_fd int pidfd = open_child(template, child->pid, &error);
  AinWorker *worker = child->worker;
  if (pidfd >= 0 && worker != NULL) {
    ain_worker_born(worker, child->pid, ain_fd_steal(&pidfd));
  } else if (pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
  } else if (error != NULL && worker != NULL) { /* it ends with its control socket */
    child->worker = NULL;
    ain_worker_unborn(worker, error);
  } /* else it has ended: that message follows */
}

static void child_reaped(AinTemplate *template, const AinMessage *message) {
  Child *child = message->id <= G_MAXINT32 ? find_child(template, 0, (pid_t)message->id) : NULL;
  if (child != NULL) {
    AinWorker *worker = child->worker;
    g_ptr_array_remove_fast(template->children, child);
    if (worker != NULL) {
      ain_worker_reaped(worker, (int)message->value);
    }
  }
}

static void child_declined(AinTemplate *template, const AinMessage *message, const char *why) {
  Child *child = find_child(template, message->id, 0);
  if (child != NULL) {
    AinWorker *worker = child->worker;
    g_ptr_array_remove_fast(template->children, child);
    if (message->value != 0) {
      g_message("model %s: a process of it does not share its weights (%s)", template->name, why);
    } else if (!template->declines) {
      g_message("model %s: its processes do not share its weights (%s)", template->name, why);
      template->declines = TRUE;
    }
    if (worker != NULL) {
      ain_worker_unborn(worker, NULL);
    }
    if (template->declines && template->children->len == 0) { /* nobody needs it any more */
      g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "it cannot fork: %s", why);
      ain_worker_kill(template->process, error);
    }
  }
}

gboolean ain_template_message(AinTemplate *template, const AinMessage *message, const char *text) {
  switch (message->type) {
  case AIN_MESSAGE_FORKED:
    child_born(template, message);
    watch_forks(template);
    return TRUE;
  case AIN_MESSAGE_REAPED:
    child_reaped(template, message);
    return TRUE;
  case AIN_MESSAGE_DECLINED:
    child_declined(template, message, text);
    watch_forks(template);
    return TRUE;
  default:
    return FALSE;
  }
}
