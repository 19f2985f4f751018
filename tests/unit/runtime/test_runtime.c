/* Workers in a real interpreter with real PyTorch: forked and spawned, jobs of all sizes, deaths and lies. */
#include "base/error.h"
#include "base/fd.h"
#include "runtime/runtime.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  AinLoop *loop;
  AinRuntime *runtime;
  AinWorker *worker;
  char *findings; /* set when loaded */
  GError *end;    /* set when ended */
  /* of the last job */
  gboolean answered;
  GError *error;
  guint32 rows;
  guint32 columns;
  guint64 copied;
  guint64 offset;
  float *values;
  gint64 until;
} Fixture;

static const char *python;
static char *libpython;
static char *work_dir;
static gint64 start_us;
static gint64 idle_us;

static void make_models(void) {
  g_autoptr(GError) error = NULL;
  int status = 0;
  char *argv[] = { (char *)python, (char *)AIN_TEST_MODELS, (char *)AIN_TEST_OUT, NULL };
  if (!g_file_test(AIN_TEST_OUT "/dlinear/config.yaml", G_FILE_TEST_EXISTS)) {
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
  }
}

static void find_libpython(void) {
  g_autofree char *out = NULL;
  char *argv[] = {
    (char *)python, "-c",
    "import os,sysconfig as s; v=s.get_config_var; p=os.path.join(v('LIBDIR'),v('INSTSONAME'));"
    "print(p if '.so' in p and os.path.exists(p) else '',end='')",
    NULL
  };
  g_assert_true(g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, NULL, NULL, NULL));
  libpython = out[0] != '\0' ? g_steal_pointer(&out) : NULL;
}

static void timeout(gpointer data) {
  (void)data;
  g_error("the test took too long");
}

static void fixture_init(Fixture *f, gboolean forking, gboolean embedding) {
  g_autoptr(GError) error = NULL;
  memset(f, 0, sizeof *f);
  f->loop = ain_loop_new(1, &error);
  g_assert_no_error(error);
  AinRuntimeConfig config = { .lib_dir = AIN_TEST_LIB,
                              .work_dir = work_dir,
                              .python = python,
                              .libpython = embedding ? libpython : NULL,
                              .fork = forking,
                              .prototype_start_us = start_us,
                              .prototype_idle_us = idle_us,
                              .sandbox = TRUE,
                              .shared_memory = 64U << 20 };
  f->runtime = ain_runtime_new(f->loop, &config, &error);
  g_assert_no_error(error);
  ain_runtime_start(f->runtime);
}

static void fixture_clear(Fixture *f) {
  ain_worker_free(f->worker);
  ain_runtime_free(f->runtime);
  ain_loop_free(f->loop);
  g_free(f->findings);
  g_free(f->values);
  g_clear_error(&f->end);
  g_clear_error(&f->error);
}

static void run(Fixture *f) {
  AinLoopTimer *timer = ain_loop_timer(f->loop, ain_loop_now() + 60 * G_USEC_PER_SEC, timeout, f);
  ain_loop_run(f->loop);
  ain_loop_timer_stop(timer);
  /* The loop is asked to quit for good: a fresh one is not needed, only its flag. */
}

static void on_loaded(AinWorker *worker, const char *findings, gpointer data) {
  (void)worker;
  Fixture *f = data;
  f->findings = g_strdup(findings);
  ain_loop_quit(f->loop);
}

static void on_ended(AinWorker *worker, const GError *error, gpointer data) {
  Fixture *f = data;
  g_assert_true(worker == f->worker);
  f->end = g_error_copy(error);
  ain_loop_quit(f->loop);
}

static void start_loading(Fixture *f, const char *name, gint32 rows, gint32 columns, gint32 out_rows,
                          gboolean prove) {
  static const AinWorkerEvents events = { on_loaded, on_ended };
  g_autofree char *directory = g_build_filename(AIN_TEST_OUT, name, NULL);
  AinWorkerSpec spec = {
    .name = name,
    .kind = "torchscript",
    .directory = directory,
    .dtype = AIN_DTYPE_FLOAT32,
    .input_shape = { rows, columns },
    .output_shape = { out_rows, columns },
    .max_batch = 4,
    .prove = prove,
  };
  f->worker = ain_worker_start(f->runtime, &spec, &events, f);
}

