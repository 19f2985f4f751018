/* Load figures from made-up kernel files, and the meter's life on a loop. */
#include "base/fd.h"
#include "observe/load_source.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
  char *root;
  char *proc;
  char *cgroup;
  AinLoadSource source;
  AinLoadCounters counters;
  AinLoadSample sample;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
  (void)data;
  f->root = g_dir_make_tmp("ain-load-XXXXXX", NULL);
  g_assert_nonnull(f->root);
  f->proc = g_build_filename(f->root, "proc", NULL);
  f->cgroup = g_build_filename(f->root, "cgroup", NULL);
  f->source = (AinLoadSource){ f->proc, f->cgroup, f->root };
  f->counters = (AinLoadCounters){ 0 };
  f->sample = (AinLoadSample){ 0 };
}

static void tear_down(Fixture *f, gconstpointer data) {
  (void)data;
  g_assert_true(ain_file_remove_tree(f->root, NULL));
  g_free(f->root);
  g_free(f->proc);
  g_free(f->cgroup);
}

static void put(const Fixture *f, const char *path, const char *text) {
  g_autofree char *full = g_build_filename(f->root, path, NULL);
  g_autofree char *folder = g_path_get_dirname(full);
  g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
  g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

static void collect(Fixture *f, gint64 now) {
  ain_load_collect(&f->source, &f->counters, now, &f->sample);
  g_assert_true(isfinite(f->sample.cpu_percent) && isfinite(f->sample.memory_percent));
  g_assert_true(isfinite(f->sample.disk_percent) && isfinite(f->sample.free_disk_gib));
}

/* The smallest limit on the way up, or the machine's memory. */
static void test_memory_limit(Fixture *f, gconstpointer data) {
  (void)data;
  g_assert_cmpuint(ain_load_memory_limit(&f->source), ==, 0);
  put(f, "proc/meminfo", "MemTotal:       1000 kB\nMemFree:  100 kB\n");
  g_assert_cmpuint(ain_load_memory_limit(&f->source), ==, 1000 * 1024);
  put(f, "proc/self/cgroup", "0::/a/b\n");
  put(f, "cgroup/a/b/memory.max", "max\n");
  g_assert_cmpuint(ain_load_memory_limit(&f->source), ==, 1000 * 1024);
  put(f, "cgroup/a/memory.max", "500000\n");
  g_assert_cmpuint(ain_load_memory_limit(&f->source), ==, 500000);
  put(f, "cgroup/a/b/memory.max", "900000\n");
  g_assert_cmpuint(ain_load_memory_limit(&f->source), ==, 500000);
}

static void test_machine(Fixture *f, gconstpointer data) {
  (void)data;
  /* idle 600 + iowait 100 of 1000; guest (900) is in user already */
  put(f, "proc/stat", "cpu  200 0 50 600 100 10 20 20 900 0\ncpu0 1 2 3 4\n");
  put(f, "proc/meminfo", "MemTotal:       1000 kB\nMemFree:  100 kB\nMemAvailable:    750 kB\n");
  collect(f, 1000000);
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 30.0, 1e-9); /* since boot */
  g_assert_cmpfloat_with_epsilon(f->sample.memory_percent, 25.0, 1e-9);
  put(f, "proc/stat", "cpu  270 0 50 630 100 10 20 20 0 0\n"); /* 70 busy of 100 */
  collect(f, 2000000);
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 70.0, 1e-9);
  collect(f, 3000000); /* no tick passed: the last value stands */
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 70.0, 1e-9);
  put(f, "proc/stat", "cpu  10 0 0 10 0 0 0 0 0 0\n"); /* moved to another machine: goes on from there */
  collect(f, 4000000);
  put(f, "proc/stat", "cpu  20 0 0 40 0 0 0 0 0 0\n");
  collect(f, 5000000);
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 25.0, 1e-9);
}

typedef struct {
  const char *stat;
  const char *meminfo;
} Odd;

