#include "schedule/lane.h"

#include "base/error.h"

#include <string.h>

/* Decoding more than this is done on a helper thread, so that heartbeats never wait for it. */
#define INLINE_BYTES (256U * 1024U)
#define BACKOFF_FIRST_US (100 * 1000)
#define BACKOFF_MAX_US (30 * G_USEC_PER_SEC)
/* A model that does not load is not tried again for every request of a busy client. */
#define LOAD_RETRY_US G_USEC_PER_SEC

typedef struct {
  AinTask *task;
  guint32 first;
  guint32 count;
  gboolean failed; /* already answered with an error; its place in the batch is filled with zeros */
} Piece;

typedef struct {
  AinLane *lane;
  AinSlot *slot;
  GArray *pieces; /* Piece */
  guint32 n_samples;
  gsize sample_size;
  GError *fill_error; /* of fill_failed; written by the filling thread */
  guint fill_failed;  /* index of the first piece that could not be filled */
} Job;

struct AinLane {
  AinLaneContext *context;
  AinModel *model;
  GQueue queue; /* AinTask */
  guint64 queued_bytes;
  AinWorker *worker;
  gboolean ready;
  GPtrArray *jobs; /* Job */
  gint64 running_since;
  AinLoopTimer *deadline;
  AinLoopTimer *orphans;
  AinLoopTimer *retry;
  guint failures; /* ends of workers since the last result */
  GError *load_error;
  gint64 load_again; /* no earlier than this after load_error */
  gboolean copy_input;
  gboolean closed;
};

static void dispatch(AinLane *lane);
static void wind_down(AinLane *lane);
static void lane_free(AinLane *lane);
static void start_worker(AinLane *lane);

/* --- tasks
 * --------------------------------------------------------------------------------------------------- */

static void task_settle(AinLane *lane, AinTask *task) {
  if (task->answered && task->in_flight == 0 && !task->queued) {
    lane->context->pending--;
    ain_task_free(task);
  }
}

static void enqueue(AinLane *lane, AinTask *task, gboolean at_head) {
  if (at_head) {
    g_queue_push_head(&lane->queue, task);
  } else {
    g_queue_push_tail(&lane->queue, task);
  }
  task->queued = TRUE;
  lane->queued_bytes += ain_task_size(task);
}

static void dequeue(AinLane *lane, AinTask *task) {
  if (g_queue_peek_head(&lane->queue) == task) {
    g_queue_pop_head(&lane->queue);
  } else {
    g_queue_remove(&lane->queue, task);
  }
  task->queued = FALSE;
  lane->queued_bytes -= ain_task_size(task);
}

static void fail_task(AinLane *lane, AinTask *task, const GError *error) {
  if (!task->answered) {
    lane->context->totals.failures++;
    ain_call_on_abandon(task->call, NULL, NULL);
    ain_task_fail(task, error);
  }
  if (task->queued) {
    dequeue(lane, task);
  }
}

static void fail_queue(AinLane *lane, const GError *error) {
  while (!g_queue_is_empty(&lane->queue)) {
    AinTask *task = g_queue_peek_head(&lane->queue);
    fail_task(lane, task, error);
    task_settle(lane, task);
  }
}

/* --- jobs
 * ---------------------------------------------------------------------------------------------------- */

static guint batch_limit(const AinLane *lane) {
  return lane->context->config.batching ? MAX(lane->model->max_batch, 1U) : 1U;
}

