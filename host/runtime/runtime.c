#include "runtime/internal.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A worker may free itself or others while its results are handed out: walk over a copy. */
static gboolean poll_workers(gpointer data) {
  AinRuntime *runtime = data;
  gboolean did = FALSE;
  for (guint i = runtime->busy->len; i > 0; i--) {
    if (i <= runtime->busy->len) {
      did |= ain_worker_poll(g_ptr_array_index(runtime->busy, i - 1));
    }
  }
  return did;
}

static gboolean workers_hot(gpointer data) {
  const AinRuntime *runtime = data;
  for (guint i = 0; i < runtime->busy->len; i++) {
    if (ain_worker_hot(g_ptr_array_index(runtime->busy, i))) {
      return TRUE;
    }
  }
  return FALSE;
}

static gboolean arm_workers(gpointer data) {
  AinRuntime *runtime = data;
  gboolean ready = FALSE;
  for (guint i = 0; i < runtime->busy->len; i++) {
    ready |= ain_worker_arm(g_ptr_array_index(runtime->busy, i));
  }
  return ready;
}

static void disarm_workers(gpointer data) {
  AinRuntime *runtime = data;
  for (guint i = 0; i < runtime->busy->len; i++) {
    ain_worker_disarm(g_ptr_array_index(runtime->busy, i));
  }
}

/* --- killed processes --- */

typedef struct {
  AinRuntime *runtime;
  pid_t pid;
  int pidfd;
  AinLoopFd *watch;
  GPtrArray *memory;
} Reaper;

static void reaper_free(gpointer data) {
  Reaper *reaper = data;
  ain_loop_unwatch(reaper->watch);
  if (reaper->pid != 0) { /* its end is there or near; not of one that was asked to end and is stopped */
    syscall(SYS_pidfd_send_signal, reaper->pidfd, SIGKILL, NULL, 0);
    waitpid(reaper->pid, NULL, 0);
  }
  ain_fd_close(&reaper->pidfd);
  g_clear_pointer(&reaper->memory, g_ptr_array_unref);
  g_free(reaper);
}

static void reap(guint32 events, gpointer data) {
  (void)events;
  Reaper *reaper = data;
  ain_orphans_sweep_soon(reaper->runtime);
  g_ptr_array_remove_fast(reaper->runtime->reapers, reaper);
}

void ain_runtime_reap_later(AinRuntime *runtime, pid_t pid, int pidfd, GPtrArray *memory) {
  Reaper *reaper = g_new0(Reaper, 1);
  reaper->runtime = runtime;
  reaper->pid = pid;
  reaper->pidfd = pidfd;
  reaper->memory = memory;
  reaper->watch = ain_loop_watch(runtime->loop, pidfd, EPOLLIN, reap, reaper);
  g_ptr_array_add(runtime->reapers, reaper);
}

static const AinLoopPoller poller = { poll_workers, workers_hot, arm_workers, disarm_workers };

AinRuntime *ain_runtime_new(AinLoop *loop, const AinRuntimeConfig *config, GError **error) {
  AinRuntime *runtime = g_new0(AinRuntime, 1);
  runtime->loop = loop;
  runtime->config = (AinRuntimeConfig){
    .lib_dir = g_strdup(config->lib_dir),
    .work_dir = g_strdup(config->work_dir),
    .python = g_strdup(config->python),
    .libpython = g_strdup(config->libpython),
    .fork = config->fork,
    .prototype_start_us = config->prototype_start_us,
    .prototype_idle_us = config->prototype_idle_us,
    .sandbox = config->sandbox,
    .read_paths = g_strdup(config->read_paths),
    .sandbox_off = g_strdup(config->sandbox_off),
    .environment = config->environment,
    .environment_data = config->environment_data,
  };
  runtime->budget = ain_budget_new(loop, config->shared_memory);
  runtime->busy = g_ptr_array_new();
  runtime->reapers = g_ptr_array_new_with_free_func(reaper_free);
  runtime->retired = g_ptr_array_new_with_free_func((GDestroyNotify)ain_prototype_free);
  runtime->next_id = 1;
  runtime->bounds = ain_bounds_new(runtime);
  runtime->groups = g_array_new(FALSE, FALSE, sizeof(AinGroup));
  /* What a process of ours leaves behind comes to us, who end it. A worker may close the end of a pipe that
   * wakes it. */
  struct sigaction ignore = { .sa_handler = SIG_IGN };
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || sigaction(SIGPIPE, &ignore, NULL) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot prepare for the processes of models");
    ain_runtime_free(runtime);
    return NULL;
  }
  ain_loop_add_poller(loop, &poller, runtime);
  if (config->fork) {
    runtime->prototype = ain_prototype_new(runtime);
  }
  return runtime;
}

