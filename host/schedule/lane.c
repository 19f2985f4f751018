#include "schedule/internal.h"

#include "base/error.h"
#include "schedule/keeper.h"

#include <string.h>

#define BACKOFF_FIRST_US (G_GINT64_CONSTANT(100) * 1000)
#define BACKOFF_MAX_US (G_GINT64_CONSTANT(30) * G_USEC_PER_SEC)
/* So many ends of workers without one result in between, and the model counts as failed. */
#define CRASHES_TO_FAIL 8
/* A model that does not load is not tried again for every request of a busy client. */
#define LOAD_RETRY_US G_USEC_PER_SEC
/* Where a model runs that nobody loaded explicitly. */
#define DEFAULT_DEVICE "cpu"

/* Results kept for callers that may come back, each with its request; more, or more than
 * ain_queue_max_bytes of them, are forgotten. */
#define FINISHED_MAX 64

/* Somebody who waits for LOAD or UNLOAD. */
typedef struct {
  char *device;
  gboolean unload;
  AinSchedulerDone done;
  gpointer data;
} Waiter;

static void lane_free(AinLane *lane);
static void ensure_runners(AinLane *lane);

/* --- tasks --- */

void ain_lane_settle(AinLane *lane, AinTask *task) {
  if (task->answered && task->in_flight == 0 && !task->queued) {
    g_ptr_array_remove_fast(lane->abandoned, task);
    g_ptr_array_remove_fast(lane->retried, task);
    lane->context->pending--;
    ain_task_free(task);
  }
}

void ain_lane_enqueue(AinLane *lane, AinTask *task, gboolean at_head) {
  if (at_head) {
    g_queue_push_head(&lane->queue, task);
  } else {
    g_queue_push_tail(&lane->queue, task);
  }
  task->queued = TRUE;
  lane->queued_bytes += ain_task_size(task);
}

void ain_lane_dequeue(AinLane *lane, AinTask *task) {
  if (g_queue_peek_head(&lane->queue) == task) {
    g_queue_pop_head(&lane->queue);
  } else {
    g_queue_remove(&lane->queue, task);
  }
  task->queued = FALSE;
  lane->queued_bytes -= ain_task_size(task);
}

void ain_lane_fail(AinLane *lane, AinTask *task, const GError *error) {
  if (!task->answered) {
    lane->context->totals.failures++;
    ain_call_on_abandon(task->call, NULL, NULL);
    ain_task_fail(task, error);
  }
  if (task->queued) {
    ain_lane_dequeue(lane, task);
  }
}

static void fail_queue(AinLane *lane, const GError *error) {
  while (!g_queue_is_empty(&lane->queue)) {
    AinTask *task = g_queue_peek_head(&lane->queue);
    ain_lane_fail(lane, task, error);
    ain_lane_settle(lane, task);
  }
}

guint ain_lane_batch_limit(const AinLane *lane) {
  return lane->context->config.batching ? MAX(lane->model->max_batch, 1U) : 1U;
}

/* --- LOAD and UNLOAD --- */

static guint find_pin(const AinLane *lane, const char *device) {
  for (guint i = 0; i < lane->pins->len; i++) {
    if (g_str_equal(g_ptr_array_index(lane->pins, i), device)) {
      return i;
    }
  }
  return G_MAXUINT;
}

gboolean ain_lane_is_pinned(const AinLane *lane, const char *device) {
  return find_pin(lane, device) != G_MAXUINT;
}

static guint count_runners(const AinLane *lane, const char *device, gboolean ready_only) {
  guint count = 0;
  for (guint i = 0; i < lane->runners->len; i++) {
    const AinRunner *runner = g_ptr_array_index(lane->runners, i);
    count += g_str_equal(runner->device, device) && !runner->leaving && (runner->ready || !ready_only);
  }
  return count;
}

guint ain_lane_loaded(const AinLane *lane, const char *device) {
  return count_runners(lane, device, TRUE);
}

