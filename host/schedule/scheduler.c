#include "schedule/scheduler.h"

#include "base/error.h"
#include "schedule/keeper.h"
#include "schedule/lane.h"
#include "schedule/prover.h"

struct AinScheduler {
  AinLaneContext context;
  GHashTable *lanes; /* AinModel (held by the lane) -> AinLane */
  AinProofs *proofs;
  GPtrArray *retired; /* Retired: models that were loaded until a moment ago */
  gboolean closed;
};

/* Where a model was loaded when it was retired: one of the same id that comes soon is loaded there, too. */
typedef struct {
  char *id;
  char **loaded; /* devices */
  char **pinned;
  gint64 at;
} Retired;
#define RETIRED_MAX 64U
#define RETIRED_FOR_US (G_GINT64_CONSTANT(60) * G_USEC_PER_SEC)

static void retired_free(gpointer data) {
  Retired *retired = data;
  g_free(retired->id);
  g_strfreev(retired->loaded);
  g_strfreev(retired->pinned);
  g_free(retired);
}

AinScheduler *ain_scheduler_new(AinLoop *loop, AinRuntime *runtime, const AinSchedulerConfig *config) {
  AinScheduler *scheduler = g_new0(AinScheduler, 1);
  scheduler->context = (AinLaneContext){ .loop = loop, .runtime = runtime, .config = *config };
  scheduler->context.lanes = g_ptr_array_new();
  scheduler->lanes = g_hash_table_new(NULL, NULL);
  scheduler->proofs = ain_proofs_new(&scheduler->context);
  scheduler->context.keeper = ain_keeper_new(&scheduler->context);
  scheduler->retired = g_ptr_array_new_with_free_func(retired_free);
  return scheduler;
}

void ain_scheduler_limit(AinScheduler *scheduler, gint64 inference_timeout_us, gint64 queue_timeout_us) {
  scheduler->context.config.inference_timeout_us = inference_timeout_us;
  scheduler->context.config.queue_timeout_us = queue_timeout_us;
}

static GError *stopping(void) {
  return g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the AINode is stopping");
}

void ain_scheduler_shutdown(AinScheduler *scheduler, void (*done)(gpointer data), gpointer data) {
  AinLaneContext *context = &scheduler->context;
  g_autoptr(GError) error = stopping();
  scheduler->closed = TRUE;
  ain_proofs_close(scheduler->proofs);
  g_hash_table_remove_all(scheduler->lanes);
  /* Also lanes of models that were dropped while they ran. A closed lane frees itself, now or later. */
  for (guint i = context->lanes->len; i > 0; i--) {
    ain_lane_close(g_ptr_array_index(context->lanes, i - 1), TRUE, error);
  }
  if (context->lanes->len == 0) {
    done(data);
  } else {
    context->idle = done;
    context->idle_data = data;
  }
}

void ain_scheduler_free(AinScheduler *scheduler) {
  if (scheduler != NULL) {
    g_assert(scheduler->context.lanes->len == 0);
    g_ptr_array_unref(scheduler->context.lanes);
    g_hash_table_unref(scheduler->lanes);
    ain_proofs_free(scheduler->proofs);
    ain_keeper_free(scheduler->context.keeper);
    g_ptr_array_unref(scheduler->retired);
    g_free(scheduler);
  }
}

static AinLane *lane_of(AinScheduler *scheduler, AinModel *model) {
  AinLane *lane = g_hash_table_lookup(scheduler->lanes, model);
  if (lane == NULL) {
    lane = ain_lane_new(&scheduler->context, model);
    g_hash_table_insert(scheduler->lanes, model, lane);
  }
  return lane;
}

void ain_scheduler_infer(AinScheduler *scheduler, AinModel *model, AinCall *call) {
  g_autoptr(GError) error = scheduler->closed ? stopping() : NULL;
  const AinSchedulerConfig *config = &scheduler->context.config;
  AinTask *task =
      error == NULL ? ain_task_new(model, call, config->max_array_bytes, config->nulls, &error) : NULL;
  if (task == NULL) {
    scheduler->context.totals.failures++;
    ain_call_reply_error(call, error);
    ain_call_unref(call);
    return;
  }
  ain_lane_add(lane_of(scheduler, model), task);
}

/* --- LOAD and UNLOAD --- */

/* Several devices, one answer. */
typedef struct {
  guint left;
  GError *error; /* the first one */
  AinSchedulerDone done;
  gpointer data;
} Gathering;

static void one_device_done(const GError *error, gpointer data) {
  Gathering *gathering = data;
  if (error != NULL && gathering->error == NULL) {
    gathering->error = g_error_copy(error);
  }
  if (--gathering->left == 0) {
    gathering->done(gathering->error, gathering->data);
    g_clear_error(&gathering->error);
    g_free(gathering);
  }
}

typedef void (*LaneAction)(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data);

static void on_devices(AinScheduler *scheduler, AinModel *model, LaneAction action,
                       const char *const *devices, guint n_devices, AinSchedulerDone done, gpointer data) {
  if (scheduler->closed) {
    g_autoptr(GError) error = stopping();
    done(error, data);
    return;
  }
  AinLane *lane = lane_of(scheduler, model);
  Gathering *gathering = g_new0(Gathering, 1);
  gathering->left = n_devices + 1; /* so that it is not done before all were asked */
  gathering->done = done;
  gathering->data = data;
  for (guint i = 0; i < n_devices; i++) {
    action(lane, devices[i], one_device_done, gathering);
  }
  one_device_done(NULL, gathering);
}

