/* One worker of a lane and the jobs it has: gathering, filling, answering, deadlines. */
#include "schedule/internal.h"

#include "base/error.h"

#include <string.h>

/* Decoding more than this is done on a helper thread, so that heartbeats never wait for it. */
#define INLINE_BYTES (G_GUINT64_CONSTANT(256) * 1024)
/* An orphan that waits for its turn in the worker is looked at again after so long. */
#define ORPHAN_LOOK_US (G_GINT64_CONSTANT(100) * 1000)
/* A model that batches and runs for so long waits for those whose requests it has just answered to ask again:
 * a share of the time of a run, and not for the next few jobs when nobody came. */
#define LONG_RUN_US (G_GINT64_CONSTANT(20) * 1000)
#define COMPANY_SHARE 16
#define COMPANY_MAX_US (G_GINT64_CONSTANT(10) * 1000)
#define UNMET_JOBS 16U

typedef struct {
  AinTask *task;
  guint32 first;
  guint32 count;
  GError *error; /* its input could not be converted: it was answered, zeros are in its place; written by the
                    filling thread */
} Piece;

typedef struct {
  AinRunner *runner;
  AinSlot *slot;
  GArray *pieces; /* Piece */
  guint32 n_samples;
  gsize sample_size;
} Job;

/* --- batches --- */

static guint count_under_way(const AinRunner *runner) {
  guint count = g_queue_get_length(&runner->lane->queue);
  for (guint i = 0; i < runner->jobs->len; i++) {
    count += ((const Job *)g_ptr_array_index(runner->jobs, i))->pieces->len;
  }
  return count;
}

/* Of the requests that are under way at once, the most seen lately, in sixteenths: clients that wait for one
 * another's batch come back a few at a time, and the few must not be taken for all there are. */
static void note_crowd(AinRunner *runner) {
  runner->crowd = MAX(count_under_way(runner) * 16, runner->crowd - runner->crowd / 16);
}

/* One batch of a model that runs for long costs less than two halves that take turns, and the time that the
 * second slot saves is nothing beside it. */
static gboolean runs_long(const AinRunner *runner) {
  return runner->run_us >= LONG_RUN_US && ain_lane_batch_limit(runner->lane) > 1;
}

gint64 ain_runner_company_until(AinRunner *runner) {
  guint waiting = g_queue_get_length(&runner->lane->queue);
  if (runner->jobs->len > 0 || !runs_long(runner) || runner->unmet > 0 || waiting >= runner->crowd / 16) {
    return 0;
  }
  gint64 until = runner->running_since + MIN(runner->run_us / COMPANY_SHARE, COMPANY_MAX_US);
  if (runner->awaited_at == 0 && ain_loop_now() < until) {
    runner->awaited_at = waiting;
  }
  return until;
}

/* Before a job takes from the queue. */
static void note_company(AinRunner *runner) {
  if (runner->awaited_at > 0 && g_queue_get_length(&runner->lane->queue) <= runner->awaited_at) {
    runner->unmet = UNMET_JOBS;
  } else if (runner->unmet > 0) {
    runner->unmet--;
  }
  runner->awaited_at = 0;
}

/* --- the end of a job --- */

static void job_free(Job *job) {
  AinLane *lane = job->runner->lane;
  g_ptr_array_remove_fast(job->runner->jobs, job);
  ain_slot_release(job->slot);
  for (guint i = 0; i < job->pieces->len; i++) {
    Piece *piece = &g_array_index(job->pieces, Piece, i);
    g_clear_error(&piece->error);
    piece->task->in_flight--;
    ain_lane_settle(lane, piece->task);
  }
  g_array_unref(job->pieces);
  g_free(job);
}

static void job_fail(Job *job, const GError *error) {
  for (guint i = 0; i < job->pieces->len; i++) {
    ain_lane_fail(job->runner->lane, g_array_index(job->pieces, Piece, i).task, error);
  }
}

/* The worker ended before it began this job, or the job is to be taken apart: its requests go back to the
 * head of the queue, in their order. */
