/* Models with config.json: trees of files instead of a pair; where they lie; what of config.json is refused.
 */
#include "base/error.h"
#include "base/fd.h"
#include "fixture.h"
#include "registry/source.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CODE "class P:\n    pass\n"
#define CONFIG "{\"pipeline_cls\": \"pipe.P\", \"model_type\": \"mine\"}"

/* A file of root/name. */
static void put(Fixture *f, const char *name, const char *file, const char *content) {
  g_autofree char *path = g_build_filename(f->root, name, file, NULL);
  fixture_write(path, content, strlen(content));
}

static char *uri_of(Fixture *f, const char *name) {
  g_autofree char *path = fixture_path(f, name);
  return g_strconcat("file://", path, NULL);
}

/* root/name with config.json, pipe.py, model.safetensors and a folder. */
static char *pipeline(Fixture *f, const char *name, const char *config) {
  put(f, name, "config.json", config);
  put(f, name, "pipe.py", CODE);
  put(f, name, "model.safetensors", "weights");
  put(f, name, "below/deeper/data.txt", "data");
  return uri_of(f, name);
}

static void assert_list(Fixture *f, const char *expected) {
  g_autofree char *list = fixture_list(f);
  g_assert_cmpstr(list, ==, expected);
}

static void assert_files(Fixture *f, const char *expected) {
  g_autofree char *files = fixture_files(f);
  g_assert_cmpstr(files, ==, expected);
}

static void assert_error(const Outcome *outcome, int code, const char *part) {
  g_assert_error(outcome->error, AIN_ERROR, code);
  g_test_message("%s", outcome->error->message);
  g_assert_nonnull(strstr(outcome->error->message, part));
}

static char *type_of(Fixture *f, const char *id, gboolean later) {
  return g_strdup(ain_registry_type_of(f->registry, id, later)); /* nothing else runs */
}

static void test_tree_is_copied(void) {
  Fixture f;
  fixture_init(&f);
  f.dtype = AIN_DTYPE_FLOAT64;
  g_autofree char *uri = pipeline(&f, "source", CONFIG);
  put(&f, "source", "__pycache__/pipe.pyc", "x");
  put(&f, "source", "pipe.pyc", "x");
  put(&f, "source", ".git/HEAD", "x");
  put(&f, "source", ".gitattributes", "x");
  g_autofree char *script = fixture_path(&f, "source/pipe.py");
  g_autofree char *link = fixture_path(&f, "source/linked.py");
  g_assert_cmpint(symlink(script, link), ==, 0); /* as in a hub's cache */
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "mine", uri));
  g_assert_no_error(outcome->error);
  const AinModel *model = outcome->model;
  g_autofree char *place = g_build_filename(f.models, "user_defined", "mine", NULL);
  g_assert_cmpstr(model->directory, ==, place);
  g_assert_cmpstr(ain_model_kind_name(model->kind), ==, "pipeline");
  g_assert_cmpstr(model->type, ==, "mine");
  g_assert_cmpint(model->dtype, ==, AIN_DTYPE_FLOAT64);
  g_assert_cmpint(model->category, ==, AIN_CATEGORY_USER);
  g_assert_true(ain_model_is_flexible(model));
  g_assert_true(model->proven);
  g_autofree char *later = type_of(&f, "mine", TRUE);
  g_autofree char *early = type_of(&f, "mine", FALSE);
  g_assert_cmpstr(later, ==, "mine");
  g_assert_cmpstr(early, ==, "");
  static const char *const there[] = {
    "config.json", "pipe.py", "linked.py", "model.safetensors", "below/deeper/data.txt", ".ainode-model"
  };
  static const char *const absent[] = { "__pycache__", "pipe.pyc", ".git", ".gitattributes" };
  for (guint i = 0; i < G_N_ELEMENTS(there); i++) {
    g_autofree char *path = g_build_filename(place, there[i], NULL);
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    g_assert_false(g_file_test(path, G_FILE_TEST_IS_SYMLINK));
  }
  for (guint i = 0; i < G_N_ELEMENTS(absent); i++) {
    g_autofree char *path = g_build_filename(place, absent[i], NULL);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
  }
  assert_files(&f, "user_defined");
  fixture_clear(&f);
}

