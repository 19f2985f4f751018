/* Weights that come, change and go while the registry runs. */
#include "base/error.h"
#include "base/fd.h"
#include "fixture.h"
#include "weights_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATISTICAL                                                                                          \
  "arima:active holtwinters:active exponential_smoothing:active naive_forecaster:active "                    \
  "stl_forecaster:active gaussian_hmm:active gmm_hmm:active stray:active "
#define LIST(rest) STATISTICAL rest
/* The promise is two seconds; a loaded machine under a sanitizer gets more. */
#define PATIENCE_US ((gint64)20 * G_USEC_PER_SEC)

static void begin(gpointer data) {
  Fixture *f = data;
  g_autofree char *early = g_build_filename(f->models, "weights", NULL);
  g_autofree char *later = g_build_filename(f->models, "builtin", NULL);
  const char *directories[] = { early, later, NULL };
  ain_registry_add_builtins(f->registry);
  ain_registry_watch_weights(f->registry, directories);
}

static void open_fixture(Fixture *f) {
  fixture_init(f);
  fixture_call(f, begin, f);
}

static char *place(const Fixture *f, const char *root, const char *id) {
  return g_build_filename(f->models, root, id, NULL);
}

static void assert_becomes(Fixture *f, const char *expected) {
  gint64 deadline = g_get_monotonic_time() + PATIENCE_US;
  g_autofree char *list = fixture_list(f);
  while (strcmp(list, expected) != 0 && g_get_monotonic_time() < deadline) {
    g_usleep(20000);
    g_free(list);
    list = fixture_list(f);
  }
  g_assert_cmpstr(list, ==, expected);
}

static void assert_refused(Fixture *f, const char *id, int code, const char *part) {
  g_autoptr(GError) error = NULL;
  g_autoptr(AinModel) model = fixture_lookup(f, id, &error);
  g_assert_null(model);
  g_assert_error(error, AIN_ERROR, code);
  g_test_message("%s", error->message);
  g_assert_nonnull(strstr(error->message, part));
}

static void test_builtins_are_listed_first(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *uri = fixture_source(&f, "source", "model", GOOD_CONFIG);
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "mine", uri));
  g_assert_no_error(outcome->error);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive mine:active"));
  g_autoptr(GError) error = NULL;
  g_autoptr(AinModel) model = fixture_lookup(&f, "_Arima", &error);
  g_assert_no_error(error);
  g_assert_cmpstr(model->id, ==, "arima");
  g_assert_true(ain_model_is_flexible(model));
  g_assert_cmpint(model->dtype, ==, AIN_DTYPE_FLOAT64);
  assert_refused(&f, "sundial", AIN_ERROR_INVALID, "weights/sundial");
  fixture_clear(&f);
}

