/* The way of one model's requests: a bounded queue, and the workers that serve it: one per device and
 * replica, started with the first request or by LOAD MODEL. Loop thread. */
#pragma once
#include "schedule/scheduler.h"
#include "schedule/task.h"

typedef struct {
  AinLoop *loop;
  AinRuntime *runtime;
  AinSchedulerConfig config;
  AinSchedulerTotals totals;
  guint pending;    /* tasks not yet answered */
  GPtrArray *lanes; /* AinLane; also those that are closing */
  struct AinKeeper *keeper;
  void (*idle)(gpointer data); /* told when the last lane has gone; NULL for nobody */
  gpointer idle_data;
} AinLaneContext;

/* Whether a worker ended because its prototype did and another prototype is on its way: the model is not to
 * blame, and what waits can wait for that one. */
gboolean ain_lane_runtime_restarts(const AinLaneContext *context, const GError *error);
#define AIN_RUNTIME_RETRY_US (G_GINT64_CONSTANT(200) * 1000) /* then it is tried again */

typedef struct AinLane AinLane;

/* context is borrowed and outlives the lane. */
AinLane *ain_lane_new(AinLaneContext *context, AinModel *model);
/* Takes no more requests; serves those it has, ends the workers and frees itself. What is not served within
 * the time of the configuration, or, when `now`, at once, is answered with `reason`. */
void ain_lane_close(AinLane *lane, gboolean now, const GError *reason);
/* Takes the task; answers BUSY at once when the queue is full. */
void ain_lane_add(AinLane *lane, AinTask *task);

/* As ain_scheduler_load() and ain_scheduler_unload(), for one device. */
void ain_lane_load(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data);
void ain_lane_unload(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data);
/* As ain_lane_load(), but the model is not kept there for ever. */
void ain_lane_warm(AinLane *lane, const char *device, AinSchedulerDone done, gpointer data);
/* Devices where it is loaded; when `pinned`, those that LOAD MODEL named. Owned, NULL-terminated. */
char **ain_lane_devices(const AinLane *lane, gboolean pinned);
const AinModel *ain_lane_model(const AinLane *lane);
/* Loaded workers on the device. */
guint ain_lane_loaded(const AinLane *lane, const char *device);
/* Why the model is not served any more after it crashed again and again, or NULL. Borrowed. */
const GError *ain_lane_failure(const AinLane *lane);
