/* The processes that run models: one prototype that forks, one worker per loaded model, and the shared memory
 * between them and the host. Everything here: loop thread, except filling a slot (any one thread).
 *
 * Data of a job is written once, by the decoder, into a slot the worker maps read-only; its result is read
 * where the worker put it. All that a worker writes is range-checked. */
#pragma once
#include "base/loop.h"
#include "runtime/budget.h"
#include "tsblock/tsblock.h"

#include <glib.h>
#include <sys/types.h>

typedef struct AinRuntime AinRuntime;
typedef struct AinWorker AinWorker;
typedef struct AinSlot AinSlot;
typedef struct AinTemplate AinTemplate;

typedef struct {
  const char *lib_dir;       /* holds ainode-runtime, _ainode.abi3.so and pyruntime/ */
  const char *work_dir;      /* current directory of the workers */
  const char *python;        /* sys.executable of the interpreter */
  const char *libpython;     /* shared libpython to embed, or NULL: the interpreter is executed */
  gboolean fork;             /* fork workers from a prototype; else spawn each */
  gint64 prototype_start_us; /* a prototype that is not ready after so long hangs; 0 = 300 s */
  gint64 prototype_idle_us;  /* the prototype ends after so long without a worker; 0 = never */
  gboolean sandbox;          /* shut workers in before they see the model */
  const char *read_paths;    /* folders they may read besides their own, separated by ':', or NULL */
  guint64 shared_memory;     /* bytes of all slots and of all large requests and results together */
  const char *sandbox_off;   /* names of models that are not, separated by ',', or NULL */
  /* An owned text that changes with the Python environment: then the next worker comes from a new prototype,
   * and the old one stays until its workers have gone. NULL: it is not watched. */
  char *(*environment)(gpointer data);
  gpointer environment_data;
} AinRuntimeConfig;

typedef enum { AIN_RUNTIME_STARTING, AIN_RUNTIME_READY, AIN_RUNTIME_FAILED } AinRuntimeState;

/* Copies the config. The prototype is started by ain_runtime_start(). Errors: INTERNAL. */
AinRuntime *ain_runtime_new(AinLoop *loop, const AinRuntimeConfig *config, GError **error);
void ain_runtime_start(AinRuntime *runtime);
/* Ends the prototype; every worker must have been freed. NULL is allowed. */
void ain_runtime_free(AinRuntime *runtime);
/* *reason (borrowed) says why the state is not READY. */
AinRuntimeState ain_runtime_state(const AinRuntime *runtime, const char **reason);

/* CUDA devices that models can be loaded on, by index from 0; 0 until the prototype is ready, or in spawn
 * mode. */
guint ain_runtime_cuda_devices(const AinRuntime *runtime);

gboolean ain_runtime_forks(const AinRuntime *runtime); /* rather than spawn */
/* Of the memory shared with workers. Borrowed. */
AinBudget *ain_runtime_budget(AinRuntime *runtime);

typedef struct {
  const char *name; /* of the model, for log and messages */
  const char *kind;
  const char *directory;
  const char *device; /* "cpu" or the index of a CUDA device; NULL is cpu */
  AinDType dtype;
  gint32 input_shape[2];
  gint32 output_shape[2];
  guint max_batch;           /* the slots hold this many samples of input_shape */
  gboolean prove;            /* run once on random data while loading and report findings */
  gint64 memory_bytes;       /* RLIMIT_DATA of the worker; 0 = no limit */
  guint threads;             /* of the framework; 0 = one */
  gboolean official_numbers; /* built-ins: the numbers of the official releases */
  AinTemplate *template;     /* the worker is forked from this one, or NULL; it outlives the worker */
  AinTemplate *is_template;  /* of the runtime: the process is that template itself */
} AinWorkerSpec;

/* What all workers of one model on the CPU are forked from, so that they share its weights: a process in the
 * sandbox that loads the model when its first worker starts, and lives until it is freed. When it dies, its
 * workers do, and the next one starts another. Where it cannot fork, workers load the model by themselves.
 * Only in a runtime that forks. */
