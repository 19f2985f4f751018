/* Shared between runtime.c, prototype.c and worker.c only. */
#pragma once
#include "runtime/process.h"
#include "runtime/runtime.h"

typedef struct AinPrototype AinPrototype;
typedef struct AinBounds AinBounds;

typedef struct {
  pid_t leader;
  gboolean spawned; /* our own child from the start: it is waited for by who spawned it */
} AinGroup;

struct AinRuntime {
  AinLoop *loop;
  AinRuntimeConfig config; /* strings owned */
  AinBudget *budget;
  GPtrArray *busy;         /* workers with unanswered jobs; borrowed */
  GPtrArray *reapers;      /* killed processes whose end is not yet collected */
  guint64 next_id;         /* of jobs and fork requests */
  gint64 oom_kills;        /* of the machine, when a process of ours was last started or killed by signal 9 */
  AinPrototype *prototype; /* NULL in spawn mode */
  GPtrArray *retired;      /* AinPrototype: of an environment that has changed, with workers yet */
  GArray *groups;          /* AinGroup: of prototypes, templates and workers */
  AinBounds *bounds;
  AinLoopTimer *sweep; /* a process has ended: look for what it left behind */
};

/* --- prototype.c --- */
AinPrototype *ain_prototype_new(AinRuntime *runtime);
void ain_prototype_start(AinPrototype *prototype);
void ain_prototype_free(AinPrototype *prototype);
AinRuntimeState ain_prototype_state(const AinPrototype *prototype, const char **reason);
guint ain_prototype_cuda_devices(const AinPrototype *prototype);
/* Asks for a worker; the answer reaches ain_worker_born() or ain_worker_unborn(). */
gboolean ain_prototype_fork(AinPrototype *prototype, AinWorker *worker, guint64 request,
                            const AinProcessFds *fds, GError **error);
/* FALSE when the Python environment is another one now than the one it has imported. */
gboolean ain_prototype_is_current(const AinPrototype *prototype);
/* It forks no more, and leaves runtime->retired when its last worker has gone. */
void ain_prototype_retire(AinPrototype *prototype);
/* The worker, which is perhaps a child of the prototype, has loaded its model. */
void ain_prototype_loaded(AinPrototype *prototype, const AinWorker *worker);
/* The worker is being freed: forget its request. */
void ain_prototype_forget(AinPrototype *prototype, AinWorker *worker);

/* --- template.c --- */
/* Asks for a worker, now or when the template is there; takes fds. The answer reaches ain_worker_born(),
 * ain_worker_unborn() or ain_worker_orphaned(). */
void ain_template_fork(AinTemplate *template, AinWorker *worker, const AinWorkerSpec *spec,
                       AinProcessFds *fds);
gboolean ain_template_declines(const AinTemplate *template); /* it cannot fork */
void ain_template_forget(AinTemplate *template, AinWorker *worker);
/* It was asked for a process and does not answer: it is ended. */
void ain_template_overdue(AinTemplate *template, const GError *error);
/* From the template's process; FALSE when it is not for us. */
gboolean ain_template_message(AinTemplate *template, const AinMessage *message, const char *text);

/* --- runtime.c --- */
/* The prototype to fork the next worker from: a new one when the environment has changed. NULL in spawn mode.
 */
AinPrototype *ain_runtime_prototype(AinRuntime *runtime);
/* The prototype forks no more: the next workers come from a new one. */
void ain_runtime_replace_prototype(AinRuntime *runtime, AinPrototype *prototype);
/* Whether the kernel ended processes for lack of memory since a worker was last started, or this was asked.
 */
gboolean ain_runtime_memory_ran_out(AinRuntime *runtime);
/* The worker is being freed. */
void ain_runtime_forget(AinRuntime *runtime, AinWorker *worker);
/* A killed process: when the kernel is done with it, its end is collected (pid; 0: it is another's child) and
 * what it mapped is let go of. Takes pidfd and memory (AinMemory; or NULL). */
void ain_runtime_reap_later(AinRuntime *runtime, pid_t pid, int pidfd, GPtrArray *memory);

/* --- orphans.c --- */
/* A process of ours is there, and leads a group of its own or will. */
void ain_orphans_note(AinRuntime *runtime, pid_t leader, gboolean spawned);
/* A process of ours has ended: those that it started and that outlive it are ended, too, from the loop. */
void ain_orphans_sweep_soon(AinRuntime *runtime);
/* All of ours have ended and been waited for: ends what is left of them, and waits for that. */
void ain_orphans_sweep_all(AinRuntime *runtime);

/* --- bounds.c --- */
AinBounds *ain_bounds_new(AinRuntime *runtime);
void ain_bounds_free(AinBounds *bounds); /* NULL is allowed */
/* From now on, or no longer, looks at what the worker holds; it may end by ain_worker_exceeded(). */
void ain_bounds_watch(AinBounds *bounds, AinWorker *worker);
void ain_bounds_forget(AinBounds *bounds, AinWorker *worker);

/* --- worker.c --- */
void ain_worker_exceeded(AinWorker *worker, const char *what); /* it is ended for that */
gboolean ain_worker_had_large(const AinWorker *worker); /* memory of its own for a request or a result */
gboolean ain_worker_pass_fork(AinWorker *process, guint64 request, const AinProcessFds *fds, GError **error);
void ain_worker_born(AinWorker *worker, pid_t pid, int pidfd);   /* takes pidfd */
void ain_worker_unborn(AinWorker *worker, const GError *reason); /* NULL reason: declined, spawn instead */
void ain_worker_reaped(AinWorker *worker, int wait_status);
void ain_worker_orphaned(AinWorker *worker, const GError *reason); /* its prototype died */
gboolean ain_worker_poll(AinWorker *worker); /* takes results; TRUE when there were some */
gboolean ain_worker_hot(
    const AinWorker *worker); /* TRUE while its answer is expected within about a millisecond */
gboolean ain_worker_arm(AinWorker *worker);
void ain_worker_disarm(AinWorker *worker);