/* Whatever waits and has the head's shape, up to the limit. */
static Job *gather(AinLane *lane) {
  Job *job = g_new0(Job, 1);
  job->lane = lane;
  job->pieces = g_array_new(FALSE, TRUE, sizeof(Piece));
  guint32 room = batch_limit(lane);
  const AinTask *head = g_queue_peek_head(&lane->queue);
  job->sample_size = (gsize)head->rows * (gsize)head->columns * ain_dtype_size(lane->model->dtype);
  while (room > 0 && !g_queue_is_empty(&lane->queue)) {
    AinTask *task = g_queue_peek_head(&lane->queue);
    if (!ain_task_fits(task, head)) {
      break;
    }
    Piece piece = { .task = task, .first = task->next, .count = MIN(room, task->n_samples - task->next) };
    task->next += piece.count;
    task->in_flight++;
    if (task->next == task->n_samples) {
      dequeue(lane, task);
    }
    g_array_append_val(job->pieces, piece);
    job->n_samples += piece.count;
    room -= piece.count;
  }
  return job;
}

static void job_free(Job *job) {
  AinLane *lane = job->lane;
  g_ptr_array_remove_fast(lane->jobs, job);
  ain_slot_release(job->slot);
  for (guint i = 0; i < job->pieces->len; i++) {
    AinTask *task = g_array_index(job->pieces, Piece, i).task;
    task->in_flight--;
    task_settle(lane, task);
  }
  g_array_unref(job->pieces);
  g_clear_error(&job->fill_error);
  g_free(job);
}

static void job_fail(Job *job, const GError *error) {
  for (guint i = 0; i < job->pieces->len; i++) {
    fail_task(job->lane, g_array_index(job->pieces, Piece, i).task, error);
  }
}

/* The worker ended before it began this job: its requests go back to the head of the queue, in their order.
 */
static void job_requeue(Job *job) {
  for (guint i = job->pieces->len; i > 0; i--) {
    Piece *piece = &g_array_index(job->pieces, Piece, i - 1);
    AinTask *task = piece->task;
    if (task->answered) {
      continue;
    }
    task->next = MIN(task->next, piece->first);
    if (!task->queued) {
      enqueue(job->lane, task, TRUE);
    }
  }
}

static void job_succeed(Job *job, const AinJobResult *result) {
  AinLaneContext *context = job->lane->context;
  const guint8 *data = result->data;
  gsize one = (gsize)result->rows * result->columns * ain_dtype_size(result->dtype);
  context->totals.jobs++;
  context->totals.samples += job->n_samples;
  context->totals.copied_bytes += result->copied_bytes;
  context->totals.model_ns += result->model_ns;
  for (guint i = 0; i < job->pieces->len; i++) {
    Piece *piece = &g_array_index(job->pieces, Piece, i);
    if (!piece->failed && !piece->task->answered) {
      gboolean good = ain_task_take_results(piece->task, piece->first, piece->count, result, data);
      context->totals.requests += good && piece->task->answered;
      context->totals.failures += !good;
      if (piece->task->answered) {
        ain_call_on_abandon(piece->task->call, NULL, NULL);
      }
      if (piece->task->answered && piece->task->queued) {
        dequeue(job->lane, piece->task); /* failed while later windows still waited */
      }
    }
    data += one * piece->count;
  }
}

static void job_done(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data) {
  (void)slot;
  Job *job = data;
  AinLane *lane = job->lane;
  lane->running_since = ain_loop_now();
  if (error == NULL) {
    lane->failures = 0;
    job_succeed(job, result);
    lane->copy_input |= ain_worker_kept_input(lane->worker);
  } else if (g_error_matches(error, AIN_ERROR, AIN_ERROR_CANCELLED) && !lane->closed) {
    job_requeue(job);
  } else {
    job_fail(job, error);
  }
  job_free(job);
  dispatch(lane);
}

/* --- filling
 * ------------------------------------------------------------------------------------------------- */

/* Any thread: touches the slot's memory and job->fill_*, nothing else. */
static void fill_job(gpointer data) {
  Job *job = data;
  guint8 *at = ain_slot_data(job->slot);
  job->fill_failed = job->pieces->len;
  for (guint i = 0; i < job->pieces->len; i++) {
    const Piece *piece = &g_array_index(job->pieces, Piece, i);
    for (guint32 k = 0; k < piece->count; k++, at += job->sample_size) {
      if (!ain_task_fill(piece->task, piece->first + k, at,
                         job->fill_error == NULL ? &job->fill_error : NULL)) {
        memset(at, 0, job->sample_size);
        job->fill_failed = MIN(job->fill_failed, i);
      }
    }
  }
}

