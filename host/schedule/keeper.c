#include "schedule/keeper.h"

#include "base/fd.h"
#include "schedule/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A model that was just loaded still grows while it answers its first request. */
#define FIRST_LOOK_US (G_GINT64_CONSTANT(200) * 1000)
#define LOOK_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)
/* What a process that was ended holds is free a little later. */
#define SHORTAGE_PAUSE_US (G_GINT64_CONSTANT(100) * 1000)
#define ROLLUP_MAX 4096

struct AinKeeper {
  AinLaneContext *context;
  AinLoopTimer *timer;
  gint64 due;            /* of the timer */
  gboolean measuring;    /* on a helper */
  gboolean freed;        /* while measuring: the helper's done frees it */
  gboolean over;         /* the last look left more than there should be */
  gboolean fresh;        /* a model was loaded or let go since the last look began */
  guint64 jobs;          /* in all, at the last look */
  gint64 shortage_until; /* what was ended for shared memory is on its way out */
};

/* --- measuring --- */

typedef struct {
  pid_t pid;
  guint64 bytes;
} Process;

typedef struct {
  AinKeeper *keeper;
  GArray *processes; /* Process */
} Measurement;

/* The process' own memory and its share of what it shares; 0 when it has gone. */
static guint64 proportional_bytes(pid_t pid) {
  char path[64];
  char text[ROLLUP_MAX + 1];
  g_snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = fd >= 0 ? read(fd, text, ROLLUP_MAX) : -1;
  if (size <= 0) {
    return 0;
  }
  text[size] = '\0';
  const char *line = strstr(text, "\nPss:");
  return line != NULL ? g_ascii_strtoull(line + strlen("\nPss:"), NULL, 10) * 1024 : 0;
}

/* On a helper: walks the processes' page tables, a millisecond or two for each gigabyte. */
static void measure(gpointer data) {
  const Measurement *measurement = data;
  for (guint i = 0; i < measurement->processes->len; i++) {
    Process *process = &g_array_index(measurement->processes, Process, i);
    process->bytes = proportional_bytes(process->pid);
  }
}

static void add_process(GArray *processes, pid_t pid) {
  Process process = { .pid = pid };
  if (pid != 0) {
    g_array_append_val(processes, process);
  }
}

static void list_lane(const AinLane *lane, GArray *processes) {
  for (guint i = 0; i < lane->runners->len; i++) {
    const AinRunner *runner = g_ptr_array_index(lane->runners, i);
    if (runner->ready && !runner->leaving) {
      add_process(processes, ain_worker_pid(runner->worker));
    }
  }
  if (lane->template != NULL) {
    add_process(processes, ain_template_pid(lane->template));
  }
}

static guint64 bytes_of(const GArray *processes, pid_t pid) {
  for (guint i = 0; i < processes->len; i++) {
    const Process *process = &g_array_index(processes, Process, i);
    if (process->pid == pid) {
      return process->bytes;
    }
  }
  return 0;
}

/* What ending the runner gives back: with the last one of a model, its template goes, too. */
static guint64 bytes_of_runner(const GArray *processes, const AinRunner *runner) {
  const AinLane *lane = runner->lane;
  guint64 bytes = bytes_of(processes, ain_worker_pid(runner->worker));
  guint staying = 0;
  for (guint i = 0; i < lane->runners->len; i++) {
    staying += !((const AinRunner *)g_ptr_array_index(lane->runners, i))->leaving;
  }
  if (staying == 1 && lane->template != NULL) {
    bytes += bytes_of(processes, ain_template_pid(lane->template));
  }
  return bytes;
}

/* --- ending idle ones --- */

static void for_each_runner(AinLaneContext *context, void (*func)(AinRunner *runner, gpointer data),
                            gpointer data) {
  for (guint i = 0; i < context->lanes->len; i++) {
    const AinLane *lane = g_ptr_array_index(context->lanes, i);
    for (guint k = 0; k < lane->runners->len; k++) {
      func(g_ptr_array_index(lane->runners, k), data);
    }
  }
}

static void find_longest_idle(AinRunner *runner, gpointer data) {
  AinRunner **oldest = data;
  if (ain_runner_is_dispensable(runner)
      && (*oldest == NULL || runner->running_since < (*oldest)->running_since)) {
    *oldest = runner;
  }
}

static AinRunner *longest_idle(AinLaneContext *context) {
  AinRunner *oldest = NULL;
  for_each_runner(context, find_longest_idle, &oldest);
  return oldest;
}

static void let_go(AinRunner *runner, guint64 bytes, const char *why) {
  g_message("model %s is unloaded from %s after %.1f s without a request, which gives back %.0f MB: %s; its "
            "next request loads it again",
            runner->lane->model->id, runner->device,
            (double)(ain_loop_now() - runner->running_since) / (double)G_USEC_PER_SEC, (double)bytes / 1e6,
            why);
  runner->leaving = TRUE;
  ain_lane_dispatch(runner->lane);
}