static void load(Fixture *f, const char *name, gint32 rows, gint32 columns, gint32 out_rows, gboolean prove) {
  start_loading(f, name, rows, columns, out_rows, prove);
  run(f);
}

static void on_done(AinSlot *slot, const AinJobResult *result, const GError *error, gpointer data) {
  Fixture *f = data;
  f->answered = TRUE;
  g_clear_error(&f->error);
  g_clear_pointer(&f->values, g_free);
  if (error != NULL) {
    f->error = g_error_copy(error);
  } else {
    g_assert_cmpint(result->dtype, ==, AIN_DTYPE_FLOAT32);
    f->rows = result->rows;
    f->columns = result->columns;
    f->copied = result->copied_bytes;
    f->offset = result->input_offset;
    f->values = g_memdup2(result->data, sizeof(float) * result->batch * result->rows * result->columns);
  }
  ain_slot_release(slot);
  ain_loop_quit(f->loop);
}

static float value_at(gsize i) {
  return (float)(i % 1000) * 0.5F;
}

static void ask(Fixture *f, guint32 batch, guint32 rows, guint32 columns, float first) {
  g_autoptr(GError) error = NULL;
  AinJobShape shape = { .dtype = AIN_DTYPE_FLOAT32, .batch = batch, .rows = rows, .columns = columns };
  AinSlot *slot = ain_slot_take(f->worker, &shape, &error);
  g_assert_no_error(error);
  float *values = ain_slot_data(slot);
  for (gsize i = 0; i < (gsize)batch * rows * columns; i++) {
    values[i] = value_at(i);
  }
  values[0] = first;
  f->answered = FALSE;
  ain_slot_submit(slot, on_done, f);
  while (!f->answered) {
    run(f);
  }
}

static void check_identity(Fixture *f, guint32 batch, guint32 rows, guint32 columns) {
  ask(f, batch, rows, columns, 7.0F);
  g_assert_no_error(f->error);
  g_assert_cmpuint(f->rows, ==, rows);
  g_assert_cmpuint(f->columns, ==, columns);
  g_assert_cmpuint(f->copied, ==, 0);
  g_assert_cmpuint(f->offset, ==, 0); /* the array that the model saw begins where the slot begins */
  g_assert_cmpfloat(f->values[0], ==, 7.0F);
  for (gsize i = 1; i < (gsize)batch * rows * columns; i++) {
    g_assert_cmpfloat(f->values[i], ==, value_at(i));
  }
}

typedef struct {
  gboolean forking;
  gboolean embedding;
} Mode;

static void test_jobs(gconstpointer data) {
  const Mode *mode = data;
  Fixture f;
  fixture_init(&f, mode->forking, mode->embedding);
  load(&f, "identity", 96, 2, 96, TRUE);
  g_assert_no_error(f.end);
  g_assert_cmpstr(f.findings, ==, "dtype=float32 batch=32 threads=1");
  g_assert_cmpuint(ain_worker_free_slots(f.worker), ==, 2);
  for (int i = 0; i < 50; i++) {
    check_identity(&f, 1, 96, 2);
  }
  check_identity(&f, 4, 96, 2);
  check_identity(&f, 1, 500000, 2); /* memory of its own, both ways */
  check_identity(&f, 1, 96, 2);
  fixture_clear(&f);
}

static void test_model_that_raises(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  load(&f, "raises", 96, 2, 96, FALSE);
  g_assert_no_error(f.end);
  ask(&f, 1, 96, 2, 2e6F);
  g_assert_error(f.error, AIN_ERROR, AIN_ERROR_MODEL_FAILED);
  g_assert_nonnull(strstr(f.error->message, "[raises]"));
  ask(&f, 1, 96, 2, 1.0F);
  g_assert_no_error(f.error);
  fixture_clear(&f);
}