/* Counters that go backwards, nonsense and absence: finite, within bounds. */
static void test_odd_files(Fixture *f, gconstpointer data) {
  (void)data;
  static const Odd cases[] = {
    { "cpu  10 0 0 90 0 0 0 0 0 0\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n" },
    { "cpu  5 0 0 95 100 0 0 0 0 0\n", "MemTotal: 10 kB\nMemAvailable: 99 kB\n" },
    { "cpu  0 0 0 0\n", "MemTotal:\n" },
    { "", "" },
    { "cpu", "MemTotal" },
    { "cpu  x y z\n", "MemTotal: x kB\nMemAvailable: y kB\n" },
    { "cpu  18446744073709551615 18446744073709551615 1 1\n",
      "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n" },
    { "intr 1 2 3\n", "Nothing: 1\n" },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    put(f, "proc/stat", cases[i].stat);
    put(f, "proc/meminfo", cases[i].meminfo);
    collect(f, (gint64)i * 1000);
    g_assert_cmpfloat(f->sample.cpu_percent, >=, 0);
    g_assert_cmpfloat(f->sample.cpu_percent, <=, 100);
    g_assert_cmpfloat(f->sample.memory_percent, >=, 0);
    g_assert_cmpfloat(f->sample.memory_percent, <=, 100);
  }
}

static void test_no_files(Fixture *f, gconstpointer data) {
  (void)data;
  collect(f, 1);
  g_assert_cmpfloat(f->sample.cpu_percent, ==, 0);
  g_assert_cmpfloat(f->sample.memory_percent, ==, 0);
  g_assert_cmpfloat(f->sample.free_disk_gib, >, 0);
}

static void put_idle_machine(const Fixture *f) {
  put(f, "proc/stat", "cpu  10 0 0 90 0 0 0 0 0 0\n");
  put(f, "proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n");
  put(f, "proc/self/cgroup", "4:memory:/old\n0::/pod/box\n");
}

/* The limit stands one group above ours: half a processor. */
static void test_cgroup_cpu(Fixture *f, gconstpointer data) {
  (void)data;
  put_idle_machine(f);
  put(f, "cgroup/pod/box/cpu.max", "max 100000\n");
  put(f, "cgroup/pod/cpu.max", "50000 100000\n");
  put(f, "cgroup/cpu.max", "400000 100000\n");
  put(f, "cgroup/pod/cpu.stat", "usage_usec 1000000\nuser_usec 1\n");
  collect(f, 10000000);
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 10.0, 1e-9); /* nothing to compare with yet */
  put(f, "cgroup/pod/cpu.stat", "usage_usec 1400000\nuser_usec 1\n");
  collect(f, 11000000); /* 0.4 s in 1 s of half a processor */
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 80.0, 1e-9);
  put(f, "cgroup/pod/cpu.stat", "usage_usec 1400000\n");
  put(f, "proc/stat", "cpu  70 0 0 130 0 0 0 0 0 0\n"); /* the machine is fuller: 60 of 100 */
  collect(f, 12000000);
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 60.0, 1e-9);
  put(f, "cgroup/pod/cpu.stat", "usage_usec 5\n"); /* backwards */
  put(f, "proc/stat", "cpu  70 0 0 230 0 0 0 0 0 0\n");
  collect(f, 13000000);
  g_assert_cmpfloat_with_epsilon(f->sample.cpu_percent, 0.0, 1e-9);
}

static void test_cgroup_memory(Fixture *f, gconstpointer data) {
  (void)data;
  put_idle_machine(f);
  put(f, "cgroup/pod/box/memory.max", "max\n");
  put(f, "cgroup/pod/box/memory.current", "500\n");
  put(f, "cgroup/pod/memory.max", "1000\n");
  put(f, "cgroup/pod/memory.current", "800\n");
  put(f, "cgroup/pod/memory.stat", "anon 600\nfile 200\ninactive_file 150\n");
  collect(f, 1);
  g_assert_cmpfloat_with_epsilon(f->sample.memory_percent, 65.0, 1e-9);
  put(f, "cgroup/pod/memory.current", "9999\n");
  collect(f, 2);
  g_assert_cmpfloat_with_epsilon(f->sample.memory_percent, 100.0, 1e-9);
  put(f, "cgroup/pod/memory.max", "0\n");
  collect(f, 3);
  g_assert_cmpfloat_with_epsilon(f->sample.memory_percent, 10.0, 1e-9); /* the machine */
}

static void test_odd_groups(Fixture *f, gconstpointer data) {
  (void)data;
  static const char *const groups[] = { "",           "0::\n",       "0::/\n", "0::/../../etc\n",
                                        "0::/a/../b", "0::/a/b/c/d", "x" };
  for (guint i = 0; i < G_N_ELEMENTS(groups); i++) {
    put_idle_machine(f);
    put(f, "proc/self/cgroup", groups[i]);
    put(f, "cgroup/cpu.max", "x\n");
    put(f, "cgroup/memory.max", "x\n");
    collect(f, (gint64)i);
    g_assert_cmpfloat_with_epsilon(f->sample.memory_percent, 10.0, 1e-9);
  }
}