static gboolean device_is_empty(const AinLane *lane, const char *device) {
  for (guint i = 0; i < lane->runners->len; i++) {
    const AinRunner *runner = g_ptr_array_index(lane->runners, i);
    if (g_str_equal(runner->device, device)) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean someone_leaves(const AinLane *lane, const char *device) {
  for (guint i = 0; i < lane->runners->len; i++) {
    const AinRunner *runner = g_ptr_array_index(lane->runners, i);
    if (runner->leaving && g_str_equal(runner->device, device)) {
      return TRUE;
    }
  }
  return FALSE;
}

static void add_waiter(AinLane *lane, const char *device, gboolean unload, AinSchedulerDone done,
                       gpointer data) {
  Waiter *waiter = g_new0(Waiter, 1);
  waiter->device = g_strdup(device);
  waiter->unload = unload;
  waiter->done = done;
  waiter->data = data;
  g_ptr_array_add(lane->waiters, waiter);
}

/* Tells those who wait on the device (NULL: on any) for `unload`; the callbacks must not change the lane. */
static void tell_waiters(AinLane *lane, const char *device, gboolean unload, const GError *error) {
  for (guint i = lane->waiters->len; i > 0; i--) {
    Waiter *waiter = g_ptr_array_index(lane->waiters, i - 1);
    if (waiter->unload == unload && (device == NULL || g_str_equal(waiter->device, device))) {
      g_ptr_array_remove_index(lane->waiters, i - 1);
      waiter->done(error, waiter->data);
      g_free(waiter->device);
      g_free(waiter);
    }
  }
}

void ain_lane_load(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data) {
  g_clear_error(&lane->load_error); /* LOAD heals a failed model */
  lane->load_again = 0;
  lane->failures = 0;
  ain_loop_timer_stop(g_steal_pointer(&lane->retry)); /* and does not wait until the next try is due */
  if (find_pin(lane, device) == G_MAXUINT) {
    g_ptr_array_add(lane->pins, g_strdup(device));
  }
  if (count_runners(lane, device, TRUE) > 0) {
    done(NULL, data);
    return;
  }
  add_waiter(lane, device, FALSE, done, data);
  ensure_runners(lane);
}

void ain_lane_warm(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data) {
  if (count_runners(lane, device, TRUE) > 0) {
    done(NULL, data);
    return;
  }
  add_waiter(lane, device, FALSE, done, data);
  if (count_runners(lane, device, FALSE) == 0) {
    g_ptr_array_add(lane->runners, ain_runner_new(lane, device));
  }
}

char **ain_lane_devices(const AinLane *lane, gboolean pinned) {
  GPtrArray *names = g_ptr_array_new();
  for (guint i = 0; pinned && i < lane->pins->len; i++) {
    g_ptr_array_add(names, g_strdup(g_ptr_array_index(lane->pins, i)));
  }
  for (guint i = 0; !pinned && i < lane->runners->len; i++) {
    const AinRunner *runner = g_ptr_array_index(lane->runners, i);
    if (runner->ready && !g_ptr_array_find_with_equal_func(names, runner->device, g_str_equal, NULL)) {
      g_ptr_array_add(names, g_strdup(runner->device));
    }
  }
  g_ptr_array_add(names, NULL);
  return (char **)g_ptr_array_free(names, FALSE);
}

const AinModel *ain_lane_model(const AinLane *lane) {
  return lane->model;
}

/* Whoever waits for the model to be loaded there. */
static void call_off_loading(AinLane *lane, const char *device) {
  g_autoptr(GError) error =
      g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED,
                  "model [%s] was unloaded from device [%s] before it was loaded", lane->model->id, device);
  tell_waiters(lane, device, FALSE, error);
}

void ain_lane_unload(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data) {
  guint pin = find_pin(lane, device);
  if (pin != G_MAXUINT) {
    g_ptr_array_remove_index(lane->pins, pin);
    call_off_loading(lane, device);
  }
  if (device_is_empty(lane, device)) {
    g_autoptr(GError) error = NULL;
    if (pin == G_MAXUINT) { /* else it was to be loaded, or again, after a while */
      error = g_error_new(AIN_ERROR, AIN_ERROR_INVALID,
                          "model [%s] is not loaded on device [%s]: see SHOW LOADED MODELS", lane->model->id,
                          device);
    }
    done(error, data);
    return;
  }
  for (guint i = 0; i < lane->runners->len; i++) {
    AinRunner *runner = g_ptr_array_index(lane->runners, i);
    runner->leaving |= g_str_equal(runner->device, device);
  }
  add_waiter(lane, device, TRUE, done, data);
  ain_lane_dispatch(lane);
}

/* --- the workers --- */

static gint64 backoff(const AinLane *lane) {
  if (lane->failures <= 1) {
    return 0; /* the first crash costs its request only */
  }
  return MIN(BACKOFF_FIRST_US << MIN(lane->failures - 2, 16U), BACKOFF_MAX_US);
}

static void retry_due(gpointer data) {
  AinLane *lane = data;
  lane->retry = NULL;
  ensure_runners(lane);
}

static gboolean has_failed(const AinLane *lane) {
  return lane->load_error != NULL && lane->failures >= CRASHES_TO_FAIL;
}

const GError *ain_lane_failure(const AinLane *lane) {
  return has_failed(lane) ? lane->load_error : NULL;
}

static gboolean device_wants_runner(const AinLane *lane, const char *device) {
  guint there = count_runners(lane, device, FALSE);
  gboolean crowded =
      !g_queue_is_empty((GQueue *)&lane->queue) && lane->thirst == NULL; /* another one won't help */
  return there == 0 || (crowded && there < lane->context->config.replicas);
}

/* Several workers of a model share its weights. */
static void ensure_template(AinLane *lane) {
  const AinLaneContext *context = lane->context;
  if (lane->template == NULL && context->config.replicas > 1 && lane->model->kind != AIN_KIND_STATISTICAL
      && ain_runtime_forks(context->runtime)) {
    lane->template = ain_template_new(context->runtime, lane->model->id);
  }
}

static void ensure_on(AinLane *lane, const char *device) {
  ensure_template(lane);
  if (device_wants_runner(lane, device)) {
    g_ptr_array_add(lane->runners, ain_runner_new(lane, device));
  }
}

/* Starts what is missing: the pinned devices, or one on the default device when requests wait. More replicas
 * come one at a time, while requests wait that no worker has room for. */
static void ensure_runners(AinLane *lane) {
  if (lane->closed || lane->retry != NULL || has_failed(lane)) {
    return;
  }
  for (guint i = 0; i < lane->pins->len; i++) {
    ensure_on(lane, g_ptr_array_index(lane->pins, i));
  }
  if (lane->pins->len == 0 && !g_queue_is_empty(&lane->queue)) {
    ensure_on(lane, DEFAULT_DEVICE);
  }
}

void ain_lane_runner_ready(AinLane *lane, AinRunner *runner) {
  g_clear_error(&lane->load_error);
  tell_waiters(lane, runner->device, FALSE, NULL);
  ain_keeper_look(lane->context->keeper);
  ain_lane_dispatch(lane);
}

static gboolean is_served(const AinLane *lane) {
  for (guint i = 0; i < lane->runners->len; i++) {
    const AinRunner *runner = g_ptr_array_index(lane->runners, i);
    if (runner->ready && !runner->leaving) {
      return TRUE;
    }
  }
  return FALSE;
}

/* A worker that could not load: nobody else's load would go better right now. Requests are served by those
 * that are there, if any. */
static void load_failed(AinLane *lane, const char *device, const GError *error) {
  guint pin = find_pin(lane, device);
  if (pin != G_MAXUINT && count_runners(lane, device, TRUE) == 0) {
    g_ptr_array_remove_index(lane->pins, pin);
  }
  tell_waiters(lane, device, FALSE, error);
  if (!is_served(lane)) {
    g_clear_error(&lane->load_error);
    lane->load_error = g_error_copy(error);
    lane->load_again = ain_loop_now() + LOAD_RETRY_US;
    fail_queue(lane, error);
  }
}

static void crashed(AinLane *lane, const GError *error) {
  if (lane->failures < CRASHES_TO_FAIL) {
    return;
  }
  g_clear_error(&lane->load_error);
  lane->load_error =
      g_error_new(AIN_ERROR, error->code,
                  "model [%s] has failed: its process ended %u times in a row without an answer, at last: "
                  "%s; LOAD MODEL or a new registration makes it available again",
                  lane->model->id, lane->failures, error->message);
  lane->load_again = G_MAXINT64;
  g_warning("%s", lane->load_error->message);
  fail_queue(lane, lane->load_error);
}

gboolean ain_lane_runtime_restarts(const AinLaneContext *context, const GError *error) {
  const char *reason;
  return g_error_matches(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT)
         && ain_runtime_state(context->runtime, &reason) != AIN_RUNTIME_FAILED;
}

static void count_end(AinLane *lane, const char *device, gboolean was_ready, const GError *error) {
  gint64 wait = AIN_RUNTIME_RETRY_US;
  g_warning("model %s: %s", lane->model->id, error->message);
  if (!ain_lane_runtime_restarts(lane->context, error)) {
    /* The machine has no room for it, or one more could not be had: that does not make the model a failed
     * one. */
    gboolean blameless =
        g_error_matches(error, AIN_ERROR, AIN_ERROR_EXHAUSTED) || (!was_ready && is_served(lane));
    lane->failures += blameless ? 0 : 1;
    wait = blameless ? LOAD_RETRY_US : backoff(lane);
    if (!was_ready) {
      load_failed(lane, device, error);
    }
    crashed(lane, error);
  }
  if (wait > 0 && lane->retry == NULL) {
    lane->retry = ain_loop_timer(lane->context->loop, ain_loop_now() + wait, retry_due, lane);
  }
}

void ain_lane_runner_ended(AinLane *lane, AinRunner *runner, gboolean was_ready, const GError *error) {
  /* By us; or the files of a dropped model went while it was being loaded. */
  gboolean wanted = runner->leaving || ain_lane_is_over(lane) || (lane->closed && !was_ready);
  runner->leaving = TRUE; /* until its last job, one that is being filled, has come back */
  if (!wanted) {
    count_end(lane, runner->device, was_ready, error);
  }
  ain_lane_dispatch(lane);
}

/* Ends runners that are to leave and have no job; frees those whose process is gone. */
static void sweep(AinLane *lane) {
  g_autoptr(GError) error = NULL;
  for (guint i = lane->runners->len; i > 0; i--) {
    AinRunner *runner = g_ptr_array_index(lane->runners, i - 1);
    if (!runner->leaving || runner->jobs->len > 0) {
      continue;
    }
    if (runner->worker != NULL) {
      if (error == NULL) {
        error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "unloaded");
      }
      ain_runner_end(runner, error);
      continue;
    }
    g_ptr_array_remove_index(lane->runners, i - 1);
    /* Requests may have started another one there since: unloaded are those that were asked to leave. */
    if (!someone_leaves(lane, runner->device)) {
      tell_waiters(lane, runner->device, TRUE, NULL);
    }
    ain_runner_free(runner);
  }
  if (lane->runners->len == 0) {
    g_clear_pointer(&lane->template, ain_template_free);
  }
}