/* Repeats: the same content is the same success, whatever lies beside it; other content is not. */
static void test_repeats(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = pipeline(&f, "source", CONFIG);
  g_autofree char *copy = pipeline(&f, "copy", CONFIG);
  g_autofree char *more = pipeline(&f, "more", CONFIG);
  g_autofree char *moved = pipeline(&f, "moved", CONFIG);
  put(&f, "copy", "__pycache__/x", "left out");
  put(&f, "more", "more.txt", "");
  put(&f, "moved", "pipe.py", CODE "d");
  put(&f, "moved", "below/deeper/data.txt", "ata");
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "mine", uri));
  g_assert_no_error(first->error);
  g_autoptr(Outcome) again = fixture_wait(fixture_register(&f, "mine", copy));
  g_assert_no_error(again->error);
  g_assert_true(again->model == first->model);
  g_autoptr(Outcome) other = fixture_wait(fixture_register(&f, "mine", more));
  assert_error(other, AIN_ERROR_MODEL_EXISTS, "other content");
  g_autoptr(Outcome) third = fixture_wait(fixture_register(&f, "mine", moved));
  assert_error(third, AIN_ERROR_MODEL_EXISTS, "other content");
  fixture_close(&f); /* now only the digest in the manifest can tell */
  fixture_open(&f);
  g_autoptr(Outcome) later = fixture_wait(fixture_register(&f, "mine", copy));
  g_assert_no_error(later->error);
  g_autoptr(Outcome) still = fixture_wait(fixture_register(&f, "mine", more));
  assert_error(still, AIN_ERROR_MODEL_EXISTS, "other content");
  g_assert_cmpuint(f.proofs, ==, 1);
  fixture_clear(&f);
}

static void test_drop(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = pipeline(&f, "source", CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "one", uri));
  g_autoptr(Outcome) second = fixture_wait(fixture_register(&f, "two", uri));
  g_assert_no_error(second->error);
  g_autoptr(Outcome) dropped = fixture_wait(fixture_drop(&f, "one"));
  g_assert_no_error(dropped->error);
  g_assert_cmpuint(f.retired->len, ==, 1);
  assert_list(&f, "two:active");
  assert_files(&f, "user_defined");
  g_autoptr(Outcome) gone = fixture_wait(fixture_drop(&f, "two"));
  g_assert_no_error(gone->error);
  assert_files(&f, ""); /* the folder of pipelines went with the last one */
  g_autoptr(Outcome) unknown = fixture_wait(fixture_drop(&f, "two"));
  g_assert_error(unknown->error, AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND);
  g_autoptr(Outcome) back = fixture_wait(fixture_register(&f, "one", uri));
  g_assert_no_error(back->error);
  fixture_clear(&f);
}

/* The proof fails, or the model is dropped while it is proven: nothing is left. */
static void test_failure_leaves_nothing(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = pipeline(&f, "source", CONFIG);
  f.fail_code = AIN_ERROR_MODEL_INVALID;
  g_autoptr(Outcome) failed = fixture_wait(fixture_register(&f, "mine", uri));
  assert_error(failed, AIN_ERROR_MODEL_INVALID, "told to fail");
  assert_files(&f, "");
  f.fail_code = 0;
  f.mode = PROVE_HELD;
  g_autoptr(Outcome) pending = fixture_register(&f, "mine", uri);
  fixture_wait_proofs(&f, 2);
  assert_list(&f, "mine:loading");
  g_autoptr(Outcome) dropped = fixture_wait(fixture_drop(&f, "mine"));
  g_assert_no_error(dropped->error);
  fixture_wait(pending);
  g_assert_error(pending->error, AIN_ERROR, AIN_ERROR_CANCELLED);
  fixture_release(&f);
  while (TRUE) { /* what was staged goes on a helper */
    g_autofree char *files = fixture_files(&f);
    if (*files == 0) {
      break;
    }
    g_usleep(1000);
  }
  assert_list(&f, "");
  fixture_clear(&f);
}