static void test_disk_of_a_path_that_is_not_there_yet(Fixture *f, gconstpointer data) {
  (void)data;
  collect(f, 1);
  AinLoadSample there = f->sample;
  f->sample = (AinLoadSample){ 0 };
  g_autofree char *path = g_build_filename(f->root, "not", "yet", NULL);
  f->source.path = path;
  collect(f, 2);
  g_assert_cmpfloat_with_epsilon(f->sample.disk_percent, there.disk_percent, 1.0);
  g_assert_cmpfloat(f->sample.free_disk_gib, >, 0);
  f->source.path = "relative/not/there";
  collect(f, 3);
  g_assert_cmpfloat(f->sample.free_disk_gib, >, 0);
}

typedef struct {
  Fixture f;
  AinLoop *loop;
  AinLoadMeter *meter;
  guint looks;
} Life;

static void look(gpointer data) {
  Life *life = data;
  if (ain_observe_load_read(life->meter).cpu_percent > 50 || ++life->looks > 2000) {
    ain_loop_quit(life->loop);
    return;
  }
  ain_loop_timer(life->loop, ain_loop_now() + 5000, look, life);
}

static void test_meter_samples_again(void) {
  Life life = { 0 };
  set_up(&life.f, NULL);
  put_idle_machine(&life.f);
  life.loop = ain_loop_new(1, NULL);
  life.meter = ain_load_meter_new(life.loop, &life.f.source, 2000);
  g_assert_cmpfloat_with_epsilon(ain_observe_load_read(life.meter).cpu_percent, 10.0, 1e-9); /* at once */
  put(&life.f, "proc/stat", "cpu  100 0 0 100 0 0 0 0 0 0\n");
  ain_loop_post(life.loop, look, &life);
  ain_loop_run(life.loop);
  g_assert_cmpfloat_with_epsilon(ain_observe_load_read(life.meter).cpu_percent, 90.0, 1e-9);
  ain_observe_load_free(life.meter);
  ain_loop_free(life.loop);
  tear_down(&life.f, NULL);
}

static void free_meter(gpointer data) {
  Life *life = data;
  ain_observe_load_free(life->meter);
  life->meter = NULL;
  ain_loop_quit(life->loop);
}

/* Freed at any moment, also while the helper is at work: nothing leaks, nothing is touched afterwards. */
static void test_meter_freed_in_flight(void) {
  for (gint64 delay = 0; delay < 30; delay++) {
    Life life = { 0 };
    life.loop = ain_loop_new(1, NULL);
    AinLoadSource source = { "/proc", "/sys/fs/cgroup", "/" };
    life.meter = ain_load_meter_new(life.loop, &source, 0); /* always in flight */
    ain_loop_timer(life.loop, ain_loop_now() + delay * 50, free_meter, &life);
    ain_loop_run(life.loop);
    ain_loop_free(life.loop);
  }
  ain_observe_load_free(NULL);
}

static void test_this_machine(void) {
  AinLoop *loop = ain_loop_new(1, NULL);
  gint64 before = ain_loop_now();
  AinLoadMeter *meter = ain_observe_load_new(loop, "/");
  g_test_message("first sample: %" G_GINT64_FORMAT " us", ain_loop_now() - before);
  AinLoadSample sample = ain_observe_load_read(meter);
  g_assert_cmpfloat(sample.memory_percent, >, 0);
  g_assert_cmpfloat(sample.memory_percent, <=, 100);
  g_assert_cmpfloat(sample.cpu_percent, >=, 0);
  g_assert_cmpfloat(sample.cpu_percent, <=, 100);
  g_assert_cmpfloat(sample.disk_percent, >=, 0);
  g_assert_cmpfloat(sample.disk_percent, <=, 100);
  ain_observe_load_free(meter);
  ain_loop_free(loop);
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  ADD("/load/memory-limit", test_memory_limit);
  ADD("/load/machine", test_machine);
  ADD("/load/odd-files", test_odd_files);
  ADD("/load/no-files", test_no_files);
  ADD("/load/cgroup-cpu", test_cgroup_cpu);
  ADD("/load/cgroup-memory", test_cgroup_memory);
  ADD("/load/odd-groups", test_odd_groups);
  ADD("/load/disk-not-there-yet", test_disk_of_a_path_that_is_not_there_yet);
  g_test_add_func("/load/meter-samples-again", test_meter_samples_again);
  g_test_add_func("/load/meter-freed-in-flight", test_meter_freed_in_flight);
  g_test_add_func("/load/this-machine", test_this_machine);
  return g_test_run();
}