/* --- dispatch --- */

static AinRunner *pick_runner(AinLane *lane) {
  AinRunner *best = NULL;
  for (guint i = 0; i < lane->runners->len; i++) {
    AinRunner *runner = g_ptr_array_index(lane->runners, i);
    if ((best == NULL || runner->jobs->len < best->jobs->len) && ain_runner_wants_job(runner)) {
      best = runner;
    }
  }
  return best;
}

static void delay_over(gpointer data) {
  AinLane *lane = data;
  lane->delay = NULL;
  ain_lane_dispatch(lane);
}

/* Fewer requests than fit wait for company: with a batch delay until the oldest has waited long enough, and
 * for those that are about to come back. */
static gboolean waits_for_company(AinLane *lane, AinRunner *runner) {
  gint64 delay = lane->context->config.max_batch_delay_us;
  if (g_queue_get_length(&lane->queue) >= ain_lane_batch_limit(lane)) {
    return FALSE;
  }
  const AinTask *oldest = g_queue_peek_head(&lane->queue);
  gint64 until = delay > 0 ? ain_call_arrival(oldest->call) + delay : 0;
  until = MAX(until, ain_runner_company_until(runner));
  if (ain_loop_now() >= until) {
    return FALSE;
  }
  if (lane->delay == NULL) {
    lane->delay = ain_loop_timer(lane->context->loop, until, delay_over, lane);
  }
  return TRUE;
}

