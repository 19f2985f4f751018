/* Where the load figures come from: the kernel's text files. Private to host/observe and its tests.
 * Blocks for a moment; one thread at a time per AinLoadCounters. */
#pragma once
#include "observe/observe.h"

typedef struct {
  const char *proc;   /* "/proc" */
  const char *cgroup; /* "/sys/fs/cgroup" */
  const char *path;   /* whose file system is looked at; need not exist yet */
} AinLoadSource;

/* What the next sample is compared with. Zeroed: there is none yet. */
typedef struct {
  guint64 busy; /* ticks of all processors since boot */
  guint64 total;
  guint64 cgroup_us; /* processor time of the control group */
  gint64 taken;      /* ain_loop_now() of cgroup_us; 0: none */
} AinLoadCounters;

/* Fills *sample; what cannot be found out keeps its value. Of the machine and the limited control groups
 * (version 2) above this process, the one that is fullest counts. The first call takes the processors'
 * average since boot. All values stay finite; percentages are 0..100. */
void ain_load_collect(const AinLoadSource *source, AinLoadCounters *counters, gint64 now,
                      AinLoadSample *sample);

/* ain_observe_load_new with other files and another period. */
AinLoadMeter *ain_load_meter_new(AinLoop *loop, const AinLoadSource *source, gint64 period_us);

/* ain_observe_memory_limit() with other files; 0 when nothing can be found out. */
guint64 ain_load_memory_limit(const AinLoadSource *source);
