/* The load meter: one sample in flight at a time, taken on a helper thread. */
#include "observe/load_source.h"
#include "observe/observe.h"

#define PERIOD_US ((gint64)5 * G_USEC_PER_SEC)

struct AinLoadMeter {
  AinLoop *loop;
  char *proc;
  char *cgroup;
  char *path;
  gint64 period_us;
  AinLoopTimer *timer;   /* NULL while a sample is in flight */
  AinLoadSample current; /* loop thread */
  gboolean freed;        /* loop thread: the owner let go while a sample was in flight */
  /* the helper's, between ain_loop_offload and its done function */
  AinLoadCounters counters;
  AinLoadSample next;
};

static void schedule(AinLoadMeter *meter);

static void collect(gpointer data) {
  AinLoadMeter *meter = data;
  AinLoadSource source = { .proc = meter->proc, .cgroup = meter->cgroup, .path = meter->path };
  ain_load_collect(&source, &meter->counters, ain_loop_now(), &meter->next);
}

static void destroy(AinLoadMeter *meter) {
  g_free(meter->proc);
  g_free(meter->cgroup);
  g_free(meter->path);
  g_free(meter);
}

static void collected(gpointer data) {
  AinLoadMeter *meter = data;
  if (meter->freed) {
    destroy(meter);
    return;
  }
  meter->current = meter->next;
  schedule(meter);
}

static void start(gpointer data) {
  AinLoadMeter *meter = data;
  meter->timer = NULL;
  ain_loop_offload(meter->loop, collect, collected, meter);
}

static void schedule(AinLoadMeter *meter) {
  meter->timer = ain_loop_timer(meter->loop, ain_loop_now() + meter->period_us, start, meter);
}

AinLoadMeter *ain_load_meter_new(AinLoop *loop, const AinLoadSource *source, gint64 period_us) {
  AinLoadMeter *meter = g_new0(AinLoadMeter, 1);
  meter->loop = loop;
  meter->proc = g_strdup(source->proc);
  meter->cgroup = g_strdup(source->cgroup);
  meter->path = g_strdup(source->path);
  meter->period_us = period_us;
  collect(meter); /* well under a millisecond, once: the first heartbeat has real figures */
  meter->current = meter->next;
  schedule(meter);
  return meter;
}

AinLoadMeter *ain_observe_load_new(AinLoop *loop, const char *path) {
  AinLoadSource source = { .proc = "/proc", .cgroup = "/sys/fs/cgroup", .path = path };
  return ain_load_meter_new(loop, &source, PERIOD_US);
}

void ain_observe_load_free(AinLoadMeter *meter) {
  if (meter == NULL) {
    return;
  }
  if (meter->timer == NULL) {
    meter->freed = TRUE; /* collected() frees it */
    return;
  }
  ain_loop_timer_stop(meter->timer);
  destroy(meter);
}

AinLoadSample ain_observe_load_read(const AinLoadMeter *meter) {
  return meter->current;
}

guint64 ain_observe_memory_limit(void) {
  AinLoadSource source = { .proc = "/proc", .cgroup = "/sys/fs/cgroup", .path = "/" };
  return ain_load_memory_limit(&source);
}