static void test_takeover(void) {
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  g_autofree char *official = pipeline(&f, "models/user_defined/official", CONFIG);
  g_autofree char *broken = pipeline(&f, "models/user_defined/broken", "[1]");
  g_autofree char *timer = pipeline(&f, "models/user_defined/tuned", "{\"model_type\": \"timer\"}");
  g_autofree char *hub = pipeline(&f, "models/from-hub", CONFIG); /* of 2.0.6 */
  g_autofree char *built_in = pipeline(&f, "models/user_defined/arima", CONFIG);
  g_autofree char *twice = pipeline(&f, "models/user_defined/from-hub", CONFIG);
  put(&f, "models/user_defined", "__init__.py", "");
  put(&f, "models", "__init__.py", "");
  fixture_open(&f);
  g_assert_true(fixture_logged(&f, "user_defined/arima is ignored"));
  g_assert_true(fixture_logged(&f, "user_defined/from-hub is ignored: model from-hub is in"));
  g_assert_true(fixture_logged(&f, "user_defined/broken holds no usable model"));
  g_autoptr(AinModel) model = fixture_lookup(&f, "official", NULL);
  g_assert_nonnull(model);
  g_assert_false(model->proven);
  g_assert_cmpint(model->dtype, ==, AIN_DTYPE_FLOAT32); /* as that node ran it */
  g_autoptr(AinModel) tuned = fixture_lookup(&f, "tuned", NULL);
  g_assert_cmpint(tuned->kind, ==, AIN_KIND_TIMER);
  g_autoptr(GError) error = NULL;
  g_assert_null(fixture_lookup(&f, "broken", &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID);
  g_autoptr(Outcome) proven = fixture_wait(fixture_prove(&f, "official"));
  g_assert_no_error(proven->error);
  g_assert_true(proven->model->proven);
  fixture_close(&f);
  fixture_open(&f);
  g_autoptr(AinModel) again = fixture_lookup(&f, "official", NULL);
  g_assert_true(again->proven);
  g_assert_cmpstr(again->digest, ==, proven->model->digest);
  fixture_close(&f);
  put(&f, "models/user_defined/official", "below/deeper/data.txt", "other"); /* any file tells */
  fixture_open(&f);
  g_assert_true(fixture_logged(&f, "the files of model official changed since it was registered"));
  g_autoptr(Outcome) dropped = fixture_wait(fixture_drop(&f, "broken"));
  g_assert_no_error(dropped->error);
  g_autofree char *folder = fixture_path(&f, "models/user_defined/broken");
  g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
  fixture_clear(&f);
}

typedef struct {
  const char *config;
  int code;
  const char *part;
} Refusal;

static const Refusal REFUSALS[] = {
  { "", AIN_ERROR_INVALID_CONFIG, "config.json, line 1: it is no JSON text" },
  { "{\n'a': 1}", AIN_ERROR_INVALID_CONFIG, "config.json, line 2" },
  { "[]", AIN_ERROR_INVALID_CONFIG, "no JSON object" },
  { "{\"pipeline_cls\": \"pipe.P\", \"pipeline_cls\": \"pipe.Q\"}", AIN_ERROR_INVALID_CONFIG, "duplicate" },
  { "{}", AIN_ERROR_INVALID_CONFIG, "it has no pipeline_cls" },
  { "{\"model_type\": \"t5\"}", AIN_ERROR_INVALID_CONFIG, "timer or sundial" },
  { "{\"pipeline_cls\": 1}", AIN_ERROR_INVALID_CONFIG, "pipeline_cls is no text" },
  { "{\"pipeline_cls\": \"P\"}", AIN_ERROR_INVALID_CONFIG, "<file>.<Class> was expected" },
  { "{\"pipeline_cls\": \"../pipe.P\"}", AIN_ERROR_INVALID_CONFIG, "<file>.<Class> was expected" },
  { "{\"pipeline_cls\": \"pipe..P\"}", AIN_ERROR_INVALID_CONFIG, "<file>.<Class> was expected" },
  { "{\"pipeline_cls\": \"1.P\"}", AIN_ERROR_INVALID_CONFIG, "<file>.<Class> was expected" },
  { "{\"pipeline_cls\": \"other.P\"}", AIN_ERROR_INVALID_CONFIG, "other.py is not among its files" },
  { "{\"pipeline_cls\": \"pipe.P\\u0000x\"}", AIN_ERROR_INVALID_CONFIG, "" },
  { "{\"pipeline_cls\": \"pipe.P\", \"hub_mixin_cls\": \"x.M\"}", AIN_ERROR_INVALID_CONFIG,
    "x.py is not among" },
  { "{\"pipeline_cls\": \"pipe.P\", \"framework\": \"jax\"}", AIN_ERROR_INVALID_CONFIG, "framework is jax" },
  { "{\"pipeline_cls\": \"pipe.P\", \"input_type\": \"int8\"}", AIN_ERROR_INVALID_CONFIG,
    "input_type is int8" },
  { "{\"pipeline_cls\": \"pipe.P\", \"input_shape\": [1]}", AIN_ERROR_INVALID_CONFIG, "[rows, columns]" },
  { "{\"pipeline_cls\": \"pipe.P\", \"input_shape\": [1, \"a\"]}", AIN_ERROR_INVALID_CONFIG,
    "[rows, columns]" },
  { "{\"pipeline_cls\": \"pipe.P\", \"output_shape\": [99999, 99999]}", AIN_ERROR_INVALID_CONFIG, "values" },
};

static void test_refusals(void) {
  Fixture f;
  fixture_init(&f);
  for (guint i = 0; i < G_N_ELEMENTS(REFUSALS); i++) {
    g_autofree char *name = g_strdup_printf("source%u", i);
    g_autofree char *uri = pipeline(&f, name, REFUSALS[i].config);
    g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "mine", uri));
    assert_error(outcome, REFUSALS[i].code, REFUSALS[i].part);
    assert_files(&f, "");
    assert_list(&f, "");
  }
  g_assert_cmpuint(f.proofs, ==, 0);
  fixture_clear(&f);
}

