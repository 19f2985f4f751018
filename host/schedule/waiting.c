/* Requests that wait for their turn longer than their clients listen: they are told why. */
#include "schedule/internal.h"

#include "base/error.h"

typedef struct {
  AinLane *lane;
  gint64 now;
  gint64 next;   /* when the next one will have waited too long */
  GError *error; /* what those that have were told */
} Look;

/* Of a request that was sent again: when its first try came. */
static gint64 due_at(const AinLane *lane, const AinTask *task) {
  return ain_call_arrival(task->source != NULL ? task->source : task->call)
         + lane->context->config.queue_timeout_us;
}

static char *what_it_waits_for(const AinLane *lane) {
  const char *reason = NULL;
  guint loaded = 0;
  for (guint i = 0; i < lane->runners->len; i++) {
    loaded += ((const AinRunner *)g_ptr_array_index(lane->runners, i))->ready;
  }
  if (loaded > 0) {
    return g_strdup("the model is busy with others: ask less at a time, or raise ain_model_replicas");
  }
  if (ain_runtime_state(lane->context->runtime, &reason) == AIN_RUNTIME_READY) {
    return g_strdup("no process has loaded the model yet");
  }
  return g_strdup_printf("the Python runtime is not ready, %s", reason);
}

static void look_at(Look *look, AinTask *task) {
  AinLane *lane = look->lane;
  gint64 due = due_at(lane, task);
  if (due > look->now) {
    look->next = MIN(look->next, due);
    return;
  }
  if (look->error == NULL) {
    g_autofree char *why = what_it_waits_for(lane);
    look->error = g_error_new(AIN_ERROR, AIN_ERROR_TIMEOUT,
                              "the request waited for model [%s] longer than %" G_GINT64_FORMAT
                              " ms (ain_queue_timeout_ms): %s",
                              lane->model->id, lane->context->config.queue_timeout_us / 1000, why);
  }
  ain_lane_fail(lane, task, look->error);
}

/* In a slot of the worker, behind another one. Of several windows, none has begun. */
static void look_at_unbegun(AinTask *task, gpointer data) {
  if (!task->answered && task->in_flight == 1 && task->n_answered == 0) {
    look_at(data, task);
  }
}

static void look_around(Look *look) {
  AinLane *lane = look->lane;
  for (GList *link = lane->queue.head, *next = NULL; link != NULL; link = next) {
    AinTask *task = link->data;
    next = link->next;
    if (task->in_flight == 0 && task->n_answered == 0) {
      look_at(look, task);
      ain_lane_settle(lane, task);
    }
  }
  for (guint i = 0; i < lane->runners->len; i++) {
    ain_runner_each_unbegun(g_ptr_array_index(lane->runners, i), look_at_unbegun, look);
  }
}

static void check_waiting(gpointer data) {
  AinLane *lane = data;
  Look look = { .lane = lane, .now = ain_loop_now(), .next = G_MAXINT64 };
  lane->overdue = NULL;
  if (lane->context->config.queue_timeout_us > 0) {
    look_around(&look);
  }
  g_clear_error(&look.error);
  ain_lane_dispatch(lane); /* watches the others; a lane that drains may have waited for these alone */
}

void ain_lane_watch_waiting(AinLane *lane) {
  if (lane->overdue != NULL || lane->context->config.queue_timeout_us == 0) {
    return;
  }
  Look look = { .lane = lane, .now = G_MININT64, .next = G_MAXINT64 };
  look_around(&look);
  if (look.next < G_MAXINT64) {
    lane->overdue = ain_loop_timer(lane->context->loop, look.next, check_waiting, lane);
  }
}