static void shrink(AinKeeper *keeper, const GArray *processes) {
  guint64 limit = keeper->context->config.model_memory_bytes;
  guint64 total = 0;
  AinRunner *oldest;
  for (guint i = 0; i < processes->len; i++) {
    total += g_array_index(processes, Process, i).bytes;
  }
  while (total > limit && (oldest = longest_idle(keeper->context)) != NULL) {
    guint64 bytes = bytes_of_runner(processes, oldest);
    g_autofree char *why =
        g_strdup_printf("the processes of the loaded models have %.0f MB, ain_model_memory_bytes allows %.0f",
                        (double)total / 1e6, (double)limit / 1e6);
    let_go(oldest, bytes, why);
    total -= MIN(bytes, total);
    keeper->fresh = TRUE; /* what it shared now counts for fewer: the others' parts grow */
  }
  keeper->over = total > limit;
}

/* --- looking --- */

static void look_within(AinKeeper *keeper, gint64 delay);

static void measured(gpointer data) {
  g_autofree Measurement *measurement = data;
  g_autoptr(GArray) processes = measurement->processes;
  AinKeeper *keeper = measurement->keeper;
  keeper->measuring = FALSE;
  if (keeper->freed) {
    g_free(keeper);
    return;
  }
  shrink(keeper, processes);
  if (keeper->fresh || processes->len > 0) {
    look_within(keeper, keeper->fresh ? FIRST_LOOK_US : LOOK_US);
  }
}

static void look(gpointer data) {
  AinKeeper *keeper = data;
  const AinSchedulerTotals *totals = &keeper->context->totals;
  keeper->timer = NULL;
  if (!keeper->over && !keeper->fresh && totals->jobs == keeper->jobs) {
    look_within(keeper, LOOK_US);
    return;
  }
  keeper->jobs = totals->jobs;
  keeper->fresh = FALSE;
  Measurement *measurement = g_new0(Measurement, 1);
  measurement->keeper = keeper;
  measurement->processes = g_array_new(FALSE, FALSE, sizeof(Process));
  for (guint i = 0; i < keeper->context->lanes->len; i++) {
    list_lane(g_ptr_array_index(keeper->context->lanes, i), measurement->processes);
  }
  keeper->measuring = TRUE;
  ain_loop_offload(keeper->context->loop, measure, measured, measurement);
}

static void look_within(AinKeeper *keeper, gint64 delay) {
  gint64 due = ain_loop_now() + delay;
  if (keeper->measuring || (keeper->timer != NULL && keeper->due <= due)) {
    return;
  }
  ain_loop_timer_stop(keeper->timer);
  keeper->due = due;
  keeper->timer = ain_loop_timer(keeper->context->loop, due, look, keeper);
}

void ain_keeper_look(AinKeeper *keeper) {
  keeper->fresh = TRUE;
  look_within(keeper, FIRST_LOOK_US);
}

/* --- shared memory --- */

static void add_idle_slots(AinRunner *runner, gpointer data) {
  guint64 *bytes = data;
  if (ain_runner_is_dispensable(runner)) {
    *bytes += ain_worker_shared_bytes(runner->worker);
  }
}

/* Somebody waits for shared memory: if what idle workers hold is enough, they are unloaded for it. */
static void shortage(guint64 missing, gpointer data) {
  AinKeeper *keeper = data;
  guint64 idle = 0;
  for_each_runner(keeper->context, add_idle_slots, &idle);
  if (missing == 0 || idle < missing || ain_loop_now() < keeper->shortage_until) {
    return;
  }
  for (guint64 freed = 0; freed < missing;) {
    AinRunner *oldest = longest_idle(keeper->context);
    guint64 bytes = ain_worker_shared_bytes(oldest->worker);
    freed += bytes;
    let_go(oldest, bytes, "others wait for shared memory (ain_shared_memory_bytes)");
  }
  keeper->shortage_until = ain_loop_now() + SHORTAGE_PAUSE_US;
}

AinKeeper *ain_keeper_new(AinLaneContext *context) {
  AinKeeper *keeper = g_new0(AinKeeper, 1);
  keeper->context = context;
  ain_budget_on_shortage(ain_runtime_budget(context->runtime), shortage, keeper);
  return keeper;
}

void ain_keeper_free(AinKeeper *keeper) {
  if (keeper == NULL) {
    return;
  }
  ain_loop_timer_stop(keeper->timer);
  ain_budget_on_shortage(ain_runtime_budget(keeper->context->runtime), NULL, NULL);
  if (keeper->measuring) {
    keeper->freed = TRUE;
  } else {
    g_free(keeper);
  }
}
