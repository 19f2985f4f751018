/* Shared between lane.c and runner.c only: one model's lane and the workers that serve it. Loop thread. */
#pragma once
#include "schedule/lane.h"

typedef struct AinRunner AinRunner;

struct AinLane {
  AinLaneContext *context;
  AinModel *model;
  GQueue queue; /* AinTask */
  guint64 queued_bytes;
  GPtrArray *runners;    /* AinRunner */
  AinTemplate *template; /* of the workers on the CPU, when there may be several; or NULL */
  GPtrArray *pins;       /* devices (owned texts) that LOAD MODEL asked for: kept loaded */
  GPtrArray *waiters;    /* of LOAD and UNLOAD */
  GPtrArray *abandoned;  /* AinTask in flight whose callers have gone: a re-sent request takes over */
  GPtrArray *retried;    /* AinTask taken over from a caller that had given up, but is still connected */
  GPtrArray *finished;   /* results of such tasks, kept for a while */
  AinLoopTimer *orphans;
  gint64 orphans_at; /* when it is due */
  AinLoopTimer *retry;
  AinLoopTimer *overdue;   /* a request has waited too long (waiting.c) */
  AinLoopTimer *delay;     /* requests wait for company (max_batch_delay) */
  AinBudgetTicket *thirst; /* the first request waits for shared memory */
  guint failures;          /* ends of workers since the last result */
  GError *load_error;
  gint64 load_again; /* no earlier than this after load_error */
  gboolean copy_input;
  gboolean closed;
  AinLoopTimer *drain; /* closed, but what it has is still served */
  GError *drain_reason;
};

/* Nothing is to be begun any more. */
static inline gboolean ain_lane_is_over(const AinLane *lane) {
  return lane->closed && lane->drain == NULL;
}

/* --- lane.c, for runners --- */
void ain_lane_dispatch(AinLane *lane);              /* may free the lane: touch nothing of it afterwards */
void ain_lane_settle(AinLane *lane, AinTask *task); /* frees a task that is answered and nowhere any more */
void ain_lane_fail(AinLane *lane, AinTask *task, const GError *error);
void ain_lane_enqueue(AinLane *lane, AinTask *task, gboolean at_head);
void ain_lane_dequeue(AinLane *lane, AinTask *task);
guint ain_lane_batch_limit(const AinLane *lane);
/* The caller had gone, or may have given up, when the result came: kept for a moment, in case the request is
 * sent again. */
void ain_lane_keep_result(AinLane *lane, AinTask *task, const AinJobResult *result, const guint8 *data);
void ain_lane_runner_ready(AinLane *lane, AinRunner *runner);
gboolean ain_lane_is_pinned(const AinLane *lane, const char *device); /* LOAD MODEL asked for it there */
/* The runner's process is gone and its jobs are completed; was_ready: it had loaded. Frees the runner. */
void ain_lane_runner_ended(AinLane *lane, AinRunner *runner, gboolean was_ready, const GError *error);

/* --- waiting.c --- */
/* Requests that have not begun to run will be told when they have waited too long. Cheap when nobody waits.
 */
void ain_lane_watch_waiting(AinLane *lane);

/* --- runner.c --- */
struct AinRunner {
  AinLane *lane;
  char *device;
  AinWorker *worker;
  gboolean ready;
  gboolean leaving;     /* unloaded: takes no new jobs, ends with its last one */
  GPtrArray *jobs;      /* of runner.c */
  guint submitted;      /* jobs given to the worker; others are still being filled */
  gint64 running_since; /* when the oldest of them began; when the last one ended */
  guint crowd;          /* requests under way at once, the most seen lately, in sixteenths */
  gint64 run_us;        /* of the last job, in the model */
  guint awaited_at;     /* length of the queue when the next job began to wait for company; 0: it does not */
  guint unmet;          /* so many jobs wait for nobody, for nobody came the last time */
  AinLoopTimer *deadline;
};
AinRunner *ain_runner_new(AinLane *lane, const char *device);
void ain_runner_free(AinRunner *runner); /* its jobs must be gone */
/* Whether a job from the queue should go to this runner now. */
gboolean ain_runner_wants_job(AinRunner *runner);
/* Until when an idle runner's next job waits for those whose requests were just answered; 0: it does not. */
gint64 ain_runner_company_until(AinRunner *runner);
/* Whether there is shared memory for one with the head of the queue, which must not be empty. */
gboolean ain_runner_has_room(const AinRunner *runner);
/* Whether it could be unloaded: idle, and nobody asked for it to be loaded. */
gboolean ain_runner_is_dispensable(const AinRunner *runner);
/* Takes what fits from the head of the lane's queue, which must not be empty. */
void ain_runner_start_job(AinRunner *runner);
void ain_runner_end(AinRunner *runner, const GError *error);
/* A task of its jobs that `matches`, or NULL. */
AinTask *ain_runner_find_task(const AinRunner *runner, gboolean (*matches)(AinTask *task, gpointer data),
                              gpointer data);
/* Calls func for each task of the jobs that the worker was given, but has not begun. */
void ain_runner_each_unbegun(const AinRunner *runner, void (*func)(AinTask *task, gpointer data),
                             gpointer data);
/* Ends the worker when the job it computes has had no caller for the time of the grace; *next becomes the
 * time to look again, when that is earlier. */
void ain_runner_end_orphan(AinRunner *runner, gint64 now, gint64 *next);
