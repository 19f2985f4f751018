/* The way of one model's requests: queue, worker, jobs. Loop thread. */
#pragma once
#include "schedule/scheduler.h"
#include "schedule/task.h"

typedef struct {
  AinLoop *loop;
  AinRuntime *runtime;
  AinSchedulerConfig config;
  AinSchedulerTotals totals;
  guint pending;               /* tasks not yet answered */
  guint n_lanes;               /* also those that are closing */
  void (*idle)(gpointer data); /* told when the last lane has gone; NULL for nobody */
  gpointer idle_data;
} AinLaneContext;

typedef struct AinLane AinLane;

/* context is borrowed and outlives the lane. */
AinLane *ain_lane_new(AinLaneContext *context, AinModel *model);
/* Answers what waits with `reason`, lets the running jobs end (or, when `now`, ends them with it), then ends
 * the worker and frees itself. */
void ain_lane_close(AinLane *lane, gboolean now, const GError *reason);
/* Takes the task; answers BUSY at once when the queue is full. */
void ain_lane_add(AinLane *lane, AinTask *task);