static void thirst_quenched(gpointer data) {
  AinLane *lane = data;
  lane->thirst = NULL;
  ain_lane_dispatch(lane);
}

/* A large request waits here, with those behind it, until there is shared memory for it. */
static gboolean waits_for_room(AinLane *lane, const AinRunner *runner) {
  if (ain_runner_has_room(runner)) {
    return FALSE;
  }
  if (lane->thirst == NULL) {
    lane->thirst =
        ain_budget_wait(ain_runtime_budget(lane->context->runtime), AIN_BUDGET_REQUEST,
                        ain_task_sample_bytes(g_queue_peek_head(&lane->queue)), thirst_quenched, lane);
  }
  return TRUE;
}

static void start_jobs(AinLane *lane) {
  AinRunner *runner = NULL;
  while (!g_queue_is_empty(&lane->queue) && (runner = pick_runner(lane)) != NULL
         && !waits_for_company(lane, runner) && !waits_for_room(lane, runner)) {
    ain_runner_start_job(runner);
  }
}

/* --- the end of a closed lane --- */

static void end_drain(AinLane *lane) {
  g_autoptr(GError) reason = g_steal_pointer(&lane->drain_reason);
  ain_loop_timer_stop(g_steal_pointer(&lane->drain));
  fail_queue(lane, reason);
  for (guint i = 0; i < lane->runners->len; i++) {
    ((AinRunner *)g_ptr_array_index(lane->runners, i))->leaving = TRUE;
  }
}