static void test_protected(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *tuned = place(&f, "weights", "tuned");
  g_autofree char *uri = fixture_source(&f, "source", "model", GOOD_CONFIG);
  weights_put(tuned, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive tuned:active"));
  static const char *const ids[] = { "arima", "sundial", "timer_xl", "_arima" };
  for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
    g_autoptr(Outcome) dropped = fixture_wait(fixture_drop(&f, ids[i]));
    g_assert_error(dropped->error, AIN_ERROR, AIN_ERROR_MODEL_BUILTIN);
    g_autoptr(Outcome) made = fixture_wait(fixture_register(&f, ids[i], uri));
    g_assert_error(made->error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
  }
  g_autoptr(Outcome) dropped = fixture_wait(fixture_drop(&f, "tuned"));
  g_assert_error(dropped->error, AIN_ERROR, AIN_ERROR_DROP_FAILED);
  g_assert_nonnull(strstr(dropped->error->message, tuned));
  g_autoptr(Outcome) made = fixture_wait(fixture_register(&f, "tuned", uri));
  g_assert_error(made->error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
  fixture_clear(&f);
}

static void test_come_and_go(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *sundial = place(&f, "weights", "sundial");
  g_autofree char *tuned = place(&f, "builtin", "tuned");
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive"));
  weights_put(sundial, SUNDIAL_CONFIG, NULL, 0);
  gint64 begun = g_get_monotonic_time();
  weights_put(sundial, NULL, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  g_test_message("active %.3f s after the last close", (double)(g_get_monotonic_time() - begun) / 1e6);
  weights_put(tuned, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA); /* the folder builtin is new, too */
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active tuned:active"));
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_file_remove_tree(sundial, &error));
  g_assert_true(ain_file_remove_tree(tuned, &error));
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive"));
  g_assert_cmpuint(f.retired->len, ==, 2);
  assert_refused(&f, "tuned", AIN_ERROR_MODEL_NOT_FOUND, "tuned");
  fixture_clear(&f);
}

static void test_faults_have_a_state_and_a_sentence(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *sundial = place(&f, "weights", "sundial");
  weights_put(sundial, SUNDIAL_CONFIG, GOOD_HEADER, GOOD_DATA - 1);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:failed"));
  assert_refused(&f, "sundial", AIN_ERROR_MODEL_INVALID, "ends behind the end of the file");
  g_assert_true(fixture_logged(&f, "model sundial cannot be used: "));
  g_assert_true(fixture_logged(&f, sundial));
  weights_put(sundial, "{", GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:failed"));
  weights_put(sundial, SUNDIAL_CONFIG, NULL, 0);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  fixture_clear(&f);
}

/* What was no fault of the weights passes, and they are tried again without anybody's doing. */
static void test_passing_failures_are_tried_again(void) {
  static const int codes[] = { AIN_ERROR_ENVIRONMENT, AIN_ERROR_EXHAUSTED, AIN_ERROR_WORKER_DIED,
                               AIN_ERROR_TIMEOUT };
  for (guint i = 0; i < G_N_ELEMENTS(codes); i++) {
    Fixture f;
    open_fixture(&f);
    f.fail_code = codes[i];
    g_autofree char *sundial = place(&f, "weights", "sundial");
    weights_put(sundial, SUNDIAL_CONFIG, GOOD_HEADER, GOOD_DATA);
    assert_becomes(&f, LIST("timer_xl:inactive sundial:failed"));
    pthread_mutex_lock(&fixture_lock);
    f.fail_code = 0;
    pthread_mutex_unlock(&fixture_lock);
    assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
    g_assert_cmpuint(f.proofs, >=, 2);
    fixture_clear(&f);
  }
}

static void test_what_does_not_load_is_tried_once(void) {
  Fixture f;
  open_fixture(&f);
  f.fail_code = AIN_ERROR_MODEL_INVALID;
  g_autofree char *sundial = place(&f, "weights", "sundial");
  weights_put(sundial, SUNDIAL_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:failed"));
  assert_refused(&f, "sundial", AIN_ERROR_MODEL_INVALID, "told to fail");
  g_autofree char *note = g_build_filename(sundial, "README", NULL);
  fixture_write(note, "x", 1); /* an event, but the files are the same */
  g_usleep(700000);
  fixture_wait_proofs(&f, 1);
  g_assert_cmpuint(f.proofs, ==, 1);
  f.fail_code = 0;
  weights_put(sundial, SUNDIAL_CONFIG, NULL, 0);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  fixture_clear(&f);
}

/* New files that are renamed in: the old model serves until the new one is known to load. */
static void test_replaced_by_rename(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *sundial = place(&f, "weights", "sundial");
  weights_put(sundial, SUNDIAL_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  g_autoptr(AinModel) before = fixture_lookup(&f, "sundial", NULL);
  f.mode = PROVE_HELD;
  g_autoptr(GBytes) file = weights_file("{}  ", 0);
  g_autofree char *path = g_build_filename(sundial, "model.safetensors", NULL);
  fixture_write(path, g_bytes_get_data(file, NULL), g_bytes_get_size(file));
  fixture_wait_proofs(&f, 2);
  g_autoptr(AinModel) meanwhile = fixture_lookup(&f, "sundial", NULL);
  g_assert_true(meanwhile == before);
  fixture_release(&f);
  g_autoptr(AinModel) after = fixture_lookup(&f, "sundial", NULL);
  g_assert_nonnull(after);
  g_assert_cmpuint(after->generation, >, before->generation);
  g_assert_cmpuint(f.retired->len, ==, 1);
  fixture_clear(&f);
}

/* What is loaded in advance, held back until the test says that it is ready. Used on the loop's thread. */
typedef struct {
  Fixture *f;
  AinModel *model;
  void (*done)(gpointer data);
  gpointer data;
} Warming;

static void hold_warming(AinModel *model, void (*done)(gpointer data), gpointer done_data, gpointer data) {
  Warming *warming = data;
  warming->model = ain_model_ref(model);
  warming->done = done;
  warming->data = done_data;
}

static void begin_holding(gpointer data) {
  Warming *warming = data;
  ain_registry_on_publish(warming->f->registry, hold_warming, warming);
}

static void look_at_warming(gpointer data) {
  Warming *copies = data; /* the second one becomes what the first one is now */
  copies[1] = copies[0];
}

static void end_warming(gpointer data) {
  const Warming *warming = data;
  warming->done(warming->data);
}

/* Nobody would end the processes of a model that nothing ever finds. */
static void test_removed_while_it_is_loaded_in_advance(void) {
  Fixture f;
  open_fixture(&f);
  Warming warming[2] = { { .f = &f }, { .f = &f } };
  fixture_call(&f, begin_holding, warming);
  g_autofree char *sundial = place(&f, "weights", "sundial");
  weights_put(sundial, SUNDIAL_CONFIG, GOOD_HEADER, GOOD_DATA);
  gint64 deadline = g_get_monotonic_time() + PATIENCE_US;
  while (warming[1].done == NULL && g_get_monotonic_time() < deadline) {
    g_usleep(20000);
    fixture_call(&f, look_at_warming, warming);
  }
  g_assert_nonnull(warming[1].done);
  g_autoptr(GError) error = NULL;
  g_assert_true(ain_file_remove_tree(sundial, &error));
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive"));
  g_assert_cmpuint(f.retired->len, ==, 0);
  fixture_call(&f, end_warming, warming);
  g_autofree char *name = g_strdup_printf("sundial:%" G_GUINT64_FORMAT, warming[1].model->generation);
  g_assert_cmpuint(f.retired->len, ==, 1);
  g_assert_cmpstr(g_ptr_array_index(f.retired, 0), ==, name);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive"));
  ain_model_unref(warming[1].model);
  fixture_clear(&f);
}

/* Overwritten in place, the old model would read the new bytes: it is not served from then on. */
static void test_overwritten_in_place(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *sundial = place(&f, "weights", "sundial");
  weights_put(sundial, SUNDIAL_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  f.mode = PROVE_HELD;
  weights_put(sundial, NULL, "{}  ", 0);
  fixture_wait_proofs(&f, 2);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:loading"));
  assert_refused(&f, "sundial", AIN_ERROR_BUSY, "still being loaded");
  fixture_release(&f);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  fixture_clear(&f);
}

static void test_a_writer_is_waited_for(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *sundial = place(&f, "weights", "sundial");
  g_autofree char *path = g_build_filename(sundial, "model.safetensors", NULL);
  g_autoptr(GBytes) file = weights_file(GOOD_HEADER, GOOD_DATA);
  weights_put(sundial, SUNDIAL_CONFIG, NULL, 0);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  g_assert_cmpint(fd, >=, 0);
  g_assert_cmpint(write(fd, g_bytes_get_data(file, NULL), g_bytes_get_size(file)), >, 0);
  g_usleep(700000);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive"));
  g_assert_cmpuint(f.proofs, ==, 0);
  close(fd);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:active"));
  fixture_clear(&f);
}

static void test_ignored_folders(void) {
  Fixture f;
  open_fixture(&f);
  static const char *const names[] = { "arima", "bad name", "chronos2" };
  for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
    g_autofree char *folder = place(&f, "weights", names[i]);
    weights_put(folder, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  }
  g_autofree char *foreign = place(&f, "weights", "other");
  weights_put(foreign, "{\"model_type\": \"t5\"}", GOOD_HEADER, GOOD_DATA);
  g_autofree char *root = g_build_filename(f.models, "weights", NULL);
  weights_put(root, NULL, GOOD_HEADER, GOOD_DATA);
  g_autofree char *good = place(&f, "weights", "good");
  weights_put(good, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:inactive sundial:inactive good:active"));
  g_assert_true(fixture_logged(&f, "bad name is ignored: "));
  g_assert_true(fixture_logged(&f, "weights/arima is ignored: its name is that of a built-in"));
  g_assert_true(fixture_logged(&f, "weights/chronos2 is ignored: its name is that of a built-in"));
  g_assert_true(fixture_logged(&f, "has the model_type t5"));
  g_assert_true(fixture_logged(&f, "belong one folder deeper"));
  fixture_clear(&f);
}

static void test_restart_finds_them(void) {
  Fixture f;
  open_fixture(&f);
  g_autofree char *timer = place(&f, "weights", "timer_xl");
  weights_put(timer, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_becomes(&f, LIST("timer_xl:active sundial:inactive"));
  fixture_close(&f);
  fixture_open(&f);
  fixture_call(&f, begin, &f);
  assert_becomes(&f, LIST("timer_xl:active sundial:inactive"));
  fixture_clear(&f);
}

/* The registry goes while a look and a first load are under way. */
static void test_freed_meanwhile(void) {
  Fixture f;
  fixture_init(&f);
  f.mode = PROVE_HELD;
  g_autofree char *timer = place(&f, "weights", "timer_xl");
  weights_put(timer, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  fixture_call(&f, begin, &f);
  fixture_wait_proofs(&f, 1);
  weights_put(timer, SUNDIAL_CONFIG, NULL, 0);
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/drop-in/listed-first", test_builtins_are_listed_first);
  g_test_add_func("/drop-in/protected", test_protected);
  g_test_add_func("/drop-in/come-and-go", test_come_and_go);
  g_test_add_func("/drop-in/faults", test_faults_have_a_state_and_a_sentence);
  g_test_add_func("/drop-in/tried-once", test_what_does_not_load_is_tried_once);
  g_test_add_func("/drop-in/passing-failures", test_passing_failures_are_tried_again);
  g_test_add_func("/drop-in/renamed-in", test_replaced_by_rename);
  g_test_add_func("/drop-in/removed-while-loaded-in-advance", test_removed_while_it_is_loaded_in_advance);
  g_test_add_func("/drop-in/overwritten", test_overwritten_in_place);
  g_test_add_func("/drop-in/writer", test_a_writer_is_waited_for);
  g_test_add_func("/drop-in/ignored", test_ignored_folders);
  g_test_add_func("/drop-in/restart", test_restart_finds_them);
  g_test_add_func("/drop-in/freed", test_freed_meanwhile);
  return g_test_run();
}