static void job_requeue(Job *job) {
  g_autoptr(GError) gone = NULL;
  for (guint i = job->pieces->len; i > 0; i--) {
    Piece *piece = &g_array_index(job->pieces, Piece, i - 1);
    AinTask *task = piece->task;
    if (task->answered) {
      continue;
    }
    if (task->abandoned) {
      if (gone == NULL) {
        gone = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the caller has gone");
      }
      ain_lane_fail(job->runner->lane, task, gone);
      continue;
    }
    task->next = MIN(task->next, piece->first);
    if (!task->queued) {
      ain_lane_enqueue(job->runner->lane, task, TRUE);
    }
  }
}

/* One request that the model cannot stand must not fail those that happened to wait beside it. */
static gboolean take_apart(Job *job, const GError *error) {
  if (!g_error_matches(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED) || job->pieces->len < 2
      || ain_lane_is_over(job->runner->lane)) {
    return FALSE;
  }
  for (guint i = 0; i < job->pieces->len; i++) {
    g_array_index(job->pieces, Piece, i).task->alone = TRUE;
  }
  job_requeue(job);
  return TRUE;
}

/* A batch whose answer has the wrong shape: one of its requests may have led the model astray. */
static gboolean take_apart_misshapen(Job *job, const AinJobResult *result) {
  g_autoptr(GError) error = NULL;
  return job->pieces->len > 1
         && !ain_task_check_result(g_array_index(job->pieces, Piece, 0).task, result, &error)
         && take_apart(job, error);
}

static void take_piece(AinLane *lane, const Piece *piece, const AinJobResult *result, const guint8 *data) {
  AinTask *task = piece->task;
  if (piece->error != NULL || task->answered) {
    return;
  }
  ain_lane_keep_result(lane, task, result, data);
  gboolean good = ain_task_take_results(task, piece->first, piece->count, result, data);
  lane->context->totals.requests += good && task->answered;
  lane->context->totals.failures += !good;
  if (task->answered) {
    ain_call_on_abandon(task->call, NULL, NULL);
    if (task->queued) {
      ain_lane_dequeue(lane, task); /* failed while later windows still waited */
    }
  }
}

static void job_succeed(Job *job, const AinJobResult *result) {
  AinLane *lane = job->runner->lane;
  AinSchedulerTotals *totals = &lane->context->totals;
  const guint8 *data = result->data;
  gsize one = (gsize)result->rows * result->columns * ain_dtype_size(result->dtype);
  totals->jobs++;
  totals->samples += job->n_samples;
  totals->copied_bytes += result->copied_bytes;
  totals->model_ns += result->model_ns;
  job->runner->run_us = result->model_ns / 1000;
  lane->failures = 0;
  for (guint i = 0; i < job->pieces->len; i++) {
    const Piece *piece = &g_array_index(job->pieces, Piece, i);
    take_piece(lane, piece, result, data);
    data += one * piece->count;
  }
}

/* A model that holds on to request arrays gets copies from now on, in a fresh worker: the old one's slots are
 * not ours to reuse. */
static void replace_keeper(AinRunner *runner) {
  AinLane *lane = runner->lane;
  if (!ain_worker_kept_input(runner->worker) || lane->model->writes_input) {
    return;
  }
  lane->copy_input = TRUE;
  runner->leaving = TRUE;
  g_message("model %s keeps its input arrays: it gets copies from now on", lane->model->id);
}

