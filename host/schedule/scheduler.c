#include "schedule/scheduler.h"

#include "base/error.h"
#include "schedule/lane.h"
#include "schedule/prover.h"

struct AinScheduler {
  AinLaneContext context;
  GHashTable *lanes; /* AinModel (held by the lane) -> AinLane */
  AinProofs *proofs;
};

AinScheduler *ain_scheduler_new(AinLoop *loop, AinRuntime *runtime, const AinSchedulerConfig *config) {
  AinScheduler *scheduler = g_new0(AinScheduler, 1);
  scheduler->context = (AinLaneContext){ .loop = loop, .runtime = runtime, .config = *config };
  scheduler->lanes = g_hash_table_new(NULL, NULL);
  scheduler->proofs = ain_proofs_new(&scheduler->context);
  return scheduler;
}

void ain_scheduler_shutdown(AinScheduler *scheduler, void (*done)(gpointer data), gpointer data) {
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the node is stopping");
  g_clear_pointer(&scheduler->proofs, ain_proofs_free);
  scheduler->context.n_lanes++; /* so that `done` is not told before all were asked */
  scheduler->context.idle = done;
  scheduler->context.idle_data = data;
  GHashTableIter iter;
  gpointer lane;
  g_hash_table_iter_init(&iter, scheduler->lanes);
  while (g_hash_table_iter_next(&iter, NULL, &lane)) {
    ain_lane_close(lane, TRUE, error);
  }
  g_hash_table_remove_all(scheduler->lanes);
  if (--scheduler->context.n_lanes == 0) {
    done(data);
  }
}

void ain_scheduler_free(AinScheduler *scheduler) {
  if (scheduler != NULL) {
    g_assert(scheduler->context.n_lanes == 0);
    g_hash_table_unref(scheduler->lanes);
    ain_proofs_free(scheduler->proofs);
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
  AinLane *lane = lane_of(scheduler, model);
  g_autoptr(GError) error = NULL;
  AinTask *task = ain_task_new(model, call, scheduler->context.config.max_array_bytes, &error);
  if (task == NULL) {
    scheduler->context.totals.failures++;
    ain_call_reply_error(call, error);
    ain_call_unref(call);
    return;
  }
  ain_lane_add(lane, task);
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

void ain_scheduler_retire(AinScheduler *scheduler, AinModel *model) {
  AinLane *lane = g_hash_table_lookup(scheduler->lanes, model);
  if (lane != NULL) {
    g_autoptr(GError) error =
        g_error_new(AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND, "model [%s] was dropped", model->id);
    g_hash_table_remove(scheduler->lanes, model);
    ain_lane_close(lane, FALSE, error);
  }
}

AinProver ain_scheduler_prover(AinScheduler *scheduler) {
  return (AinProver){ ain_proofs_prove, scheduler->proofs };
}

guint ain_scheduler_pending(const AinScheduler *scheduler) {
  return scheduler->context.pending;
}

AinSchedulerTotals ain_scheduler_totals(const AinScheduler *scheduler) {
  return scheduler->context.totals;
}
