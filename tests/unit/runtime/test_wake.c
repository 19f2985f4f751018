/* The wake protocol alone: millions of hand-overs between host and worker, both of which yield, fall asleep
 * and wake at random moments. A lost wake-up is a hang: ten seconds without an answer end the test. Each
 * answer is checked. */
#include "runtime/runtime.h"

#include <stdlib.h>
#include <time.h>

#define STALL_US (G_GINT64_CONSTANT(10) * G_USEC_PER_SEC)

typedef struct {
  AinLoop *loop;
  AinWorker *worker;
  guint depth;   /* jobs under way at once */
  guint64 given; /* jobs so far */
  guint64 taken; /* answers so far */
  guint64 total;
  guint64 seen; /* taken, when the watchman last looked */
  guint32 random;
} Test;

static void give(Test *test);

static void on_done(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data) {
  Test *test = data;
  g_assert_no_error(error);
  g_assert_cmpuint(*(const guint64 *)result->data, ==, test->taken); /* in order, none twice */
  ain_slot_release(slot);
  if (++test->taken == test->total) {
    ain_loop_quit(test->loop);
    return;
  }
  /* Now and then a pause long enough that the worker is just falling asleep. */
  test->random = test->random * 1664525 + 1013904223;
  if (test->random >> 24 == 0) {
    struct timespec pause = { .tv_nsec = (long)(test->random & 0x3FFFF) };
    nanosleep(&pause, NULL);
  }
  give(test);
}

static void give(Test *test) {
  AinJobShape shape = { .dtype = AIN_DTYPE_INT64, .batch = 1, .rows = 1, .columns = 1 };
  while (test->given < test->total && test->given - test->taken < test->depth) {
    g_autoptr(GError) error = NULL;
    AinSlot *slot = ain_slot_take(test->worker, &shape, &error);
    g_assert_no_error(error);
    *(guint64 *)ain_slot_data(slot) = test->given++;
    ain_slot_submit(slot, on_done, test);
  }
}

static void watch(gpointer data) {
  Test *test = data;
  if (test->seen == test->taken) {
    g_error("no answer for ten seconds after %" G_GUINT64_FORMAT " hand-overs: a wake-up was lost",
            test->taken);
  }
  test->seen = test->taken;
  ain_loop_timer(test->loop, ain_loop_now() + STALL_US, watch, test);
}

static void on_loaded(AinWorker *worker, const char *findings, gpointer data) {
  (void)worker;
  (void)findings;
  Test *test = data;
  test->seen = G_MAXUINT64;
  watch(test);
  give(test);
}

static void on_ended(AinWorker *worker, const GError *error, gpointer data) {
  (void)worker;
  (void)data;
  g_error("the worker ended: %s", error->message);
}

static guint64 hand_overs(void) {
  const char *text = g_getenv("AIN_TEST_HANDOVERS");
  return text != NULL ? g_ascii_strtoull(text, NULL, 10) : AIN_TEST_HANDOVERS;
}

static void test_hand_overs(gconstpointer data) {
  static const AinWorkerEvents events = { on_loaded, on_ended };
  g_autoptr(GError) error = NULL;
  Test test = { .depth = GPOINTER_TO_UINT(data), .total = hand_overs() / 2, .random = 12345 };
  test.loop = ain_loop_new(1, &error);
  g_assert_no_error(error);
  AinRuntimeConfig config = { .lib_dir = AIN_TEST_IDENTITY, .work_dir = g_get_tmp_dir(), .python = "none" };
  AinRuntime *runtime = ain_runtime_new(test.loop, &config, &error);
  g_assert_no_error(error);
  AinWorkerSpec spec = {
    .name = "pauses",
    .kind = "identity",
    .directory = "/",
    .dtype = AIN_DTYPE_INT64,
    .input_shape = { 1, 1 },
    .output_shape = { 1, 1 },
    .max_batch = 1,
  };
  test.worker = ain_worker_start(runtime, &spec, &events, &test);
  gint64 begun = ain_loop_now();
  ain_loop_run(test.loop);
  g_assert_cmpuint(test.taken, ==, test.total);
  g_test_message("%" G_GUINT64_FORMAT " hand-overs, %.2f us each", test.total,
                 (double)(ain_loop_now() - begun) / (double)test.total);
  ain_worker_free(test.worker);
  ain_runtime_free(runtime);
  ain_loop_free(test.loop);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_data_func("/runtime/wake/one-by-one", GUINT_TO_POINTER(1), test_hand_overs);
  g_test_add_data_func("/runtime/wake/one-ahead", GUINT_TO_POINTER(2), test_hand_overs);
  return g_test_run();
}