static void job_done(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data) {
  (void)slot;
  Job *job = data;
  AinRunner *runner = job->runner;
  AinLane *lane = runner->lane;
  runner->submitted--;
  runner->running_since = ain_loop_now();
  if (runs_long(runner)) { /* with those that came meanwhile */
    runner->crowd = MAX(runner->crowd, count_under_way(runner) * 16);
  }
  if (error == NULL) {
    if (!take_apart_misshapen(job, result)) {
      job_succeed(job, result);
    }
  } else if (ain_lane_failure(lane) != NULL) {
    job_fail(job, ain_lane_failure(lane)); /* the queue of a failed model is served no more */
  } else if (g_error_matches(error, AIN_ERROR, AIN_ERROR_CANCELLED) && !ain_lane_is_over(lane)) {
    job_requeue(job);
  } else if (!take_apart(job, error)) {
    job_fail(job, error);
  }
  if (error == NULL || g_error_matches(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED)) {
    replace_keeper(runner); /* one that raised holds the array all the same */
  }
  job_free(job);
  ain_lane_dispatch(lane);
}

/* --- the start of a job --- */

/* More than one sample only as far as memory allows; the head fits, or the job will say that it does not. */
static guint32 batch_room(const AinRunner *runner, const AinTask *head) {
  guint64 sample = MAX(ain_task_sample_bytes(head), 1);
  guint64 fitting = ain_worker_room(runner->worker) / sample;
  return (guint32)CLAMP(fitting, 1, ain_lane_batch_limit(runner->lane));
}

gboolean ain_runner_has_room(const AinRunner *runner) {
  return ain_task_sample_bytes(g_queue_peek_head(&runner->lane->queue)) <= ain_worker_room(runner->worker);
}

gboolean ain_runner_is_dispensable(const AinRunner *runner) {
  const AinLane *lane = runner->lane;
  return runner->ready && !runner->leaving && !lane->closed && runner->jobs->len == 0
         && g_queue_is_empty((GQueue *)&lane->queue) && !ain_lane_is_pinned(lane, runner->device);
}

/* Whatever waits and has the head's shape, up to the limit. */
static Job *gather(AinRunner *runner) {
  AinLane *lane = runner->lane;
  Job *job = g_new0(Job, 1);
  job->runner = runner;
  job->pieces = g_array_new(FALSE, TRUE, sizeof(Piece));
  const AinTask *last = NULL;
  const AinTask *head = g_queue_peek_head(&lane->queue);
  guint32 room = batch_room(runner, head);
  job->sample_size = (gsize)head->rows * (gsize)head->columns * ain_dtype_size(lane->model->dtype);
  while (room > 0 && !g_queue_is_empty(&lane->queue)) {
    AinTask *task = g_queue_peek_head(&lane->queue);
    if (!ain_task_fits(task, head) || (job->n_samples > 0 && (task->alone || last->alone))) {
      break;
    }
    last = task;
    Piece piece = { .task = task, .first = task->next, .count = MIN(room, task->n_samples - task->next) };
    task->next += piece.count;
    task->in_flight++;
    if (task->next == task->n_samples) {
      ain_lane_dequeue(lane, task);
    }
    g_array_append_val(job->pieces, piece);
    job->n_samples += piece.count;
    room -= piece.count;
  }
  return job;
}

/* Any thread: touches the slot's memory and the pieces' errors, nothing else. */
static void fill_job(gpointer data) {
  Job *job = data;
  guint8 *at = ain_slot_data(job->slot);
  for (guint i = 0; i < job->pieces->len; i++) {
    Piece *piece = &g_array_index(job->pieces, Piece, i);
    for (guint32 k = 0; k < piece->count; k++, at += job->sample_size) {
      if (piece->error != NULL || !ain_task_fill(piece->task, piece->first + k, at, &piece->error)) {
        memset(at, 0, job->sample_size);
      }
    }
  }
}

/* FALSE: nothing of the job is left to run. */
static gboolean refuse_unfilled(Job *job) {
  gboolean left = FALSE;
  for (guint i = 0; i < job->pieces->len; i++) {
    const Piece *piece = &g_array_index(job->pieces, Piece, i);
    if (piece->error != NULL) {
      ain_lane_fail(job->runner->lane, piece->task, piece->error);
    }
    left |= !piece->task->answered;
  }
  return left;
}

static void check_deadline(gpointer data);

