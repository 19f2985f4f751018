/* Host -> worker -> host, without RPC and without a model: [1, 96, 2] of float32 there and back, one after
 * the other.
 *
 *   bench_identity LIB PYTHON LIBPYTHON|- [ROUND-TRIPS]
 *
 * LIB: a folder with ainode-runtime, _ainode.abi3.so and pyruntime/ (compare.py lays one out around
 * bench/identity), or build/<preset>/identity, whose worker is memcpy in C. Prints one line of JSON. */
#include "base/loop.h"
#include "runtime/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROWS 96
#define COLUMNS 2
#define WARM 2000

typedef struct {
  AinLoop *loop;
  AinWorker *worker;
  guint32 *times; /* ns */
  gint64 begun;
  guint at;
  guint total;
} Bench;

static gint64 now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (gint64)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void give(Bench *bench);

static void on_done(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data) {
  Bench *bench = data;
  if (error != NULL) {
    g_error("%s", error->message);
  }
  const float *values = result->data;
  gint64 took = now_ns() - bench->begun;
  if (values[0] != (float)bench->at || values[ROWS * COLUMNS - 1] != (float)bench->at) {
    g_error("a wrong answer after %u round trips", bench->at);
  }
  if (bench->at >= WARM) {
    bench->times[bench->at - WARM] = (guint32)MIN(took, G_MAXUINT32);
  }
  ain_slot_release(slot);
  if (++bench->at == bench->total + WARM) {
    ain_loop_quit(bench->loop);
  } else {
    give(bench);
  }
}

static void give(Bench *bench) {
  g_autoptr(GError) error = NULL;
  AinJobShape shape = { .dtype = AIN_DTYPE_FLOAT32, .batch = 1, .rows = ROWS, .columns = COLUMNS };
  bench->begun = now_ns();
  AinSlot *slot = ain_slot_take(bench->worker, &shape, &error);
  if (slot == NULL) {
    g_error("%s", error->message);
  }
  float *values = ain_slot_data(slot);
  for (guint i = 0; i < ROWS * COLUMNS; i++) {
    values[i] = (float)bench->at;
  }
  ain_slot_submit(slot, on_done, bench);
}

static void on_loaded(AinWorker *worker, const char *findings, gpointer data) {
  (void)worker;
  (void)findings;
  give(data);
}

static void on_ended(AinWorker *worker, const GError *error, gpointer data) {
  (void)worker;
  (void)data;
  g_error("%s", error->message);
}

static int compare_times(const void *a, const void *b) {
  guint32 first = *(const guint32 *)a;
  guint32 second = *(const guint32 *)b;
  return (first > second) - (first < second);
}

static void print(const Bench *bench) {
  qsort(bench->times, bench->total, sizeof *bench->times, compare_times);
  const guint32 *times = bench->times;
  printf("{\"round_trips\": %u, \"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.1f}\n",
         bench->total, times[bench->total / 2] / 1e3, times[(guint64)bench->total * 9 / 10] / 1e3,
         times[(guint64)bench->total * 99 / 100] / 1e3, times[bench->total - 1] / 1e3);
}

int main(int argc, char **argv) {
  static const AinWorkerEvents events = { on_loaded, on_ended };
  if (argc < 4) {
    fprintf(stderr, "usage: bench_identity LIB PYTHON LIBPYTHON|- [ROUND-TRIPS]\n");
    return 2;
  }
  g_autoptr(GError) error = NULL;
  Bench bench = { .total =
                      argc > 4 ? (guint)CLAMP(g_ascii_strtoull(argv[4], NULL, 10), 1, 100000000) : 1000000 };
  bench.times = g_new(guint32, bench.total);
  bench.loop = ain_loop_new(1, &error);
  g_autofree char *lib_dir = g_canonicalize_filename(argv[1], NULL);
  AinRuntimeConfig config = { .lib_dir = lib_dir,
                              .work_dir = g_get_tmp_dir(),
                              .python = argv[2],
                              .libpython = g_str_equal(argv[3], "-") ? NULL : argv[3] };
  AinRuntime *runtime = bench.loop != NULL ? ain_runtime_new(bench.loop, &config, &error) : NULL;
  if (runtime == NULL) {
    g_error("%s", error->message);
  }
  AinWorkerSpec spec = {
    .name = "identity",
    .kind = "identity",
    .directory = "/",
    .dtype = AIN_DTYPE_FLOAT32,
    .input_shape = { ROWS, COLUMNS },
    .output_shape = { ROWS, COLUMNS },
    .max_batch = 1,
  };
  bench.worker = ain_worker_start(runtime, &spec, &events, &bench);
  ain_loop_run(bench.loop);
  print(&bench);
  ain_worker_free(bench.worker);
  ain_runtime_free(runtime);
  ain_loop_free(bench.loop);
  g_free(bench.times);
  return 0;
}