static void submit_job(gpointer data) {
  Job *job = data;
  AinLane *lane = job->lane;
  if (job->fill_failed < job->pieces->len) {
    Piece *piece = &g_array_index(job->pieces, Piece, job->fill_failed);
    piece->failed = TRUE;
    fail_task(lane, piece->task, job->fill_error);
  }
  if (lane->jobs->len == 1) {
    lane->running_since = ain_loop_now();
  }
  ain_slot_submit(job->slot, job_done, job);
}

static void start_job(AinLane *lane, Job *job) {
  g_autoptr(GError) error = NULL;
  const Piece *first = &g_array_index(job->pieces, Piece, 0);
  AinJobShape shape = {
    .dtype = lane->model->dtype,
    .batch = job->n_samples,
    .rows = first->task->rows,
    .columns = first->task->columns,
    .copy_input = lane->model->writes_input || lane->copy_input,
    .options = first->task->options,
    .output_length = first->task->output_length,
  };
  g_ptr_array_add(lane->jobs, job);
  job->slot = ain_slot_take(lane->worker, &shape, &error);
  if (job->slot == NULL) {
    job_fail(job, error);
    job_free(job);
    return;
  }
  if (job->sample_size * job->n_samples > INLINE_BYTES) {
    ain_loop_offload(lane->context->loop, fill_job, submit_job, job);
  } else {
    fill_job(job);
    submit_job(job);
  }
}

/* --- the worker
 * ---------------------------------------------------------------------------------------------- */

static gint64 backoff(const AinLane *lane) {
  if (lane->failures <= 1) {
    return 0; /* the first crash costs its request only */
  }
  return MIN(BACKOFF_FIRST_US << MIN(lane->failures - 2, 16U), BACKOFF_MAX_US);
}

static void retry_due(gpointer data) {
  AinLane *lane = data;
  lane->retry = NULL;
  start_worker(lane);
}

static void worker_loaded(AinWorker *worker, const char *findings, gpointer data) {
  (void)worker;
  (void)findings;
  AinLane *lane = data;
  lane->ready = TRUE;
  g_clear_error(&lane->load_error);
  dispatch(lane);
}

static void worker_ended(AinWorker *worker, const GError *error, gpointer data) {
  AinLane *lane = data;
  gboolean was_ready = lane->ready;
  g_autoptr(GError) reason = g_error_copy(error);
  ain_worker_free(worker);
  lane->worker = NULL;
  lane->ready = FALSE;
  lane->failures++;
  if (lane->closed) {
    wind_down(lane);
    return;
  }
  g_warning("model %s: %s", lane->model->id, reason->message);
  if (!was_ready) {
    g_clear_error(&lane->load_error);
    lane->load_error = g_error_copy(reason);
    lane->load_again = ain_loop_now() + LOAD_RETRY_US;
    fail_queue(lane, reason);
  }
  if (!g_queue_is_empty(&lane->queue) && lane->retry == NULL) {
    lane->retry = ain_loop_timer(lane->context->loop, ain_loop_now() + backoff(lane), retry_due, lane);
  }
}

static const AinWorkerEvents worker_events = { worker_loaded, worker_ended };