static void drain_over(gpointer data) {
  AinLane *lane = data;
  lane->drain = NULL;
  end_drain(lane);
  ain_lane_dispatch(lane);
}

static guint count_serving(const AinLane *lane) {
  guint count = 0;
  for (guint i = 0; i < lane->runners->len; i++) {
    count += !((const AinRunner *)g_ptr_array_index(lane->runners, i))->leaving;
  }
  return count;
}

static void dispatch_closed(AinLane *lane) {
  if (lane->drain != NULL) {
    start_jobs(lane);
    if (g_queue_is_empty(&lane->queue) || count_serving(lane) == 0) {
      end_drain(lane);
      sweep(lane);
    }
  }
  if (lane->runners->len == 0) {
    lane_free(lane);
  }
}

void ain_lane_dispatch(AinLane *lane) {
  sweep(lane);
  if (lane->closed) {
    dispatch_closed(lane);
    return;
  }
  start_jobs(lane);
  ain_lane_watch_waiting(lane);
  if (lane->pins->len > 0 || !g_queue_is_empty(&lane->queue)) {
    ensure_runners(lane);
  }
}

/* --- callers that go away --- */

/* DataNodes of 2.0.6 and later send a call that timed out again, on a new connection. Those of 2.0.8 and
 * later do not close the old one: that the client gave up is seen only by the second call. None is configured
 * to be so impatient as to give up before RESENT_AFTER_US; what it sends again comes within RESEND_GAP_US. */
#define RESENT_AFTER_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)
#define RESEND_GAP_US G_USEC_PER_SEC
/* Tries of one request that share a run; a client that goes on asking gets a run of its own. */
#define TRIES_MAX 16U

typedef struct {
  AinCall *call; /* holds the request to compare with */
  AinJobResult result;
  guint8 *data;
  gint64 until;
  gboolean abandoned; /* the caller had gone; else it was sent the answer, but may have given up before */
} Finished;