static void test_worker_that_dies(gconstpointer data) {
  const Mode *mode = data;
  Fixture f;
  fixture_init(&f, mode->forking, TRUE);
  load(&f, "segfaults", 96, 2, 96, FALSE);
  g_assert_no_error(f.end);
  ask(&f, 1, 96, 2, 2e6F);
  g_assert_error(f.error, AIN_ERROR, AIN_ERROR_WORKER_DIED);
  g_assert_nonnull(strstr(f.error->message, "signal"));
  if (f.end == NULL) {
    run(&f);
  }
  g_assert_error(f.end, AIN_ERROR, AIN_ERROR_WORKER_DIED);
  g_assert_cmpint(ain_worker_end_signal(f.worker), !=, 0);
  fixture_clear(&f);
}

/* The tensor is the slot: it is mapped read-only in the worker, so a model that writes into its input cannot
 * live. */
static void test_tensor_is_the_slot(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  load(&f, "writes_input", 96, 2, 96, FALSE);
  g_assert_no_error(f.end);
  ask(&f, 1, 96, 2, 1.0F);
  g_assert_error(f.error, AIN_ERROR, AIN_ERROR_WORKER_DIED);
  if (f.end == NULL) {
    run(&f);
  }
  g_assert_cmpint(ain_worker_end_signal(f.worker), ==, SIGSEGV);
  fixture_clear(&f);
}

