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

void ain_scheduler_infer(AinScheduler *scheduler, AinModel *model, AinCall *call) {
  AinLane *lane = g_hash_table_lookup(scheduler->lanes, model);
  if (lane == NULL) {
    lane = ain_lane_new(&scheduler->context, model);
    g_hash_table_insert(scheduler->lanes, model, lane);
  }
  g_autoptr(GError) error = NULL;
  AinTask *task = ain_task_new(model, call, &error);
  if (task == NULL) {
    scheduler->context.totals.failures++;
    ain_call_reply_error(call, error);
    ain_call_unref(call);
    return;
  }
  ain_lane_add(lane, task);
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