static void finished_free(gpointer data) {
  Finished *finished = data;
  ain_call_unref(finished->call);
  g_free(finished->data);
  g_free(finished);
}

static void check_orphans(gpointer data);
static void task_abandoned(AinCall *call, gpointer data);

static void watch_orphans(AinLane *lane, gint64 next) {
  if (lane->orphans == NULL || next < lane->orphans_at) {
    ain_loop_timer_stop(lane->orphans);
    lane->orphans_at = next;
    lane->orphans = ain_loop_timer(lane->context->loop, next, check_orphans, lane);
  }
}

/* A client that asked again and again, each time after the same while, and then does so no more, has gone,
 * whatever connections it left open. */
static void find_gone(AinLane *lane, gint64 now, gint64 *next) {
  for (guint i = lane->retried->len; i > 0; i--) {
    AinTask *task = g_ptr_array_index(lane->retried, i - 1);
    gint64 asks_again = ain_call_arrival(task->call) + task->patience;
    gint64 until = asks_again + lane->context->config.orphan_grace_us;
    if (until > now) {
      *next = MIN(*next, until);
    } else if (!task->abandoned && !task->answered) {
      gboolean in_flight = task->in_flight > 0;
      ain_call_on_abandon(task->call, NULL, NULL);
      task_abandoned(task->call, task); /* frees it unless it is in flight */
      if (in_flight) {
        task->abandoned_at = asks_again;
      }
    }
  }
}

static void check_orphans(gpointer data) {
  AinLane *lane = data;
  gint64 now = ain_loop_now();
  gint64 next = G_MAXINT64;
  lane->orphans = NULL;
  find_gone(lane, now, &next);
  for (guint i = 0; i < lane->runners->len; i++) {
    ain_runner_end_orphan(g_ptr_array_index(lane->runners, i), now, &next);
  }
  for (guint i = lane->finished->len; i > 0; i--) {
    const Finished *finished = g_ptr_array_index(lane->finished, i - 1);
    if (finished->until <= now) {
      g_ptr_array_remove_index_fast(lane->finished, i - 1);
    } else {
      next = MIN(next, finished->until);
    }
  }
  if (next < G_MAXINT64) {
    watch_orphans(lane, next);
  }
}

/* So long ago that its client may have given up by now. */
static gboolean is_old(const AinTask *task, gint64 now) {
  return now - ain_call_arrival(task->call) >= RESENT_AFTER_US && ain_call_family(task->call) >= AIN_FAMILY_F;
}

/* Of the result and of the request that it is kept with. */
static guint64 finished_bytes(const AinJobResult *result, const AinCall *call) {
  return (guint64)result->rows * result->columns * ain_dtype_size(result->dtype)
         + ain_call_request(call)->dataset.size;
}

static gboolean has_room_to_keep(const AinLane *lane, const AinJobResult *result, const AinCall *call) {
  guint64 bytes = finished_bytes(result, call);
  for (guint i = 0; i < lane->finished->len; i++) {
    const Finished *finished = g_ptr_array_index(lane->finished, i);
    bytes += finished_bytes(&finished->result, finished->call);
  }
  return lane->finished->len == 0
         || (lane->finished->len < FINISHED_MAX && bytes <= lane->context->config.queue_max_bytes);
}

void ain_lane_keep_result(AinLane *lane, AinTask *task, const AinJobResult *result, const guint8 *data) {
  gint64 now = ain_loop_now();
  gboolean wanted = task->n_samples == 1 && (task->abandoned || is_old(task, now));
  if (!wanted || !has_room_to_keep(lane, result, task->call)) {
    return;
  }
  Finished *finished = g_new0(Finished, 1);
  finished->call = ain_call_ref(task->call);
  finished->result = *result;
  finished->data = g_memdup2(data, (gsize)result->rows * result->columns * ain_dtype_size(result->dtype));
  finished->until = now + (task->abandoned ? lane->context->config.orphan_grace_us : RESEND_GAP_US);
  finished->abandoned = task->abandoned;
  g_ptr_array_add(lane->finished, finished);
  watch_orphans(lane, finished->until);
}