AinTemplate *ain_template_new(AinRuntime *runtime, const char *name); /* of the model, for the log */
/* Every worker forked from it must have been freed. NULL is allowed. */
void ain_template_free(AinTemplate *template);
pid_t ain_template_pid(const AinTemplate *template); /* 0: none runs */

typedef struct {
  /* The model is loaded; findings is the proof's text
   * ("dtype=float32 batch=32 threads=1"), "" without a proof. Borrowed. At most once. */
  void (*loaded)(AinWorker *worker, const char *findings, gpointer data);
  /* The worker could not load or has died; its unfinished jobs were completed with the same error before.
   * Exactly once unless freed first; nothing else follows, and the owner calls ain_worker_free(). Errors:
   * MODEL_INVALID (the model does not load), WORKER_DIED, TIMEOUT (loading), INTERNAL. */
  void (*ended)(AinWorker *worker, const GError *error, gpointer data);
} AinWorkerEvents;

/* Starts loading, as soon as there is shared memory for its slots; never fails at once: errors arrive in
 * `ended`. Copies the spec. */
AinWorker *ain_worker_start(AinRuntime *runtime, const AinWorkerSpec *spec, const AinWorkerEvents *events,
                            gpointer data);
/* Kills the process if it lives. Unfinished jobs are completed with CANCELLED; no event follows. NULL is
 * allowed. */
void ain_worker_free(AinWorker *worker);
guint ain_worker_free_slots(const AinWorker *worker);    /* 0 while loading or dead */
gboolean ain_worker_kept_input(const AinWorker *worker); /* the model has held on to a request array */
pid_t ain_worker_pid(const AinWorker *worker);           /* 0 before its birth and after its end */
gsize ain_worker_shared_bytes(
    const AinWorker *worker); /* of its slots, both ways; 0 while it waits for them */
/* Bytes, array and options, that ain_slot_take() would have for a job now; a slot's size at least. */
guint64 ain_worker_room(const AinWorker *worker);
/* Signal that ended the process, 0 for none known. Valid in `ended`. */
int ain_worker_end_signal(const AinWorker *worker);
/* Ends the process now with `error` as the reason (copied): unfinished jobs and `ended` get it. */
void ain_worker_kill(AinWorker *worker, const GError *error);

typedef struct {
  AinDType dtype;
  guint32 batch;
  guint32 rows;
  guint32 columns;
  gboolean copy_input;
  const char *options; /* JSON text or NULL */
  gint32 output_length;
} AinJobShape;

/* Takes one of the worker's slots (there must be one free). Errors: TOO_LARGE (more than the budget can ever
 * give), BUSY (more than it has now), INTERNAL (no memory). */
AinSlot *ain_slot_take(AinWorker *worker, const AinJobShape *shape, GError **error);
/* Where the array [batch][rows][columns] goes; 4096-byte aligned. Valid until release. Any thread. */
gpointer ain_slot_data(AinSlot *slot);

typedef struct {
  AinDType dtype;
  guint32 batch;
  guint32 rows;
  guint32 columns;
  const void *data;     /* C-contiguous; valid until the slot is released; the worker may scribble on it */
  guint64 copied_bytes; /* of the input, beside the decoding pass */
  guint64 input_offset; /* where the model's array began in the slot: 0, unless it was copied */
  gint64 model_ns;      /* time inside the model's call */
} AinJobResult;

/* done runs once on the loop thread with a result or an error: MODEL_FAILED (the model raised; the worker
 * lives), CANCELLED (the job had not begun when its worker ended: it may be submitted elsewhere), or the
 * reason of the worker's end (WORKER_DIED, TIMEOUT, ...). The caller then releases the slot, in done or
 * later. done must not free the worker. */
typedef void (*AinJobDone)(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data);
void ain_slot_submit(AinSlot *slot, AinJobDone done, gpointer data);
/* TRUE while the worker computes this job (and not one submitted before it). */
gboolean ain_slot_is_running(const AinSlot *slot);
/* Gives the slot back; the worker may be dead or freed by now. NULL is allowed. */
void ain_slot_release(AinSlot *slot);