static void start_worker(AinLane *lane) {
  if (lane->worker != NULL || lane->retry != NULL) {
    return;
  }
  const AinModel *model = lane->model;
  AinWorkerSpec spec = {
    .name = model->id,
    .kind = ain_model_kind_name(model->kind),
    .directory = model->directory,
    .dtype = model->dtype,
    .input_shape = { model->input_shape[0], model->input_shape[1] },
    .output_shape = { model->output_shape[0], model->output_shape[1] },
    .max_batch = batch_limit(lane),
    .memory_bytes = lane->context->config.worker_memory_bytes,
    .official_numbers = lane->context->config.official_numbers,
  };
  if (ain_model_is_flexible(model)) { /* so large are the slots; larger requests get memory of their own */
    spec.input_shape[0] = AIN_TASK_USUAL_ROWS;
    spec.input_shape[1] = 1;
  }
  lane->context->totals.workers++;
  lane->worker = ain_worker_start(lane->context->runtime, &spec, &worker_events, lane);
}

/* The second slot is for what arrives while the first is computed. For models that batch it is filled only
 * when as much waits as is being computed: requests then meet in batches instead of trickling one by one. */
static gboolean worth_a_job(AinLane *lane) {
  if (lane->jobs->len == 0 || batch_limit(lane) == 1) {
    return TRUE;
  }
  const Job *running = g_ptr_array_index(lane->jobs, 0);
  return g_queue_get_length(&lane->queue) >= MIN(running->n_samples, batch_limit(lane));
}

/* A model that holds on to request arrays gets copies from now on, in a fresh worker: the old one's slots are
 * not ours to reuse. */
static void replace_keeper(AinLane *lane) {
  if (lane->jobs->len == 0 && lane->ready && ain_worker_kept_input(lane->worker) && lane->failures == 0
      && !lane->model->writes_input) {
    g_message("model %s keeps its input arrays: it gets copies from now on", lane->model->id);
    g_autoptr(GError) error =
        g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "replaced, the model keeps its input");
    ain_worker_kill(lane->worker, error);
  }
}

static void check_deadline(gpointer data);

static void watch_deadline(AinLane *lane) {
  gint64 limit = lane->context->config.inference_timeout_us;
  if (limit > 0 && lane->deadline == NULL && lane->jobs->len > 0) {
    lane->deadline = ain_loop_timer(lane->context->loop, lane->running_since + limit, check_deadline, lane);
  }
}

static void check_deadline(gpointer data) {
  AinLane *lane = data;
  gint64 limit = lane->context->config.inference_timeout_us;
  lane->deadline = NULL;
  if (lane->jobs->len > 0 && lane->worker != NULL && ain_loop_now() - lane->running_since >= limit) {
    g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_TIMEOUT,
                                          "model [%s] did not answer within %" G_GINT64_FORMAT
                                          " ms (ain_inference_timeout_ms) and was stopped",
                                          lane->model->id, limit / 1000);
    ain_worker_kill(lane->worker, error);
    return;
  }
  watch_deadline(lane);
}

/* A closed lane goes when its jobs and its worker have gone. Nobody touches the lane after dispatch(). */
static void wind_down(AinLane *lane) {
  if (lane->jobs->len > 0) {
    return;
  }
  if (lane->worker == NULL) {
    lane_free(lane);
    return;
  }
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "unloaded");
  ain_worker_kill(lane->worker, error);
}

static void dispatch(AinLane *lane) {
  if (lane->closed) {
    wind_down(lane);
    return;
  }
  replace_keeper(lane);
  while (lane->ready && !g_queue_is_empty(&lane->queue) && ain_worker_free_slots(lane->worker) > 0
         && worth_a_job(lane)) {
    start_job(lane, gather(lane));
  }
  watch_deadline(lane);
  if (lane->worker == NULL && !g_queue_is_empty(&lane->queue)) {
    start_worker(lane);
  }
}

/* --- callers that go away
 * ------------------------------------------------------------------------------------ */

static gboolean all_abandoned(const Job *job) {
  for (guint i = 0; i < job->pieces->len; i++) {
    if (!g_array_index(job->pieces, Piece, i).task->abandoned) {
      return FALSE;
    }
  }
  return TRUE;
}