static void task_abandoned(AinCall *call, gpointer data) {
  (void)call;
  AinTask *task = data;
  AinLane *lane = task->lane;
  task->abandoned = TRUE;
  task->abandoned_at = ain_loop_now();
  if (task->in_flight == 0) {
    g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the caller has gone");
    ain_lane_fail(lane, task, error);
    ain_lane_settle(lane, task);
  } else {
    g_ptr_array_add(lane->abandoned, task);
    watch_orphans(lane, task->abandoned_at + lane->context->config.orphan_grace_us);
  }
}

static gboolean matches_abandoned(AinTask *earlier, const AinTask *task) {
  return !earlier->answered
         && ain_task_is_resent(ain_call_request(earlier->call), ain_call_request(task->call));
}

/* The client of the earlier one has not closed its connection, but is not heard of there any more. */
static gboolean matches_given_up(AinTask *earlier, gpointer data) {
  const AinTask *task = data;
  return !earlier->abandoned && is_old(earlier, ain_call_arrival(task->call))
         && (earlier->earlier == NULL || earlier->earlier->len < TRIES_MAX)
         && ain_call_may_repeat(task->call, earlier->call) && matches_abandoned(earlier, task);
}

static AinTask *find_given_up(const AinLane *lane, AinTask *task) {
  AinTask *found = NULL;
  for (guint i = 0; i < lane->runners->len && found == NULL; i++) {
    found = ain_runner_find_task(g_ptr_array_index(lane->runners, i), matches_given_up, task);
  }
  for (GList *link = lane->queue.head; link != NULL && found == NULL; link = link->next) {
    const AinTask *one = link->data;
    if (ain_call_arrival(task->call) - ain_call_arrival(one->source != NULL ? one->source : one->call)
        < RESENT_AFTER_US) {
      break; /* the others came later */
    }
    found = matches_given_up(link->data, task) ? link->data : NULL;
  }
  return found;
}

static void note_patience(AinLane *lane, AinTask *earlier, const AinTask *again) {
  gint64 now = ain_call_arrival(again->call);
  if (earlier->patience == 0) {
    g_ptr_array_add(lane->retried, earlier);
  }
  earlier->patience = now - ain_call_arrival(earlier->call);
}

static gboolean take_over_running(AinLane *lane, AinTask *task) {
  AinTask *earlier = NULL;
  for (guint i = 0; i < lane->abandoned->len && earlier == NULL; i++) {
    AinTask *one = g_ptr_array_index(lane->abandoned, i);
    earlier = matches_abandoned(one, task) ? one : NULL;
  }
  if (earlier == NULL && ain_call_is_first(task->call)) {
    earlier = find_given_up(lane, task);
    if (earlier != NULL) {
      note_patience(lane, earlier, task);
    }
  }
  if (earlier == NULL) {
    return FALSE;
  }
  g_ptr_array_remove_fast(lane->abandoned, earlier);
  ain_call_on_abandon(earlier->call, NULL, NULL);
  ain_task_take_over(earlier, task);
  ain_call_on_abandon(earlier->call, task_abandoned, earlier);
  if (earlier->patience > 0) {
    watch_orphans(lane, ain_call_arrival(earlier->call) + earlier->patience
                            + lane->context->config.orphan_grace_us);
  }
  lane->context->pending--;
  return TRUE;
}

static gboolean answer_from_finished(AinLane *lane, AinTask *task) {
  for (guint i = 0; i < lane->finished->len; i++) {
    const Finished *finished = g_ptr_array_index(lane->finished, i);
    if (task->n_samples == 1 && finished->until > ain_loop_now()
        && (finished->abandoned || ain_call_is_first(task->call))
        && ain_task_is_resent(ain_call_request(finished->call), ain_call_request(task->call))) {
      lane->context->totals.requests += ain_task_take_results(task, 0, 1, &finished->result, finished->data);
      g_ptr_array_remove_index_fast(lane->finished, i);
      ain_lane_settle(lane, task);
      return TRUE;
    }
  }
  return FALSE;
}