void ain_scheduler_load(AinScheduler *scheduler, AinModel *model, const char *const *devices, guint n_devices,
                        AinSchedulerDone done, gpointer data) {
  on_devices(scheduler, model, ain_lane_load, devices, n_devices, done, data);
}

void ain_scheduler_unload(AinScheduler *scheduler, AinModel *model, const char *const *devices,
                          guint n_devices, AinSchedulerDone done, gpointer data) {
  on_devices(scheduler, model, ain_lane_unload, devices, n_devices, done, data);
}

guint ain_scheduler_loaded(AinScheduler *scheduler, AinModel *model, const char *device) {
  const AinLane *lane = g_hash_table_lookup(scheduler->lanes, model);
  return lane != NULL ? ain_lane_loaded(lane, device) : 0;
}

const GError *ain_scheduler_failure(AinScheduler *scheduler, AinModel *model) {
  const AinLane *lane = g_hash_table_lookup(scheduler->lanes, model);
  return lane != NULL ? ain_lane_failure(lane) : NULL;
}

static Retired *places_of(const AinLane *lane) {
  Retired *retired = g_new0(Retired, 1);
  retired->id = g_strdup(ain_lane_model(lane)->id);
  retired->loaded = ain_lane_devices(lane, FALSE);
  retired->pinned = ain_lane_devices(lane, TRUE);
  retired->at = ain_loop_now();
  return retired;
}

static void remember_places(AinScheduler *scheduler, const AinLane *lane) {
  if (scheduler->retired->len >= RETIRED_MAX) {
    g_ptr_array_remove_index(scheduler->retired, 0);
  }
  g_ptr_array_add(scheduler->retired, places_of(lane));
}

/* Owned, or NULL when no model of that id is or was loaded lately. */
static Retired *take_places(AinScheduler *scheduler, const AinModel *model) {
  GHashTableIter iter;
  gpointer lane = NULL;
  g_hash_table_iter_init(&iter, scheduler->lanes);
  while (g_hash_table_iter_next(&iter, NULL, &lane)) {
    if (g_str_equal(ain_lane_model(lane)->id, model->id)) {
      return places_of(lane);
    }
  }
  gint64 oldest = ain_loop_now() - RETIRED_FOR_US;
  for (guint i = scheduler->retired->len; i > 0; i--) {
    const Retired *retired = g_ptr_array_index(scheduler->retired, i - 1);
    if (retired->at >= oldest && g_str_equal(retired->id, model->id)) {
      return g_ptr_array_steal_index(scheduler->retired, i - 1);
    }
  }
  return NULL;
}

/* A successor that does not get ready in this time takes over all the same. */
#define WARM_US (G_GINT64_CONSTANT(20) * G_USEC_PER_SEC)

typedef struct {
  AinLoop *loop;
  guint left; /* devices; one more until all were asked */
  AinLoopTimer *timer;
  void (*done)(gpointer data); /* NULL once it was posted */
  gpointer data;
} Warming;

/* Later: done() may retire the model whose lane is just telling us. */
static void tell_warm(Warming *warming) {
  ain_loop_timer_stop(g_steal_pointer(&warming->timer));
  if (warming->done != NULL) {
    ain_loop_post(warming->loop, warming->done, warming->data);
    warming->done = NULL;
  }
}

static void one_device_warm(const GError *error, gpointer data) {
  Warming *warming = data;
  (void)error; /* the first request finds out, too, and tells its caller */
  if (--warming->left == 0) {
    tell_warm(warming);
    g_free(warming);
  }
}

static void warm_too_long(gpointer data) {
  Warming *warming = data;
  warming->timer = NULL;
  tell_warm(warming);
}

void ain_scheduler_warm(AinScheduler *scheduler, AinModel *model, void (*done)(gpointer data),
                        gpointer data) {
  Retired *places = scheduler->closed ? NULL : take_places(scheduler, model);
  if (places == NULL || (*places->loaded == NULL && *places->pinned == NULL)) {
    g_clear_pointer(&places, retired_free);
    done(data);
    return;
  }
  AinLoop *loop = scheduler->context.loop;
  AinLane *lane = lane_of(scheduler, model);
  Warming *warming = g_new0(Warming, 1);
  warming->loop = loop;
  warming->done = done;
  warming->data = data;
  warming->timer = ain_loop_timer(loop, ain_loop_now() + WARM_US, warm_too_long, warming);
  warming->left = g_strv_length(places->loaded) + g_strv_length(places->pinned) + 1;
  for (char **device = places->loaded; *device != NULL; device++) {
    ain_lane_warm(lane, *device, one_device_warm, warming);
  }
  for (char **device = places->pinned; *device != NULL; device++) {
    ain_lane_load(lane, *device, one_device_warm, warming);
  }
  one_device_warm(NULL, warming);
  retired_free(places);
}

void ain_scheduler_retire(AinScheduler *scheduler, AinModel *model) {
  AinLane *lane = g_hash_table_lookup(scheduler->lanes, model);
  if (lane != NULL) {
    remember_places(scheduler, lane);
    g_autoptr(GError) error =
        g_error_new(AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND, "model [%s] was dropped", model->id);
    g_hash_table_remove(scheduler->lanes, model);
    ain_lane_close(lane, FALSE, error);
  }
}

AinProver ain_scheduler_prover(AinScheduler *scheduler) {
  return (AinProver){ ain_proofs_prove, ain_proofs_cancel, scheduler->proofs };
}

guint ain_scheduler_pending(const AinScheduler *scheduler) {
  return scheduler->context.pending;
}

AinSchedulerTotals ain_scheduler_totals(const AinScheduler *scheduler) {
  return scheduler->context.totals;
}