/* What a tree may not hold. */
static void test_odd_trees(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *circle = pipeline(&f, "circle", CONFIG);
  g_autofree char *link = fixture_path(&f, "circle/below/again");
  g_assert_cmpint(symlink("..", link), ==, 0);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "mine", circle));
  assert_error(first, AIN_ERROR_INVALID_URI, "below/again is not a regular file");
  g_autofree char *pipe = pipeline(&f, "pipe", CONFIG);
  g_autofree char *fifo = fixture_path(&f, "pipe/fifo");
  g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
  g_autoptr(Outcome) second = fixture_wait(fixture_register(&f, "mine", pipe));
  assert_error(second, AIN_ERROR_INVALID_URI, "fifo is not a regular file");
  g_autofree char *deep = pipeline(&f, "deep", CONFIG);
  put(&f, "deep", "1/2/3/4/5/6/7/8/9/file", "x");
  g_autoptr(Outcome) third = fixture_wait(fixture_register(&f, "mine", deep));
  assert_error(third, AIN_ERROR_TOO_LARGE, "more than 8 folders deep");
  g_autofree char *many = pipeline(&f, "many", CONFIG);
  for (guint i = 0; i < AIN_SOURCE_MAX_FILES; i++) {
    g_autofree char *name = g_strdup_printf("%u", i);
    put(&f, "many", name, "");
  }
  g_autoptr(Outcome) fourth = fixture_wait(fixture_register(&f, "mine", many));
  assert_error(fourth, AIN_ERROR_TOO_LARGE, "more than 2000 files");
  assert_files(&f, "");
  fixture_clear(&f);
}

typedef struct {
  const char *extra;
  AinDType dtype;
} Declared;