/* --- the lane --- */

AinLane *ain_lane_new(AinLaneContext *context, AinModel *model) {
  AinLane *lane = g_new0(AinLane, 1);
  lane->context = context;
  lane->model = ain_model_ref(model);
  g_queue_init(&lane->queue);
  lane->runners = g_ptr_array_new();
  lane->pins = g_ptr_array_new_with_free_func(g_free);
  lane->waiters = g_ptr_array_new();
  lane->abandoned = g_ptr_array_new();
  lane->retried = g_ptr_array_new();
  lane->finished = g_ptr_array_new_with_free_func(finished_free);
  g_ptr_array_add(context->lanes, lane);
  return lane;
}

static void lane_free(AinLane *lane) {
  AinLaneContext *context = lane->context;
  ain_loop_timer_stop(lane->orphans);
  ain_loop_timer_stop(lane->retry);
  ain_loop_timer_stop(lane->delay);
  ain_loop_timer_stop(lane->overdue);
  ain_budget_forget(lane->thirst);
  ain_loop_timer_stop(lane->drain);
  g_clear_error(&lane->drain_reason);
  g_clear_error(&lane->load_error);
  g_ptr_array_unref(lane->runners);
  g_ptr_array_unref(lane->pins);
  g_ptr_array_unref(lane->waiters);
  g_ptr_array_unref(lane->abandoned);
  g_ptr_array_unref(lane->retried);
  g_ptr_array_unref(lane->finished);
  ain_model_unref(lane->model);
  g_ptr_array_remove_fast(context->lanes, lane);
  g_free(lane);
  if (context->lanes->len == 0 && context->idle != NULL) {
    context->idle(context->idle_data);
  }
}

void ain_lane_close(AinLane *lane, gboolean now, const GError *reason) {
  lane->closed = TRUE;
  g_clear_error(&lane->drain_reason);
  lane->drain_reason = g_error_copy(reason);
  tell_waiters(lane, NULL, FALSE, reason);
  tell_waiters(lane, NULL, TRUE, NULL);
  ain_loop_timer_stop(g_steal_pointer(&lane->drain));
  if (now) {
    end_drain(lane);
  } else {
    gint64 until = ain_loop_now() + lane->context->config.drain_us;
    lane->drain = ain_loop_timer(lane->context->loop, until, drain_over, lane);
  }
  for (guint i = 0; now && i < lane->runners->len; i++) {
    ain_runner_end(g_ptr_array_index(lane->runners, i), reason);
  }
  ain_lane_dispatch(lane);
}

static gboolean has_room(AinLane *lane, const AinTask *task, GError **error) {
  const AinSchedulerConfig *config = &lane->context->config;
  const AinBudget *budget = ain_runtime_budget(lane->context->runtime);
  if (ain_task_sample_bytes(task) > ain_budget_most(budget, AIN_BUDGET_REQUEST)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "the input of model [%s] has %" G_GUINT64_FORMAT " bytes, more than the %" G_GUINT64_FORMAT
                " that one request may have of the shared memory of %" G_GUINT64_FORMAT
                " bytes (ain_shared_memory_bytes): give fewer rows or raise it",
                lane->model->id, ain_task_sample_bytes(task), ain_budget_most(budget, AIN_BUDGET_REQUEST),
                ain_budget_bytes(budget));
    return FALSE;
  }
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
  /* A request sent again gets what its first try began; nothing else is ever shared between requests. */
  if (take_over_running(lane, task) || answer_from_finished(lane, task)) {
    return;
  }
  if (lane->load_error != NULL && ain_loop_now() < lane->load_again) {
    ain_lane_fail(lane, task, lane->load_error);
    ain_lane_settle(lane, task);
    return;
  }
  if (!has_room(lane, task, &error)) {
    ain_lane_fail(lane, task, error);
    ain_lane_settle(lane, task);
    return;
  }
  ain_call_on_abandon(task->call, task_abandoned, task);
  ain_lane_enqueue(lane, task, FALSE);
  ain_lane_dispatch(lane);
}
