/* What a folder of weights is taken for, and the sentence for everything that is not whole. */
#include "base/error.h"
#include "base/fd.h"
#include "registry/builtin.h"
#include "registry/seen.h"
#include "registry/weights.h"
#include "weights_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TENSOR(dtype, shape, offsets)                                                                        \
  "{\"w\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": " offsets "}}"

static const AinWeightsSeen NOTHING_SEEN = { AIN_SEEN_NOTHING, AIN_SEEN_NOTHING };

typedef struct {
  const char *header;
  gsize data;
  const char *part; /* NULL: good */
} HeaderCase;

static const HeaderCase HEADERS[] = {
  { GOOD_HEADER, GOOD_DATA, NULL },
  { "{}", 0, NULL },
  { TENSOR("F64", "[2]", "[0, 16]") "   ", 16, NULL },
  { TENSOR("F32", "[]", "[0, 4]"), 4, NULL },
  { "", 0, "no JSON object" },
  { "[]", 0, "no JSON object" },
  { "{", 0, "no JSON object" },
  { "{} x", 0, "no JSON object" },
  { "{\"w\": {}, \"w\": {}}", 0, "no JSON object" },
  { "{\"w\": 3}", 0, "tensor w has a type other than" },
  { TENSOR("I64", "[2]", "[0, 16]"), 16, "has a type other than F64, F32, F16 and BF16" },
  { TENSOR("F32", "[2, -2]", "[0, 16]"), 16, "shape that does not fit" },
  { TENSOR("F32", "[2, 0]", "[0, 0]"), 0, "shape that does not fit" },
  { TENSOR("F32", "\"x\"", "[0, 16]"), 16, "shape that does not fit" },
  { TENSOR("F32", "[2, 3]", "[0, 16]"), 16, "shape that does not fit" },
  { TENSOR("F32", "[4611686018427387904, 4611686018427387904]", "[0, 16]"), 16, "shape that does not fit" },
  { TENSOR("F32", "[4611686018427387904]", "[0, 0]"), 0, "shape that does not fit" },
  { TENSOR("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]"), 4, "shape that does not fit" },
  { TENSOR("F32", "[2.0]", "[0, 8]"), 8, "shape that does not fit" },
  { TENSOR("F32", "[4]", "[16, 0]"), 16, "no sound data_offsets" },
  { TENSOR("F32", "[4]", "[-16, 0]"), 16, "no sound data_offsets" },
  { TENSOR("F32", "[4]", "[0]"), 16, "no sound data_offsets" },
  { TENSOR("F32", "[4]", "[0, 16, 16]"), 16, "no sound data_offsets" },
  { TENSOR("F32", "[4]", "[0, \"16\"]"), 16, "no sound data_offsets" },
  { TENSOR("F32", "[4]", "[0, 16]"), 15, "ends behind the end of the file" },
  { TENSOR("F32", "[4]", "[0, 16]"), 17, "end 1 bytes before the file does" },
};

static void test_headers(void) {
  for (guint i = 0; i < G_N_ELEMENTS(HEADERS); i++) {
    const HeaderCase *c = &HEADERS[i];
    g_autoptr(GError) error = NULL;
    gsize size = strlen(c->header);
    gboolean good = ain_weights_check_header(c->header, size, 8 + size + c->data, &error);
    g_test_message("%s", c->header);
    if (c->part == NULL) {
      g_assert_no_error(error);
      g_assert_true(good);
    } else {
      g_assert_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
      g_assert_false(good);
      g_assert_nonnull(strstr(error->message, c->part));
    }
  }
}