void ain_runtime_start(AinRuntime *runtime) {
  if (runtime->prototype != NULL) {
    ain_prototype_start(runtime->prototype);
  }
}

AinRuntimeState ain_runtime_state(const AinRuntime *runtime, const char **reason) {
  *reason = NULL;
  return runtime->prototype != NULL ? ain_prototype_state(runtime->prototype, reason) : AIN_RUNTIME_READY;
}

gboolean ain_runtime_forks(const AinRuntime *runtime) {
  return runtime->prototype != NULL;
}

AinBudget *ain_runtime_budget(AinRuntime *runtime) {
  return runtime->budget;
}

guint ain_runtime_cuda_devices(const AinRuntime *runtime) {
  return runtime->prototype != NULL ? ain_prototype_cuda_devices(runtime->prototype) : 0;
}

void ain_runtime_replace_prototype(AinRuntime *runtime, AinPrototype *prototype) {
  if (runtime->prototype == prototype) {
    g_ptr_array_add(runtime->retired, prototype);
    ain_prototype_retire(prototype);
    runtime->prototype = ain_prototype_new(runtime);
    ain_prototype_start(runtime->prototype);
  }
}

AinPrototype *ain_runtime_prototype(AinRuntime *runtime) {
  if (runtime->prototype != NULL && !ain_prototype_is_current(runtime->prototype)) {
    g_message(
        "the Python environment has changed: the next models are run by a new Python runtime; those that "
        "are loaded stay as they are until they are loaded again");
    ain_runtime_replace_prototype(runtime, runtime->prototype);
  }
  return runtime->prototype;
}

gboolean ain_runtime_memory_ran_out(AinRuntime *runtime) {
  gint64 before = runtime->oom_kills;
  runtime->oom_kills = ain_process_oom_kills("/proc/vmstat");
  return before >= 0 && runtime->oom_kills > before;
}

void ain_runtime_forget(AinRuntime *runtime, AinWorker *worker) {
  if (runtime->prototype != NULL) {
    ain_prototype_forget(runtime->prototype, worker);
  }
  for (guint i = 0; i < runtime->retired->len; i++) {
    ain_prototype_forget(g_ptr_array_index(runtime->retired, i), worker);
  }
}

void ain_runtime_free(AinRuntime *runtime) {
  if (runtime == NULL) {
    return;
  }
  g_assert(runtime->busy->len == 0);
  ain_prototype_free(runtime->prototype);
  g_ptr_array_unref(runtime->retired);
  ain_loop_remove_poller(runtime->loop, &poller, runtime);
  g_ptr_array_unref(runtime->busy);
  g_ptr_array_unref(runtime->reapers);
  ain_bounds_free(runtime->bounds);
  ain_orphans_sweep_all(runtime);
  g_array_unref(runtime->groups);
  ain_budget_free(runtime->budget);
  g_free((char *)runtime->config.lib_dir);
  g_free((char *)runtime->config.work_dir);
  g_free((char *)runtime->config.python);
  g_free((char *)runtime->config.libpython);
  g_free((char *)runtime->config.read_paths);
  g_free((char *)runtime->config.sandbox_off);
  g_free(runtime);
}