static void test_model_that_does_not_load(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  load(&f, "no-such-model", 96, 2, 96, FALSE);
  g_assert_error(f.end, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
  g_assert_nonnull(strstr(f.end->message, "is missing"));
  fixture_clear(&f);
}

static void test_proof_refuses_a_wrong_shape(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  load(&f, "identity", 96, 2, 48, TRUE);
  g_assert_error(f.end, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
  g_assert_nonnull(strstr(f.end->message, "output_shape [48, 2]"));
  fixture_clear(&f);
}

static void test_kept_input_is_seen(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  load(&f, "keeps_input", 96, 2, 96, FALSE);
  g_assert_no_error(f.end);
  ask(&f, 1, 96, 2, 1.0F);
  g_assert_true(ain_worker_kept_input(f.worker));
  fixture_clear(&f);
}

static void signal_prototype(int number) {
  g_autofree char *children = NULL;
  g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children", (int)getpid());
  g_assert_true(g_file_get_contents(path, &children, NULL, NULL));
  kill((pid_t)g_ascii_strtoll(children, NULL, 10), number);
}

static void look_ready(gpointer data) {
  Fixture *f = data;
  const char *reason;
  if (ain_runtime_state(f->runtime, &reason) == AIN_RUNTIME_READY) {
    ain_loop_quit(f->loop);
  } else {
    ain_loop_timer(f->loop, ain_loop_now() + G_USEC_PER_SEC / 100, look_ready, f);
  }
}

/* With a worker that is loading or loaded: kills the prototype; returns the state after that. */
static AinRuntimeState lose_prototype(Fixture *f) {
  const char *reason;
  signal_prototype(SIGKILL);
  run(f);
  g_assert_error(f->end, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  g_assert_nonnull(strstr(f->end->message, "signal 9"));
  ain_worker_free(g_steal_pointer(&f->worker));
  g_clear_error(&f->end);
  g_clear_pointer(&f->findings, g_free);
  return ain_runtime_state(f->runtime, &reason);
}

/* As often as it is killed after it has done its work, the next one is started. */
static void test_death_of_the_prototype(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  for (int i = 0; i < 4; i++) {
    look_ready(&f);
    run(&f);
    load(&f, "identity", 96, 2, 96, FALSE);
    g_assert_no_error(f.end);
    g_assert_cmpint(lose_prototype(&f), ==, AIN_RUNTIME_STARTING);
  }
  fixture_clear(&f);
}

/* Each of them ends as soon as it is to fork. */
static void test_prototypes_of_no_use(void) {
  Fixture f;
  fixture_init(&f, TRUE, TRUE);
  for (int i = 0; i < 3; i++) {
    look_ready(&f);
    run(&f);
    start_loading(&f, "identity", 96, 2, 96, FALSE);
    g_assert_cmpint(lose_prototype(&f), ==, i < 2 ? AIN_RUNTIME_STARTING : AIN_RUNTIME_FAILED);
  }
  fixture_clear(&f);
}

/* As one whose import waits for ever: who waits for it is told, and another one is tried. */
static void test_prototype_that_never_gets_ready(void) {
  Fixture f;
  const char *reason;
  start_us = G_USEC_PER_SEC;
  fixture_init(&f, TRUE, TRUE);
  start_us = 0;
  signal_prototype(SIGSTOP);
  start_loading(&f, "identity", 96, 2, 96, FALSE);
  run(&f);
  g_assert_error(f.end, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  g_assert_nonnull(strstr(f.end->message, "signal 9"));
  g_assert_cmpint(ain_runtime_state(f.runtime, &reason), ==, AIN_RUNTIME_STARTING);
  fixture_clear(&f);
}

static void look_idle(gpointer data) {
  ain_loop_quit(((Fixture *)data)->loop);
}

/* Without a worker the prototype ends; the next worker brings another one. */
static void test_idle_prototype_ends_and_comes_back(void) {
  Fixture f;
  idle_us = G_USEC_PER_SEC / 2;
  fixture_init(&f, TRUE, TRUE);
  idle_us = 0;
  load(&f, "identity", 96, 2, 96, FALSE);
  g_assert_no_error(f.end);
  ain_worker_free(g_steal_pointer(&f.worker));
  g_clear_pointer(&f.findings, g_free);
  ain_loop_timer(f.loop, ain_loop_now() + 2 * G_USEC_PER_SEC, look_idle, &f);
  run(&f);
  g_autofree char *children = NULL;
  g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children", (int)getpid());
  g_assert_true(g_file_get_contents(path, &children, NULL, NULL));
  g_assert_cmpstr(children, ==, "");
  const char *reason;
  g_assert_cmpint(ain_runtime_state(f.runtime, &reason), ==, AIN_RUNTIME_READY);
  load(&f, "identity", 96, 2, 96, FALSE);
  g_assert_no_error(f.end);
  check_identity(&f, 1, 96, 2);
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  static const Mode forked = { TRUE, TRUE };
  static const Mode spawned = { FALSE, TRUE };
  static const Mode forked_exec = { TRUE, FALSE };
  static const Mode spawned_exec = { FALSE, FALSE };
  g_test_init(&argc, &argv, NULL);
  g_log_set_always_fatal(G_LOG_FATAL_MASK); /* deaths of workers are warned about, and wanted here */
  python = g_getenv("AIN_TEST_PYTHON");
  if (python == NULL) {
    g_printerr("set AIN_TEST_PYTHON to a Python with numpy and torch\n");
    return 1;
  }
  make_models();
  find_libpython();
  g_test_add_data_func("/runtime/jobs/forked", &forked, test_jobs);
  g_test_add_data_func("/runtime/jobs/spawned", &spawned, test_jobs);
  g_test_add_data_func("/runtime/jobs/forked-exec-mode", &forked_exec, test_jobs);
  g_test_add_data_func("/runtime/jobs/spawned-exec-mode", &spawned_exec, test_jobs);
  g_test_add_func("/runtime/raises", test_model_that_raises);
  g_test_add_data_func("/runtime/dies/forked", &forked, test_worker_that_dies);
  g_test_add_data_func("/runtime/dies/spawned", &spawned, test_worker_that_dies);
  g_test_add_func("/runtime/zero-copy/tensor-is-the-slot", test_tensor_is_the_slot);
  g_test_add_func("/runtime/does-not-load", test_model_that_does_not_load);
  g_test_add_func("/runtime/proof/wrong-shape", test_proof_refuses_a_wrong_shape);
  g_test_add_func("/runtime/kept-input", test_kept_input_is_seen);
  g_test_add_func("/runtime/prototype-idle", test_idle_prototype_ends_and_comes_back);
  g_test_add_func("/runtime/prototype-dies", test_death_of_the_prototype);
  g_test_add_func("/runtime/prototype-never-ready", test_prototype_that_never_gets_ready);
  g_test_add_func("/runtime/prototypes-of-no-use", test_prototypes_of_no_use);
  work_dir = g_dir_make_tmp("ain-runtime-XXXXXX", NULL);
  int status = g_test_run();
  g_assert_true(ain_file_remove_tree(work_dir, NULL));
  g_free(work_dir);
  g_free(libpython);
  return status;
}