static void check_orphans(gpointer data) {
  AinLane *lane = data;
  gboolean waiting = FALSE;
  lane->orphans = NULL;
  for (guint i = 0; i < lane->jobs->len; i++) {
    const Job *job = g_ptr_array_index(lane->jobs, i);
    if (all_abandoned(job) && job->slot != NULL && ain_slot_is_running(job->slot)) {
      g_autoptr(GError) error =
          g_error_new(AIN_ERROR, AIN_ERROR_TIMEOUT, "nobody waits for the answer of model [%s] any more",
                      lane->model->id);
      ain_worker_kill(lane->worker, error);
      return;
    }
    waiting |= all_abandoned(job);
  }
  if (waiting) {
    lane->orphans = ain_loop_timer(
        lane->context->loop, ain_loop_now() + lane->context->config.orphan_grace_us, check_orphans, lane);
  }
}

static void task_abandoned(AinCall *call, gpointer data) {
  (void)call;
  AinTask *task = data;
  AinLane *lane = task->lane;
  task->abandoned = TRUE;
  if (task->in_flight == 0) {
    g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the caller has gone");
    fail_task(lane, task, error);
    task_settle(lane, task);
  } else if (lane->orphans == NULL) {
    lane->orphans = ain_loop_timer(
        lane->context->loop, ain_loop_now() + lane->context->config.orphan_grace_us, check_orphans, lane);
  }
}

/* --- the lane
 * ------------------------------------------------------------------------------------------------ */

AinLane *ain_lane_new(AinLaneContext *context, AinModel *model) {
  AinLane *lane = g_new0(AinLane, 1);
  lane->context = context;
  lane->model = ain_model_ref(model);
  g_queue_init(&lane->queue);
  lane->jobs = g_ptr_array_new();
  context->n_lanes++;
  return lane;
}

static void lane_free(AinLane *lane) {
  AinLaneContext *context = lane->context;
  ain_loop_timer_stop(lane->deadline);
  ain_loop_timer_stop(lane->orphans);
  ain_loop_timer_stop(lane->retry);
  g_clear_error(&lane->load_error);
  g_ptr_array_unref(lane->jobs);
  ain_model_unref(lane->model);
  g_free(lane);
  if (--context->n_lanes == 0 && context->idle != NULL) {
    context->idle(context->idle_data);
  }
}

void ain_lane_close(AinLane *lane, gboolean now, const GError *reason) {
  lane->closed = TRUE;
  fail_queue(lane, reason);
  if (now && lane->worker != NULL) {
    ain_worker_kill(lane->worker, reason);
  }
  wind_down(lane);
}

static gboolean has_room(AinLane *lane, const AinTask *task, GError **error) {
  const AinSchedulerConfig *config = &lane->context->config;
  if (g_queue_get_length(&lane->queue) < config->queue_max_requests
      && lane->queued_bytes + ain_task_size(task) <= MAX(config->queue_max_bytes, ain_task_size(task))) {
    return TRUE;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_BUSY,
              "model [%s] has %u requests waiting (%" G_GUINT64_FORMAT
              " bytes), more than ain_queue_max_requests or ain_queue_max_bytes allow: try again later",
              lane->model->id, g_queue_get_length(&lane->queue), lane->queued_bytes);
  return FALSE;
}

void ain_lane_add(AinLane *lane, AinTask *task) {
  g_autoptr(GError) error = NULL;
  task->lane = lane;
  lane->context->pending++;
  if (lane->load_error != NULL && lane->worker == NULL && ain_loop_now() < lane->load_again) {
    fail_task(lane, task, lane->load_error);
    task_settle(lane, task);
    return;
  }
  if (!has_room(lane, task, &error)) {
    fail_task(lane, task, error);
    task_settle(lane, task);
    return;
  }
  ain_call_on_abandon(task->call, task_abandoned, task);
  enqueue(lane, task, FALSE);
  dispatch(lane);
}
