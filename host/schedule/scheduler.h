/* From a decoded request to its answer: one lane per model with a bounded queue, a worker, batching,
 * deadlines.
 *
 * A lane starts its worker with its first request and keeps it while memory reaches (schedule/keeper.h).
 * Whatever queued while the worker was busy and has the same shape goes as one batch, for models that were
 * proven to allow it. All functions: loop thread.
 */
#pragma once
#include "base/loop.h"
#include "registry/registry.h"
#include "rpc/call.h"
#include "runtime/runtime.h"

#include <glib.h>

typedef struct {
  guint queue_max_requests;    /* waiting requests of one model */
  guint64 queue_max_bytes;     /* their bytes */
  gint64 inference_timeout_us; /* of the model's run; 0 = none; see ain_scheduler_limit() */
  gint64 queue_timeout_us;     /* of the wait before it; 0 = none */
  gint64 orphan_grace_us;      /* a run goes on so long after its callers have gone */
  gint64 worker_memory_bytes;  /* 0 = no limit */
  AinNullPolicy nulls;         /* where the request does not say */
  guint64 model_memory_bytes;  /* of all workers' processes; over it idle ones are unloaded */
  gboolean official_numbers;   /* built-ins: the numbers of the official releases where ours differ */
  gboolean batching;           /* FALSE: every request runs alone, answers are bit-equal */
  guint replicas;              /* workers of one model on one device, at most */
  gint64 max_batch_delay_us;   /* requests wait so long for company; 0 = never */
  guint64 max_array_bytes;     /* decoded input of one request */
  gint64 drain_us;             /* so long a dropped or replaced model serves the requests it has */
} AinSchedulerConfig;

typedef struct AinScheduler AinScheduler;

AinScheduler *ain_scheduler_new(AinLoop *loop, AinRuntime *runtime, const AinSchedulerConfig *config);
/* New limits of a request's run and of its wait before, from the next ones on; 0 = none. */
void ain_scheduler_limit(AinScheduler *scheduler, gint64 inference_timeout_us, gint64 queue_timeout_us);
/* Ends everything: queued and running requests are answered CANCELLED, workers end; done runs on the loop
 * when the last one has gone (perhaps before this returns). Nothing may be asked of the scheduler afterwards
 * but free. */
void ain_scheduler_shutdown(AinScheduler *scheduler, void (*done)(gpointer data), gpointer data);
void ain_scheduler_free(AinScheduler *scheduler); /* after shutdown, or unused; NULL is allowed */

/* Runs an INFERENCE or FORECAST call on the model and answers it, also on every error. Takes the call's
 * reference. */
void ain_scheduler_infer(AinScheduler *scheduler, AinModel *model, AinCall *call);

typedef void (*AinSchedulerDone)(const GError *error, gpointer data);
/* Loads the model on the devices (texts "cpu", "0", ...; checked by the caller) and keeps it loaded: done
 * when all have it, or with the first error. Errors: those of AinWorkerEvents.ended. */
void ain_scheduler_load(AinScheduler *scheduler, AinModel *model, const char *const *devices, guint n_devices,
                        AinSchedulerDone done, gpointer data);
/* Ends its workers there after their running requests. Errors: INVALID (not loaded there). */
void ain_scheduler_unload(AinScheduler *scheduler, AinModel *model, const char *const *devices,
                          guint n_devices, AinSchedulerDone done, gpointer data);
/* Loaded workers of the model on a device. */
guint ain_scheduler_loaded(AinScheduler *scheduler, AinModel *model, const char *device);
/* Why the model is out of service after crashing again and again, or NULL. Borrowed. */
const GError *ain_scheduler_failure(AinScheduler *scheduler, AinModel *model);

/* Loads the model on the devices where one of its id is loaded, or was until a minute ago, before it takes
 * the place of that. done, perhaps from within, when it is loaded there or cannot be. */
void ain_scheduler_warm(AinScheduler *scheduler, AinModel *model, void (*done)(gpointer data), gpointer data);

/* The model is no longer served: it gets no new requests; those it has are served within drain_us, or
 * answered MODEL_NOT_FOUND. */
void ain_scheduler_retire(AinScheduler *scheduler, AinModel *model);

/* Proves models for the registry in workers of their own. */
AinProver ain_scheduler_prover(AinScheduler *scheduler);

/* Requests not yet answered. */
guint ain_scheduler_pending(const AinScheduler *scheduler);

/* Totals since the start, for tests and benchmarks that assert what was computed. */
typedef struct {
  guint64 requests; /* answered with a result */
  guint64 failures; /* answered with an error */
  guint64 jobs;     /* calls of a model */
  guint64 samples;  /* samples in them: equals the samples asked for, or something was cached or repeated */
  guint64 copied_bytes; /* input bytes copied beside the one decoding pass */
  guint64 workers;      /* started */
  gint64 model_ns;      /* inside the models */
} AinSchedulerTotals;
AinSchedulerTotals ain_scheduler_totals(const AinScheduler *scheduler);