static void watch_deadline(AinRunner *runner) {
  const AinLaneContext *context = runner->lane->context;
  gint64 limit = context->config.inference_timeout_us;
  if (limit > 0 && runner->deadline == NULL) {
    runner->deadline = ain_loop_timer(context->loop, runner->running_since + limit, check_deadline, runner);
  }
}

/* The timer outlives the job it was set for: most find that another one began since, or none. */
static void check_deadline(gpointer data) {
  AinRunner *runner = data;
  gint64 limit = runner->lane->context->config.inference_timeout_us;
  runner->deadline = NULL;
  if (runner->submitted == 0) {
    return;
  }
  if (limit == 0 || ain_loop_now() - runner->running_since < limit) {
    watch_deadline(runner);
    return;
  }
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_TIMEOUT,
                                        "model [%s] did not answer within %" G_GINT64_FORMAT
                                        " ms (ain_inference_timeout_ms) and was stopped",
                                        runner->lane->model->id, limit / 1000);
  ain_worker_kill(runner->worker, error);
}

/* FALSE: the job was given up, because nothing of it is left to run. */
static gboolean submit_job(Job *job) {
  AinRunner *runner = job->runner;
  if (!refuse_unfilled(job)) {
    job_free(job);
    return FALSE;
  }
  if (runner->submitted++ == 0) {
    runner->running_since = ain_loop_now();
  }
  watch_deadline(runner);
  ain_slot_submit(job->slot, job_done, job); /* may end the job, and with it the runner */
  return TRUE;
}

static void submit_filled(gpointer data) {
  Job *job = data;
  AinLane *lane = job->runner->lane;
  if (!submit_job(job)) {
    ain_lane_dispatch(lane);
  }
}

void ain_runner_start_job(AinRunner *runner) {
  g_autoptr(GError) error = NULL;
  AinLane *lane = runner->lane;
  note_company(runner);
  note_crowd(runner);
  Job *job = gather(runner);
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
  g_ptr_array_add(runner->jobs, job);
  job->slot = ain_slot_take(runner->worker, &shape, &error);
  if (job->slot == NULL) {
    job_fail(job, error);
    job_free(job);
    return;
  }
  if (job->sample_size * job->n_samples > INLINE_BYTES) {
    ain_loop_offload(lane->context->loop, fill_job, submit_filled, job);
  } else {
    fill_job(job);
    (void)submit_job(job); /* whoever dispatches goes on anyway */
  }
}

/* The second slot is for what arrives while the first is computed. For models that batch it is filled only
 * when as much waits as is being computed, and half of all that may come: requests then meet in two batches
 * that take turns, instead of trickling one by one. */
gboolean ain_runner_wants_job(AinRunner *runner) {
  if (!runner->ready || runner->leaving || ain_worker_free_slots(runner->worker) == 0) {
    return FALSE;
  }
  guint limit = ain_lane_batch_limit(runner->lane);
  if (runner->jobs->len == 0 || limit == 1) {
    return TRUE;
  }
  if (runs_long(runner)) {
    return FALSE;
  }
  const Job *running = g_ptr_array_index(runner->jobs, 0);
  return g_queue_get_length(&runner->lane->queue) >= MIN(MAX(running->n_samples, runner->crowd / 32), limit);
}

AinTask *ain_runner_find_task(const AinRunner *runner, gboolean (*matches)(AinTask *task, gpointer data),
                              gpointer data) {
  for (guint i = 0; i < runner->jobs->len; i++) {
    const Job *job = g_ptr_array_index(runner->jobs, i);
    for (guint k = 0; k < job->pieces->len; k++) {
      AinTask *task = g_array_index(job->pieces, Piece, k).task;
      if (matches(task, data)) {
        return task;
      }
    }
  }
  return NULL;
}

void ain_runner_each_unbegun(const AinRunner *runner, void (*func)(AinTask *task, gpointer data),
                             gpointer data) {
  for (guint i = 0; i < runner->jobs->len; i++) {
    const Job *job = g_ptr_array_index(runner->jobs, i);
    for (guint k = 0; !ain_slot_is_running(job->slot) && k < job->pieces->len; k++) {
      func(g_array_index(job->pieces, Piece, k).task, data);
    }
  }
}

