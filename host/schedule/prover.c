#include "schedule/prover.h"

#include "base/error.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* A registration must be answered before the caller's 60 s are over. */
#define PROOF_TIMEOUT_US (G_GINT64_CONSTANT(45) * G_USEC_PER_SEC)
#define MAX_BATCH 32U
#define ROOM_RETRY_US (G_GINT64_CONSTANT(20) * 1000)

struct AinProofs {
  AinLaneContext *context;
  GPtrArray *running; /* Proof */
  gboolean closed;
};

typedef struct {
  AinProofs *proofs;
  AinModel *model;
  AinProveDone done;
  gpointer data;
  AinWorker *worker;
  AinLoopTimer *timer;
  AinLoopTimer *again; /* the prototype ended: the proof begins anew with the next one; or memory is short */
  gboolean copy_input; /* second attempt: the first died writing into the slot */
  gboolean in_slot;    /* the job on the slot runs */
} Proof;

static void attempt(Proof *proof);

static void finish(Proof *proof, const GError *error) {
  g_ptr_array_remove_fast(proof->proofs->running, proof);
  ain_loop_timer_stop(proof->timer);
  ain_loop_timer_stop(proof->again);
  ain_worker_free(proof->worker);
  proof->done(error, proof->data);
  ain_model_unref(proof->model);
  g_free(proof);
}

static void slot_passed(gpointer data) {
  Proof *proof = data;
  proof->timer = NULL;
  finish(proof, NULL);
}

/* The worker cannot be freed from inside a job's done: an errorless end goes over a timer, an error over
 * `ended`. */
static void slot_done(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data) {
  (void)result;
  Proof *proof = data;
  ain_slot_release(slot);
  if (error == NULL) {
    proof->in_slot = FALSE;
    proof->model->writes_input = proof->copy_input || ain_worker_kept_input(proof->worker);
    ain_loop_timer_stop(proof->timer);
    proof->timer = ain_loop_timer(proof->proofs->context->loop, ain_loop_now(), slot_passed, proof);
  } else if (g_error_matches(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED)) {
    g_autoptr(GError) refused = g_error_new(AIN_ERROR, AIN_ERROR_MODEL_INVALID, "%s", error->message);
    ain_worker_kill(proof->worker, refused);
  }
}

static void fill_with_ones(const AinModel *model, gpointer memory, gsize count) {
  for (gsize i = 0; i < count; i++) {
    switch (model->dtype) {
    case AIN_DTYPE_BOOL:
      ((guint8 *)memory)[i] = 1;
      break;
    case AIN_DTYPE_INT32:
      ((gint32 *)memory)[i] = 1;
      break;
    case AIN_DTYPE_INT64:
      ((gint64 *)memory)[i] = 1;
      break;
    case AIN_DTYPE_FLOAT32:
      ((float *)memory)[i] = 1.0F;
      break;
    case AIN_DTYPE_FLOAT64:
      ((double *)memory)[i] = 1.0;
      break;
    }
  }
}

static gboolean take_findings(AinModel *model, const char *findings, GError **error) {
  char name[16];
  guint batch;
  guint threads = 0; /* a pipeline's findings have none where one is enough */
  /* NOLINTNEXTLINE(cert-err34-c): the conversions are bounded and checked below */
  if (sscanf(findings, "dtype=%15[a-z0-9] batch=%2u threads=%2u", name, &batch, &threads) >= 2 && batch >= 1
      && batch <= MAX_BATCH) {
    for (int dtype = 0; dtype < AIN_DTYPE_COUNT; dtype++) {
      if (strcmp(ain_dtype_name((AinDType)dtype), name) == 0) {
        model->dtype = (AinDType)dtype;
        model->max_batch = batch;
        model->threads = threads;
        return TRUE;
      }
    }
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL, "the runtime's findings about model [%s] are unreadable",
              model->id);
  return FALSE;
}

/* A pipeline was run while it loaded; of a large model the number of threads was found. */
static void take_flexible(Proof *proof, AinWorker *worker, const char *findings) {
  AinModel *model = proof->model;
  g_autoptr(GError) error = NULL;
  if (model->kind == AIN_KIND_PIPELINE) {
    if (!take_findings(model, findings, &error)) {
      ain_worker_kill(worker, error);
      return;
    }
    /* NOLINTNEXTLINE(cert-err34-c): the conversion is bounded, and 0 where there is none */
  } else if (sscanf(findings, "threads=%2u", &model->threads) != 1) {
    model->threads = 0;
  }
  ain_loop_timer_stop(proof->timer);
  proof->timer = ain_loop_timer(proof->proofs->context->loop, ain_loop_now(), slot_passed, proof);
}