static void test_element_types(void) {
  static const Declared cases[] = {
    { "", AIN_DTYPE_FLOAT32 },
    { ", \"framework\": \"numpy\"", AIN_DTYPE_FLOAT64 },
    { ", \"framework\": \"torch\"", AIN_DTYPE_FLOAT32 },
    { ", \"torch_dtype\": \"float64\"", AIN_DTYPE_FLOAT64 },
    { ", \"torch_dtype\": \"bfloat16\"", AIN_DTYPE_FLOAT32 },
    { ", \"input_type\": \"int64\"", AIN_DTYPE_INT64 },
    { ", \"input_type\": \"float32\", \"framework\": \"numpy\"", AIN_DTYPE_FLOAT32 },
    { ", \"input_type\": \"bool\"", AIN_DTYPE_BOOL },
  };
  Fixture f;
  fixture_init(&f);
  fixture_close(&f);
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *config = g_strdup_printf("{\"pipeline_cls\": \"pipe.P\"%s}", cases[i].extra);
    g_autofree char *name = g_strdup_printf("models/user_defined/model%u", i);
    g_autofree char *uri = pipeline(&f, name, config);
  }
  fixture_open(&f);
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *id = g_strdup_printf("model%u", i);
    g_autoptr(AinModel) model = fixture_lookup(&f, id, NULL);
    g_assert_nonnull(model);
    g_assert_cmpint(model->dtype, ==, cases[i].dtype);
    g_assert_cmpuint(model->max_batch, ==, 1);
  }
  fixture_clear(&f);
}

/* config.yaml with model.pt2, alone or beside model.pt: both are taken, and nothing else of the folder. */
static void test_exported(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *alone = fixture_source(&f, "alone", NULL, GOOD_CONFIG);
  g_autofree char *both = fixture_source(&f, "both", "script", GOOD_CONFIG);
  put(&f, "alone", "model.pt2", "exported");
  put(&f, "both", "model.pt2", "exported");
  put(&f, "both", "config.json", CONFIG);
  put(&f, "both", "pipe.py", CODE);
  f.mode = PROVE_AT_ONCE;
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "first", alone));
  g_assert_no_error(first->error);
  g_autoptr(Outcome) second = fixture_wait(fixture_register(&f, "second", both));
  g_assert_no_error(second->error);
  g_assert_cmpint(second->model->kind, ==, AIN_KIND_TORCHSCRIPT);
  g_autofree char *exported = g_build_filename(f.models, "second", "model.pt2", NULL);
  g_autofree char *script = g_build_filename(f.models, "second", "model.pt", NULL);
  g_autofree char *other = g_build_filename(f.models, "second", "pipe.py", NULL);
  g_assert_true(g_file_test(exported, G_FILE_TEST_IS_REGULAR));
  g_assert_true(g_file_test(script, G_FILE_TEST_IS_REGULAR));
  g_assert_false(g_file_test(other, G_FILE_TEST_EXISTS));
  put(&f, "alone", "model.pt2", "other");
  g_autoptr(Outcome) changed = fixture_wait(fixture_register(&f, "first", alone));
  assert_error(changed, AIN_ERROR_MODEL_EXISTS, "other content");
  put(&f, "alone", "model.pt2", "");
  g_autoptr(Outcome) empty = fixture_wait(fixture_register(&f, "third", alone));
  assert_error(empty, AIN_ERROR_MODEL_INVALID, "model.pt2 is empty");
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/registry/pipelines/copied", test_tree_is_copied);
  g_test_add_func("/registry/pipelines/repeats", test_repeats);
  g_test_add_func("/registry/pipelines/drop", test_drop);
  g_test_add_func("/registry/pipelines/failure", test_failure_leaves_nothing);
  g_test_add_func("/registry/pipelines/takeover", test_takeover);
  g_test_add_func("/registry/pipelines/refusals", test_refusals);
  g_test_add_func("/registry/pipelines/odd-trees", test_odd_trees);
  g_test_add_func("/registry/pipelines/element-types", test_element_types);
  g_test_add_func("/registry/pipelines/exported", test_exported);
  return g_test_run();
}