/* When the last of the job's callers went, or 0 while one is left. */
static gint64 abandoned_at(const Job *job) {
  gint64 last = 0;
  for (guint i = 0; i < job->pieces->len; i++) {
    const AinTask *task = g_array_index(job->pieces, Piece, i).task;
    if (!task->abandoned) {
      return 0;
    }
    last = MAX(last, task->abandoned_at);
  }
  return last;
}

void ain_runner_end_orphan(AinRunner *runner, gint64 now, gint64 *next) {
  for (guint i = 0; i < runner->jobs->len; i++) {
    const Job *job = g_ptr_array_index(runner->jobs, i);
    gint64 since = abandoned_at(job);
    if (since == 0) {
      continue;
    }
    gint64 until = since + runner->lane->context->config.orphan_grace_us;
    if (until > now || !ain_slot_is_running(job->slot)) {
      *next = MIN(*next, MAX(until, now + ORPHAN_LOOK_US));
      continue;
    }
    g_autoptr(GError) error =
        g_error_new(AIN_ERROR, AIN_ERROR_TIMEOUT, "nobody waits for the answer of model [%s] any more",
                    runner->lane->model->id);
    g_message("%s: its worker is replaced", error->message);
    runner->leaving = TRUE; /* by us: the model is not to blame */
    ain_worker_kill(runner->worker, error);
    return;
  }
}

/* --- the worker --- */

static void worker_loaded(AinWorker *worker, const char *findings, gpointer data) {
  (void)worker;
  (void)findings;
  AinRunner *runner = data;
  runner->ready = TRUE;
  runner->running_since = ain_loop_now();
  ain_lane_runner_ready(runner->lane, runner);
}

static void worker_ended(AinWorker *worker, const GError *error, gpointer data) {
  AinRunner *runner = data;
  gboolean was_ready = runner->ready;
  g_autoptr(GError) reason = g_error_copy(error);
  ain_worker_free(worker);
  runner->worker = NULL;
  runner->ready = FALSE;
  ain_lane_runner_ended(runner->lane, runner, was_ready, reason);
}

AinRunner *ain_runner_new(AinLane *lane, const char *device) {
  static const AinWorkerEvents events = { worker_loaded, worker_ended };
  const AinModel *model = lane->model;
  AinRunner *runner = g_new0(AinRunner, 1);
  runner->lane = lane;
  runner->device = g_strdup(device);
  runner->jobs = g_ptr_array_new();
  AinWorkerSpec spec = {
    .name = model->id,
    .kind = ain_model_kind_name(model->kind),
    .directory = model->directory,
    .device = device,
    .dtype = model->dtype,
    .input_shape = { model->input_shape[0], model->input_shape[1] },
    .output_shape = { model->output_shape[0], model->output_shape[1] },
    .max_batch = ain_lane_batch_limit(lane),
    .memory_bytes = lane->context->config.worker_memory_bytes,
    .threads = model->threads,
    .official_numbers = lane->context->config.official_numbers,
    .template = g_str_equal(device, "cpu") ? lane->template : NULL,
  };
  if (ain_model_is_flexible(model)) { /* so large are the slots; larger requests get memory of their own */
    spec.input_shape[0] = AIN_TASK_USUAL_ROWS;
    spec.input_shape[1] = 1;
  }
  lane->context->totals.workers++;
  runner->worker = ain_worker_start(lane->context->runtime, &spec, &events, runner);
  return runner;
}

void ain_runner_end(AinRunner *runner, const GError *error) {
  if (runner->worker != NULL) {
    ain_worker_kill(runner->worker, error);
  }
}

void ain_runner_free(AinRunner *runner) {
  g_assert(runner->jobs->len == 0);
  ain_loop_timer_stop(runner->deadline);
  ain_worker_free(runner->worker);
  g_ptr_array_unref(runner->jobs);
  g_free(runner->device);
  g_free(runner);
}