static void try_slot(gpointer data);

/* The array on the slot: may wait for shared memory, as requests do. */
static void submit_first(Proof *proof, GError **error) {
  AinModel *model = proof->model;
  AinJobShape shape = {
    .dtype = model->dtype,
    .batch = 1,
    .rows = (guint32)model->input_shape[0],
    .columns = (guint32)model->input_shape[1],
    .copy_input = proof->copy_input,
  };
  g_autoptr(GError) failure = NULL;
  AinSlot *slot = ain_slot_take(proof->worker, &shape, &failure);
  if (slot == NULL && g_error_matches(failure, AIN_ERROR, AIN_ERROR_BUSY)) {
    proof->again =
        ain_loop_timer(proof->proofs->context->loop, ain_loop_now() + ROOM_RETRY_US, try_slot, proof);
  } else if (slot == NULL) {
    g_propagate_error(error, g_steal_pointer(&failure));
  } else {
    fill_with_ones(model, ain_slot_data(slot), (gsize)model->input_shape[0] * (gsize)model->input_shape[1]);
    proof->in_slot = TRUE;
    ain_slot_submit(slot, slot_done, proof);
  }
}

static void try_slot(gpointer data) {
  Proof *proof = data;
  g_autoptr(GError) error = NULL;
  proof->again = NULL;
  if (proof->worker != NULL && ain_worker_free_slots(proof->worker) > 0) {
    submit_first(proof, &error);
  }
  if (error != NULL) {
    ain_worker_kill(proof->worker, error);
  }
}

static void worker_loaded(AinWorker *worker, const char *findings, gpointer data) {
  Proof *proof = data;
  AinModel *model = proof->model;
  g_autoptr(GError) error = NULL;
  if (ain_model_is_flexible(model)) { /* that it loads is the proof */
    take_flexible(proof, worker, findings);
    return;
  }
  if (take_findings(model, findings, &error)) {
    submit_first(proof, &error);
  }
  if (error != NULL) {
    ain_worker_kill(worker, error);
  }
}

static void attempt_again(gpointer data) {
  Proof *proof = data;
  proof->again = NULL;
  attempt(proof);
}

static void worker_ended(AinWorker *worker, const GError *error, gpointer data) {
  Proof *proof = data;
  AinLaneContext *context = proof->proofs->context;
  ain_loop_timer_stop(g_steal_pointer(&proof->again));
  if (ain_lane_runtime_restarts(context, error)) {
    ain_worker_free(worker);
    proof->worker = NULL;
    proof->in_slot = FALSE;
    proof->again = ain_loop_timer(context->loop, ain_loop_now() + AIN_RUNTIME_RETRY_US, attempt_again, proof);
    return;
  }
  int number = ain_worker_end_signal(worker);
  gboolean wrote = proof->in_slot && !proof->copy_input && (number == SIGSEGV || number == SIGBUS);
  if (wrote) {
    g_message("model %s writes into its input: it gets a copy of every request", proof->model->id);
    ain_worker_free(worker);
    proof->worker = NULL;
    proof->copy_input = TRUE;
    proof->in_slot = FALSE;
    attempt(proof);
    return;
  }
  g_autoptr(GError) reason = g_error_copy(error);
  if (g_error_matches(reason, AIN_ERROR, AIN_ERROR_WORKER_DIED) && number != SIGKILL) {
    reason->code = AIN_ERROR_MODEL_INVALID; /* else the kernel, out of memory, or an operator */
  }
  finish(proof, reason);
}

static void overdue(gpointer data) {
  Proof *proof = data;
  proof->timer = NULL;
  const char *reason = NULL;
  gboolean ready = ain_runtime_state(proof->proofs->context->runtime, &reason) == AIN_RUNTIME_READY;
  g_autoptr(GError) error =
      g_error_new(AIN_ERROR, ready ? AIN_ERROR_TIMEOUT : AIN_ERROR_ENVIRONMENT,
                  "model [%s] did not load and answer a first call within %d s%s%s", proof->model->id,
                  (int)(PROOF_TIMEOUT_US / G_USEC_PER_SEC),
                  ready ? "" : ": the Python runtime is not ready, ", ready ? "" : reason);
  if (proof->worker == NULL) {
    finish(proof, error);
    return;
  }
  ain_worker_kill(proof->worker, error);
}