static void test_deep_and_long_headers(void) {
  g_autoptr(GError) error = NULL;
  g_autofree char *deep = g_strnfill(1000000, '[');
  g_assert_false(ain_weights_check_header(deep, 1000000, 1000008, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
}

typedef struct {
  char *root;
  char *directory;
} Folder;

static void folder_init(Folder *f) {
  g_autoptr(GError) error = NULL;
  f->root = g_dir_make_tmp("ain-weights-XXXXXX", &error);
  g_assert_no_error(error);
  f->directory = g_build_filename(f->root, "mine", NULL);
  ain_file_make_directory(f->directory, &error);
  g_assert_no_error(error);
}

static void folder_clear(Folder *f) {
  g_autoptr(GError) error = NULL;
  ain_file_remove_tree(f->root, &error);
  g_assert_no_error(error);
  g_free(f->root);
  g_free(f->directory);
}

static void assert_looks(const Folder *f, AinWeightsState state, const char *part) {
  g_autoptr(AinWeights) weights = ain_weights_look(f->directory, NOTHING_SEEN);
  g_test_message("%s", weights->reason != NULL ? weights->reason : "whole");
  g_assert_cmpint(weights->state, ==, state);
  g_assert_cmpstr(weights->id, ==, "mine");
  g_assert_cmpstr(weights->directory, ==, f->directory);
  g_assert_true((state == AIN_WEIGHTS_WHOLE) == (weights->reason == NULL));
  if (part != NULL) {
    g_assert_nonnull(strstr(weights->reason, part));
    g_assert_nonnull(strstr(weights->reason, f->directory));
  }
}

static void test_whole(void) {
  Folder f;
  folder_init(&f);
  weights_put(f.directory, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_looks(&f, AIN_WEIGHTS_WHOLE, NULL);
  g_autoptr(AinWeights) timer = ain_weights_look(f.directory, NOTHING_SEEN);
  g_assert_cmpint(timer->kind, ==, AIN_KIND_TIMER);
  weights_put(f.directory, SUNDIAL_CONFIG, NULL, 0);
  g_autoptr(AinWeights) sundial = ain_weights_look(f.directory, NOTHING_SEEN);
  g_assert_cmpint(sundial->kind, ==, AIN_KIND_SUNDIAL);
  g_assert_false(ain_file_stamps_equal(&timer->stamp, &sundial->stamp));
  g_autoptr(AinWeights) again = ain_weights_look(f.directory, NOTHING_SEEN);
  g_assert_true(ain_file_stamps_equal(&again->stamp, &sundial->stamp));
  folder_clear(&f);
}

static void test_missing(void) {
  Folder f;
  folder_init(&f);
  assert_looks(&f, AIN_WEIGHTS_ABSENT, "holds no config.json and model.safetensors");
  weights_put(f.directory, TIMER_CONFIG, NULL, 0);
  assert_looks(&f, AIN_WEIGHTS_INCOMPLETE, "mine/model.safetensors is missing");
  g_autofree char *config = g_build_filename(f.directory, "config.json", NULL);
  g_assert_cmpint(unlink(config), ==, 0);
  weights_put(f.directory, NULL, GOOD_HEADER, GOOD_DATA);
  assert_looks(&f, AIN_WEIGHTS_INCOMPLETE, "mine/config.json is missing");
  folder_clear(&f);
}

static void test_one_level_too_deep(void) {
  Folder f;
  folder_init(&f);
  g_autofree char *below = g_build_filename(f.directory, "mine", NULL);
  weights_put(below, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  assert_looks(&f, AIN_WEIGHTS_INCOMPLETE, "one folder too deep: move them up");
  folder_clear(&f);
}

static void test_foreign_and_broken(void) {
  static const struct {
    const char *config;
    AinWeightsState state;
    const char *part;
  } cases[] = {
    { "{\"model_type\": \"t5\"}", AIN_WEIGHTS_FOREIGN, "has the model_type t5; timer and sundial are known" },
    { "{}", AIN_WEIGHTS_FOREIGN, "has the model_type (none)" },
    { "{\"model_type\": 3}", AIN_WEIGHTS_FOREIGN, "has the model_type (none)" },
    { "[]", AIN_WEIGHTS_FOREIGN, "has the model_type (none)" },
    { "{\"model_type\": \"timer\"", AIN_WEIGHTS_BROKEN, "is no JSON text (line 1" },
    { "", AIN_WEIGHTS_BROKEN, "is no JSON text" },
  };
  Folder f;
  folder_init(&f);
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    weights_put(f.directory, cases[i].config, GOOD_HEADER, GOOD_DATA);
    assert_looks(&f, cases[i].state, cases[i].part);
  }
  g_autofree char *long_config = g_strnfill(2 << 20, ' ');
  weights_put(f.directory, long_config, NULL, 0);
  assert_looks(&f, AIN_WEIGHTS_BROKEN, "config.json");
  folder_clear(&f);
}

static void test_every_truncation(void) {
  Folder f;
  folder_init(&f);
  weights_put(f.directory, TIMER_CONFIG, NULL, 0);
  g_autoptr(GBytes) file = weights_file(GOOD_HEADER, GOOD_DATA);
  for (gsize size = 0; size < g_bytes_get_size(file); size++) {
    weights_write(f.directory, "model.safetensors", g_bytes_get_data(file, NULL), size);
    assert_looks(&f, AIN_WEIGHTS_BROKEN, "copy it again, it is not whole");
  }
  weights_write(f.directory, "model.safetensors", g_bytes_get_data(file, NULL), g_bytes_get_size(file));
  assert_looks(&f, AIN_WEIGHTS_WHOLE, NULL);
  folder_clear(&f);
}

static void test_a_folder_in_place_of_a_file(void) {
  Folder f;
  folder_init(&f);
  g_autoptr(GError) error = NULL;
  g_autofree char *path = g_build_filename(f.directory, "model.safetensors", NULL);
  weights_put(f.directory, TIMER_CONFIG, NULL, 0);
  g_assert_true(ain_file_make_directory(path, &error));
  assert_looks(&f, AIN_WEIGHTS_BROKEN, "is no file");
  folder_clear(&f);
}

/* A file of the right size that somebody still holds open for writing, as a copy that allocates first. */
static void test_a_writer_is_left(void) {
  Folder f;
  folder_init(&f);
  weights_put(f.directory, TIMER_CONFIG, GOOD_HEADER, GOOD_DATA);
  g_autofree char *path = g_build_filename(f.directory, "model.safetensors", NULL);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  g_assert_cmpint(fd, >=, 0);
  assert_looks(&f, AIN_WEIGHTS_INCOMPLETE, "is still being written");
  close(fd);
  assert_looks(&f, AIN_WEIGHTS_WHOLE, NULL);
  folder_clear(&f);
}

/* Takes the events that are there; returns whether one of them may have been the last of a file. */
static gboolean take_events(int fd, GHashTable *seen) {
  gboolean end = FALSE;
  char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
  ssize_t size;
  while ((size = read(fd, buffer, sizeof buffer)) > 0) {
    for (const char *at = buffer; at < buffer + size;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
      end |= ain_seen_take(seen, event);
      at += sizeof *event + event->len;
    }
  }
  return end;
}

static void assert_seen(GHashTable *seen, int watch, AinFileSeen config, AinFileSeen model) {
  AinWeightsSeen both = ain_seen_of(seen, watch);
  g_assert_cmpint(both.config, ==, config);
  g_assert_cmpint(both.model, ==, model);
}

/* What the kernel tells of a copy, a change by path, a rename and a removal. */
static void test_events(void) {
  Folder f;
  folder_init(&f);
  g_autoptr(GHashTable) seen = ain_seen_new();
  ain_fd int events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  int watch = inotify_add_watch(events, f.directory, IN_ALL_EVENTS);
  g_autofree char *path = g_build_filename(f.directory, AIN_WEIGHTS_FILE, NULL);
  g_autofree char *away = g_build_filename(f.root, "away", NULL);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  g_assert_false(take_events(events, seen));
  assert_seen(seen, watch, AIN_SEEN_NOTHING, AIN_SEEN_NOTHING);
  g_assert_cmpint(write(fd, "x", 1), ==, 1);
  g_assert_false(take_events(events, seen));
  assert_seen(seen, watch, AIN_SEEN_NOTHING, AIN_SEEN_CHANGED);
  close(fd);
  weights_put(f.directory, TIMER_CONFIG, NULL, 0);
  g_assert_true(take_events(events, seen));
  assert_seen(seen, watch, AIN_SEEN_CLOSED, AIN_SEEN_CLOSED);
  g_autoptr(GHashTable) copy = ain_seen_copy(seen);
  g_assert_cmpint(truncate(path, 0), ==, 0);
  g_assert_false(take_events(events, seen));
  assert_seen(seen, watch, AIN_SEEN_CLOSED, AIN_SEEN_CHANGED);
  assert_seen(copy, watch, AIN_SEEN_CLOSED, AIN_SEEN_CLOSED);
  g_assert_cmpint(rename(path, away), ==, 0);
  g_assert_false(take_events(events, seen));
  assert_seen(seen, watch, AIN_SEEN_CLOSED, AIN_SEEN_NOTHING);
  g_assert_cmpint(rename(away, path), ==, 0);
  g_assert_true(take_events(events, seen));
  assert_seen(seen, watch, AIN_SEEN_CLOSED, AIN_SEEN_CLOSED);
  assert_seen(seen, watch + 1, AIN_SEEN_NOTHING, AIN_SEEN_NOTHING);
  folder_clear(&f); /* with the folder goes its watch */
  g_assert_false(take_events(events, seen));
  g_assert_cmpuint(g_hash_table_size(seen), ==, 0);
  struct inotify_event lost = { .wd = -1, .mask = IN_Q_OVERFLOW };
  g_assert_false(ain_seen_take(copy, &lost));
  g_assert_cmpuint(g_hash_table_size(copy), ==, 0);
}

static void test_ids_and_types(void) {
  static const struct {
    const char *given;
    const char *id;
  } cases[] = {
    { "_ARIMA", "arima" },
    { "_NaiveForecaster", "naive_forecaster" },
    { "_stray", "stray" },
    { "_ExponentialSmoothing", "exponential_smoothing" },
    { "_GMMHMM", "gmm_hmm" },
    { "_STLForecaster", "stl_forecaster" },
    { "_timerxl", "timer_xl" },
    { "_GaussianHMM", "gaussian_hmm" },
    { "_HoltWinters", "holtwinters" },
    { "arima", "arima" },
    { "ARIMA", "ARIMA" },
    { "_unknown", "_unknown" },
    { "", "" },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_assert_cmpstr(ain_builtin_canonical(cases[i].given), ==, cases[i].id);
  }
  g_assert_null(ain_builtin_find("ARIMA"));
  g_assert_cmpstr(ain_builtin_type("arima", AIN_KIND_STATISTICAL, FALSE), ==, "Arima");
  g_assert_cmpstr(ain_builtin_type("gmm_hmm", AIN_KIND_STATISTICAL, FALSE), ==, "GmmHmm");
  g_assert_cmpstr(ain_builtin_type("arima", AIN_KIND_STATISTICAL, TRUE), ==, "sktime");
  g_assert_cmpstr(ain_builtin_type("any", AIN_KIND_TIMER, FALSE), ==, "Timer-XL");
  g_assert_cmpstr(ain_builtin_type("any", AIN_KIND_SUNDIAL, FALSE), ==, "Timer-Sundial");
  g_assert_cmpstr(ain_builtin_type("any", AIN_KIND_TIMER, TRUE), ==, "timer");
  g_assert_cmpstr(ain_builtin_type("any", AIN_KIND_SUNDIAL, TRUE), ==, "sundial");
  g_assert_cmpstr(ain_builtin_type("any", AIN_KIND_TORCHSCRIPT, TRUE), ==, "");
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/weights/headers", test_headers);
  g_test_add_func("/weights/deep-header", test_deep_and_long_headers);
  g_test_add_func("/weights/whole", test_whole);
  g_test_add_func("/weights/missing", test_missing);
  g_test_add_func("/weights/too-deep", test_one_level_too_deep);
  g_test_add_func("/weights/foreign-and-broken", test_foreign_and_broken);
  g_test_add_func("/weights/truncations", test_every_truncation);
  g_test_add_func("/weights/folder-for-file", test_a_folder_in_place_of_a_file);
  g_test_add_func("/weights/writer-left", test_a_writer_is_left);
  g_test_add_func("/weights/events", test_events);
  g_test_add_func("/builtin/ids-and-types", test_ids_and_types);
  return g_test_run();
}