/* One element type for all columns: the smallest that holds each of those declared without loss. Where the
 * model does not take it, the proof goes on with float32. */
static AinDType declared_dtype(const AinModel *model) {
  AinDType widest = AIN_DTYPE_BOOL;
  gboolean integers = FALSE;
  for (gint32 i = 0; i < model->input_shape[1]; i++) {
    AinDType dtype = AIN_DTYPE_FLOAT32;
    switch (model->input_types[i]) {
    case AIN_TS_BOOLEAN:
      dtype = AIN_DTYPE_BOOL;
      break;
    case AIN_TS_INT32:
      dtype = AIN_DTYPE_INT32;
      break;
    case AIN_TS_INT64:
      dtype = AIN_DTYPE_INT64;
      break;
    case AIN_TS_DOUBLE:
      dtype = AIN_DTYPE_FLOAT64;
      break;
    default:
      break;
    }
    integers |= dtype == AIN_DTYPE_INT32 || dtype == AIN_DTYPE_INT64;
    widest = MAX(widest, dtype);
  }
  return widest == AIN_DTYPE_FLOAT32 && integers ? AIN_DTYPE_FLOAT64 : widest;
}

static void attempt(Proof *proof) {
  static const AinWorkerEvents events = { worker_loaded, worker_ended };
  AinLaneContext *context = proof->proofs->context;
  const AinModel *model = proof->model;
  AinWorkerSpec spec = {
    .name = model->id,
    .kind = ain_model_kind_name(model->kind),
    .directory = model->directory,
    .dtype = ain_model_is_flexible(model) ? model->dtype : declared_dtype(model),
    .input_shape = { model->input_shape[0], model->input_shape[1] },
    .output_shape = { model->output_shape[0], model->output_shape[1] },
    .max_batch = 1,
    .prove = TRUE,
    .memory_bytes = context->config.worker_memory_bytes,
  };
  context->totals.workers++;
  proof->worker = ain_worker_start(context->runtime, &spec, &events, proof);
}

AinProofs *ain_proofs_new(AinLaneContext *context) {
  AinProofs *proofs = g_new0(AinProofs, 1);
  proofs->context = context;
  proofs->running = g_ptr_array_new();
  return proofs;
}

static GError *stopping(void) {
  return g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the AINode is stopping");
}

void ain_proofs_close(AinProofs *proofs) {
  g_autoptr(GError) error = stopping();
  g_autoptr(GPtrArray) running = g_steal_pointer(&proofs->running);
  proofs->closed = TRUE;
  proofs->running = g_ptr_array_new(); /* what finish() removes the proof from */
  for (guint i = 0; i < running->len; i++) {
    finish(g_ptr_array_index(running, i), error);
  }
}

void ain_proofs_free(AinProofs *proofs) {
  if (proofs != NULL) {
    ain_proofs_close(proofs);
    g_ptr_array_unref(proofs->running);
    g_free(proofs);
  }
}

void ain_proofs_prove(gpointer prover, AinModel *model, AinProveDone done, gpointer data) {
  AinProofs *proofs = prover;
  if (proofs->closed) {
    g_autoptr(GError) error = stopping();
    done(error, data);
    return;
  }
  Proof *proof = g_new0(Proof, 1);
  proof->proofs = proofs;
  proof->model = ain_model_ref(model);
  proof->done = done;
  proof->data = data;
  g_ptr_array_add(proofs->running, proof);
  proof->timer = ain_loop_timer(proofs->context->loop, ain_loop_now() + PROOF_TIMEOUT_US, overdue, proof);
  attempt(proof);
}

void ain_proofs_cancel(gpointer prover, const AinModel *model) {
  AinProofs *proofs = prover;
  for (guint i = 0; i < proofs->running->len; i++) {
    Proof *proof = g_ptr_array_index(proofs->running, i);
    if (proof->model == model) {
      g_autoptr(GError) error =
          g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the model %s was dropped meanwhile", model->id);
      finish(proof, error);
      return;
    }
  }
}
