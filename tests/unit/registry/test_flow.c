/* Registration, repeats, drops and proofs, alone and in each other's way. */
#include "base/error.h"
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static void assert_error(const Outcome *outcome, int code, const char *part) {
  g_test_message("%s", outcome->error != NULL ? outcome->error->message : "no error");
  g_assert_error(outcome->error, AIN_ERROR, code);
  g_assert_null(outcome->model);
  g_assert_nonnull(strstr(outcome->error->message, part));
}

static void assert_model(const Outcome *outcome, const char *id) {
  g_assert_no_error(outcome->error);
  g_assert_nonnull(outcome->model);
  g_assert_cmpstr(outcome->model->id, ==, id);
}

static void assert_list(Fixture *f, const char *expected) {
  g_autofree char *list = fixture_list(f);
  g_assert_cmpstr(list, ==, expected);
}

static void assert_files(Fixture *f, const char *expected) {
  g_autofree char *files = fixture_files(f);
  g_assert_cmpstr(files, ==, expected);
}

/* For what an abandoned registration removes behind the scenes. */
static void wait_files(Fixture *f, const char *expected) {
  gint64 until = ain_loop_now() + (gint64)20 * G_USEC_PER_SEC;
  g_autofree char *files = fixture_files(f);
  while (strcmp(files, expected) != 0 && ain_loop_now() < until) {
    g_usleep(1000);
    g_free(files);
    files = fixture_files(f);
  }
  g_assert_cmpstr(files, ==, expected);
}

static guint proofs(Fixture *f) {
  pthread_mutex_lock(&fixture_lock);
  guint count = f->proofs;
  pthread_mutex_unlock(&fixture_lock);
  return count;
}

static void set_mode(Fixture *f, ProveMode mode, int fail_code) {
  pthread_mutex_lock(&fixture_lock);
  f->mode = mode;
  f->fail_code = fail_code;
  pthread_mutex_unlock(&fixture_lock);
}

static void test_success(void) {
  Fixture f;
  fixture_init(&f);
  f.dtype = AIN_DTYPE_FLOAT64;
  g_autofree char *uri = fixture_source(&f, "source", "weights", GOOD_CONFIG "extra: 1\n");
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_model(outcome, "dlinear");
  const AinModel *model = outcome->model;
  g_autofree char *place = g_build_filename(f.models, "dlinear", NULL);
  g_assert_cmpstr(model->directory, ==, place);
  g_assert_cmpint(model->dtype, ==, AIN_DTYPE_FLOAT64);
  g_assert_false(model->writes_input);
  g_assert_true(model->proven);
  g_assert_cmpint(model->input_shape[0], ==, 96);
  g_assert_cmpint(model->output_shape[1], ==, 1);
  g_assert_cmpint(model->input_types[1], ==, AIN_TS_FLOAT);
  g_assert_cmpstr(model->attributes, ==, "{'lr': 0.1}");
  g_assert_cmpstr(ain_model_kind_name(model->kind), ==, "torchscript");
  g_assert_cmpuint(model->generation, ==, 1);
  assert_files(&f, "dlinear");
  assert_list(&f, "dlinear:active");
  g_assert_true(fixture_logged(&f, "the key 'extra' is not known"));
  g_autofree char *file = g_build_filename(place, "model.pt", NULL);
  g_autofree char *content = NULL;
  g_assert_true(g_file_get_contents(file, &content, NULL, NULL));
  g_assert_cmpstr(content, ==, "weights");
  g_autoptr(AinModel) found = fixture_lookup(&f, "dlinear", NULL);
  g_assert_true(found == model);
  fixture_clear(&f);
}

/* sha256 over "config.yaml <bytes>\nmodel.pt\n", then both files. */
static void test_digest(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "weights", GOOD_CONFIG);
  g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "dlinear", uri));
  g_autofree char *text =
      g_strdup_printf("config.yaml %d\nmodel.pt\n%sweights", (int)strlen(GOOD_CONFIG), GOOD_CONFIG);
  g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
  assert_model(outcome, "dlinear");
  g_assert_cmpstr(outcome->model->digest, ==, digest);
  fixture_clear(&f);
}

typedef struct {
  const char *name;
  const char *model;
  const char *config;
  const char *uri; /* NULL: of the source */
  int code;
  const char *part;
} Refusal;

static const Refusal REFUSALS[] = {
  { "no model", NULL, GOOD_CONFIG, NULL, AIN_ERROR_INVALID_URI,
    "has config.yaml, but neither model.pt nor model.pt2" },
  { "no config", "w", NULL, NULL, AIN_ERROR_INVALID_URI, "has no config.yaml" },
  { "neither", NULL, NULL, NULL, AIN_ERROR_INVALID_URI, "neither model.pt nor config.yaml" },
  { "empty model", "", GOOD_CONFIG, NULL, AIN_ERROR_MODEL_INVALID, "model.pt is empty" },
  { "bad config", "w", "configs: 1\n", NULL, AIN_ERROR_INVALID_CONFIG, "config.yaml, line 1: configs is 1" },
  { "too large", "0123456789", GOOD_CONFIG, NULL, AIN_ERROR_TOO_LARGE,
    "has 10 bytes, more than the 8 allowed" },
  { "nowhere", NULL, NULL, "file:///nowhere/to be found", AIN_ERROR_INVALID_URI,
    "cannot find the folder /nowhere" },
  { "a file", NULL, NULL, "file:///etc/passwd", AIN_ERROR_INVALID_URI, "/etc/passwd is not a folder" },
  { "below a file", NULL, NULL, "file:///etc/passwd/x", AIN_ERROR_INVALID_URI, "Not a directory" },
  { "relative", NULL, NULL, "models/x", AIN_ERROR_INVALID_URI, "is a relative path" },
  { "download", NULL, NULL, "https://host/x", AIN_ERROR_UNSUPPORTED, "download" },
};

static void limit_bytes(gpointer data) {
  ain_registry_set_max_bytes(((Fixture *)data)->registry, 8);
}

/* Whatever is refused leaves nothing, and the prover is not asked. */
static void test_refusals(void) {
  Fixture f;
  fixture_init(&f);
  fixture_call(&f, limit_bytes, &f);
  for (guint i = 0; i < G_N_ELEMENTS(REFUSALS); i++) {
    const Refusal *c = &REFUSALS[i];
    g_autofree char *uri = fixture_source(&f, c->name, c->model, c->config);
    g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, "dlinear", c->uri != NULL ? c->uri : uri));
    assert_error(outcome, c->code, c->part);
    assert_files(&f, "");
    assert_list(&f, "");
  }
  g_assert_cmpuint(proofs(&f), ==, 0);
  fixture_clear(&f);
}

static void test_bad_ids(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  static const char *const ids[] = { "", "../x", "x", "_x1", "weights", ".staging" };
  for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
    g_autoptr(Outcome) outcome = fixture_wait(fixture_register(&f, ids[i], uri));
    g_assert_error(outcome->error, AIN_ERROR, AIN_ERROR_INVALID);
    g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, ids[i]));
    g_assert_nonnull(drop->error);
  }
  g_autoptr(Outcome) builtin = fixture_wait(fixture_register(&f, "Sundial", uri));
  assert_error(builtin, AIN_ERROR_MODEL_EXISTS, "built-in");
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "_Arima"));
  assert_error(drop, AIN_ERROR_MODEL_BUILTIN, "_Arima");
  assert_files(&f, "");
  g_autofree char *source = fixture_path(&f, "source/model.pt");
  g_assert_true(g_file_test(source, G_FILE_TEST_EXISTS));
  fixture_clear(&f);
}

static void test_prover_refuses(ProveMode mode) {
  Fixture f;
  fixture_init(&f);
  set_mode(&f, mode, AIN_ERROR_MODEL_INVALID);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) failed = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_error(failed, AIN_ERROR_MODEL_INVALID, "RuntimeError: told to fail");
  assert_files(&f, "");
  assert_list(&f, "");
  set_mode(&f, mode, 0);
  g_autoptr(Outcome) good = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_model(good, "dlinear");
  g_assert_cmpuint(proofs(&f), ==, 2);
  fixture_clear(&f);
}

static void test_prover_refuses_at_once(void) {
  test_prover_refuses(PROVE_AT_ONCE);
}
static void test_prover_refuses_soon(void) {
  test_prover_refuses(PROVE_SOON);
}

/* --- repeats ---------------------------------------------------------------------------------------------
 */

static void test_repeat_while_staging(void) {
  Fixture f;
  fixture_init(&f);
  set_mode(&f, PROVE_HELD, 0);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autofree char *copy = fixture_source(&f, "copy", "w", GOOD_CONFIG);
  g_autofree char *other = fixture_source(&f, "other", "x", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_register(&f, "dlinear", uri);
  fixture_wait_proofs(&f, 1);
  assert_list(&f, "dlinear:loading");
  g_autoptr(GError) busy = NULL;
  g_assert_null(fixture_lookup(&f, "dlinear", &busy));
  g_assert_error(busy, AIN_ERROR, AIN_ERROR_BUSY);
  g_autoptr(Outcome) again = fixture_register(&f, "dlinear", uri);
  g_autoptr(Outcome) same = fixture_register(&f, "dlinear", copy);
  g_autoptr(Outcome) different = fixture_register(&f, "dlinear", other);
  g_assert_false(fixture_is_done(again));
  fixture_release(&f);
  assert_model(fixture_wait(first), "dlinear");
  g_assert_true(fixture_wait(again)->model == first->model);
  g_assert_true(fixture_wait(same)->model == first->model);
  assert_error(fixture_wait(different), AIN_ERROR_MODEL_EXISTS, "taken by a model with other content");
  g_assert_cmpuint(proofs(&f), ==, 1);
  assert_files(&f, "dlinear");
  fixture_clear(&f);
}

/* The one that is sent again shares the failure; another source gets its own try. */
static void test_repeat_of_a_failure(void) {
  Fixture f;
  fixture_init(&f);
  set_mode(&f, PROVE_HELD, AIN_ERROR_MODEL_INVALID);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autofree char *other = fixture_source(&f, "other", "x", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_register(&f, "dlinear", uri);
  fixture_wait_proofs(&f, 1);
  g_autoptr(Outcome) again = fixture_register(&f, "dlinear", uri);
  g_autoptr(Outcome) different = fixture_register(&f, "dlinear", other);
  fixture_release(&f);
  assert_error(fixture_wait(first), AIN_ERROR_MODEL_INVALID, "told to fail");
  assert_error(fixture_wait(again), AIN_ERROR_MODEL_INVALID, "told to fail");
  set_mode(&f, PROVE_HELD, 0);
  fixture_wait_proofs(&f, 2);
  fixture_release(&f);
  assert_model(fixture_wait(different), "dlinear");
  fixture_clear(&f);
}

static void test_repeat_when_done(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autofree char *copy = fixture_source(&f, "copy", "w", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "dlinear", uri));
  g_autoptr(Outcome) again = fixture_wait(fixture_register(&f, "dlinear", uri));
  g_autoptr(Outcome) same = fixture_wait(fixture_register(&f, "dlinear", copy));
  g_assert_true(again->model == first->model && same->model == first->model);
  fixture_close(&f); /* now only the digest in the manifest can tell */
  fixture_open(&f);
  g_autoptr(Outcome) later = fixture_wait(fixture_register(&f, "dlinear", copy));
  assert_model(later, "dlinear");
  g_assert_cmpstr(later->model->digest, ==, first->model->digest);
  g_autofree char *file = fixture_path(&f, "source/model.pt");
  fixture_write(file, "y", 1);
  g_autoptr(Outcome) changed = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_error(changed, AIN_ERROR_MODEL_EXISTS, "dlinear is taken");
  g_autofree char *config = fixture_path(&f, "copy/config.yaml");
  fixture_write(config, GOOD_CONFIG "#", strlen(GOOD_CONFIG "#"));
  g_autoptr(Outcome) other_config = fixture_wait(fixture_register(&f, "dlinear", copy));
  assert_error(other_config, AIN_ERROR_MODEL_EXISTS, "other content");
  g_assert_cmpuint(proofs(&f), ==, 1);
  fixture_clear(&f);
}

static void test_repeat_without_source(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "dlinear", uri));
  g_autofree char *folder = fixture_path(&f, "source");
  g_autofree char *moved = fixture_path(&f, "moved");
  g_assert_cmpint(rename(folder, moved), ==, 0);
  g_autoptr(Outcome) again = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_model(again, "dlinear");
  fixture_close(&f);
  fixture_open(&f);
  g_autoptr(Outcome) later = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_model(later, "dlinear");
  g_autoptr(Outcome) elsewhere = fixture_wait(fixture_register(&f, "dlinear", "file:///nowhere/else"));
  assert_error(elsewhere, AIN_ERROR_MODEL_EXISTS, "dlinear is taken");
  fixture_clear(&f);
}

/* --- drops -----------------------------------------------------------------------------------------------
 */

static void test_drop(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) unknown = fixture_wait(fixture_drop(&f, "dlinear"));
  assert_error(unknown, AIN_ERROR_MODEL_NOT_FOUND, "[dlinear]");
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_model(first, "dlinear");
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "dlinear"));
  g_assert_no_error(drop->error);
  assert_files(&f, "");
  assert_list(&f, "");
  g_assert_cmpuint(f.retired->len, ==, 1);
  g_assert_cmpstr(g_ptr_array_index(f.retired, 0), ==, "dlinear:1");
  g_autoptr(GError) gone = NULL;
  g_assert_null(fixture_lookup(&f, "dlinear", &gone));
  g_assert_error(gone, AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND);
  g_autoptr(Outcome) twice = fixture_wait(fixture_drop(&f, "dlinear"));
  assert_error(twice, AIN_ERROR_MODEL_NOT_FOUND, "SHOW MODELS");
  g_autoptr(Outcome) again = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_model(again, "dlinear");
  g_assert_cmpuint(again->model->generation, >, first->model->generation);
  fixture_clear(&f);
}

typedef struct {
  Fixture *fixture;
  const char *uri;
  Outcome *outcomes[4];
} Burst;

static void record(AinModel *model, const GError *error, gpointer data) {
  Outcome *outcome = data;
  pthread_mutex_lock(&fixture_lock);
  outcome->calls++;
  outcome->model = model == NULL ? NULL : ain_model_ref(model);
  outcome->error = error == NULL ? NULL : g_error_copy(error);
  pthread_cond_broadcast(&fixture_changed);
  pthread_mutex_unlock(&fixture_lock);
}
static void record_drop(const GError *error, gpointer data) {
  record(NULL, error, data);
}

/* All in one turn of the loop, so that each meets the one before under way. */
static void drop_drop_register_register(gpointer data) {
  Burst *b = data;
  AinRegistry *registry = b->fixture->registry;
  ain_registry_drop(registry, "dlinear", record_drop, b->outcomes[0]);
  ain_registry_drop(registry, "dlinear", record_drop, b->outcomes[1]);
  ain_registry_register(registry, "dlinear", b->uri, record, b->outcomes[2]);
  ain_registry_register(registry, "dlinear", b->uri, record, b->outcomes[3]);
}

static void burst_init(Burst *b, Fixture *f, const char *uri) {
  b->fixture = f;
  b->uri = uri;
  for (int i = 0; i < 4; i++) {
    b->outcomes[i] = g_new0(Outcome, 1);
    b->outcomes[i]->fixture = f;
  }
}

static void burst_clear(Burst *b) {
  for (int i = 0; i < 4; i++) {
    outcome_free(b->outcomes[i]);
  }
}

static void test_register_during_drop(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "dlinear", uri));
  Burst b;
  burst_init(&b, &f, uri);
  fixture_call(&f, drop_drop_register_register, &b);
  g_assert_no_error(fixture_wait(b.outcomes[0])->error);
  g_assert_no_error(fixture_wait(b.outcomes[1])->error);
  assert_model(fixture_wait(b.outcomes[2]), "dlinear");
  g_assert_true(fixture_wait(b.outcomes[3])->model == b.outcomes[2]->model);
  g_assert_cmpuint(b.outcomes[2]->model->generation, >, first->model->generation);
  burst_clear(&b);
  assert_files(&f, "dlinear");
  assert_list(&f, "dlinear:active");
  fixture_clear(&f);
}

static void register_drop_register_drop(gpointer data) {
  Burst *b = data;
  AinRegistry *registry = b->fixture->registry;
  ain_registry_register(registry, "dlinear", b->uri, record, b->outcomes[0]);
  ain_registry_drop(registry, "dlinear", record_drop, b->outcomes[1]);
  ain_registry_register(registry, "dlinear", b->uri, record, b->outcomes[2]);
  ain_registry_drop(registry, "dlinear", record_drop, b->outcomes[3]);
}

/* The last word is a drop, so nothing may come back, whatever was there before. */
static void test_last_drop_wins(gconstpointer there) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  if (there != NULL) {
    g_autoptr(Outcome) first = fixture_wait(fixture_register(&f, "dlinear", uri));
    assert_model(first, "dlinear");
  }
  Burst b;
  burst_init(&b, &f, uri);
  fixture_call(&f, register_drop_register_drop, &b);
  assert_error(fixture_wait(b.outcomes[0]), AIN_ERROR_CANCELLED, "dropped meanwhile");
  g_assert_no_error(fixture_wait(b.outcomes[1])->error);
  assert_error(fixture_wait(b.outcomes[2]), AIN_ERROR_CANCELLED, "dropped meanwhile");
  g_assert_no_error(fixture_wait(b.outcomes[3])->error);
  burst_clear(&b);
  g_autofree char *other = fixture_source(&f, "other", "x", GOOD_CONFIG);
  g_autoptr(Outcome) after =
      fixture_wait(fixture_register(&f, "after", other)); /* waits for the stragglers */
  assert_model(after, "after");
  assert_list(&f, "after:active");
  fixture_close(&f);
  fixture_open(&f);
  assert_files(&f, "after");
  fixture_clear(&f);
}

/* A drop does not wait for a proof that hangs, and the id is free at once. */
static void test_drop_during_proof(void) {
  Fixture f;
  fixture_init(&f);
  set_mode(&f, PROVE_HELD, 0);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) first = fixture_register(&f, "dlinear", uri);
  fixture_wait_proofs(&f, 1);
  g_autoptr(Outcome) repeat = fixture_register(&f, "dlinear", uri);
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "dlinear"));
  g_assert_no_error(drop->error);
  assert_error(fixture_wait(first), AIN_ERROR_CANCELLED, "dropped meanwhile");
  assert_error(fixture_wait(repeat), AIN_ERROR_CANCELLED, "dropped meanwhile");
  assert_list(&f, "");
  g_autoptr(Outcome) second = fixture_register(&f, "dlinear", uri);
  fixture_wait_proofs(&f, 2);
  fixture_release(&f); /* the abandoned one */
  assert_list(&f, "dlinear:loading");
  fixture_release(&f);
  assert_model(fixture_wait(second), "dlinear");
  wait_files(&f, "dlinear");
  fixture_clear(&f);
}

static void test_drop_while_queued(void) {
  Fixture f;
  fixture_init(&f);
  set_mode(&f, PROVE_HELD, 0);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  g_autoptr(Outcome) a = fixture_register(&f, "m-a", uri);
  g_autoptr(Outcome) b = fixture_register(&f, "m-b", uri);
  g_autoptr(Outcome) c = fixture_register(&f, "m-c", uri);
  fixture_wait_proofs(&f, 2);
  assert_list(&f, "m-a:loading m-b:loading m-c:loading");
  g_autoptr(Outcome) drop = fixture_wait(fixture_drop(&f, "m-c"));
  g_assert_no_error(drop->error);
  assert_error(fixture_wait(c), AIN_ERROR_CANCELLED, "dropped meanwhile");
  fixture_release(&f);
  fixture_release(&f);
  assert_model(fixture_wait(a), "m-a");
  assert_model(fixture_wait(b), "m-b");
  g_assert_cmpuint(proofs(&f), ==, 2);
  assert_list(&f, "m-a:active m-b:active");
  fixture_clear(&f);
}

/* --- many ------------------------------------------------------------------------------------------------
 */

#define MANY 40

static void test_many_at_once(void) {
  Fixture f;
  fixture_init(&f);
  char *uris[3] = {
    fixture_source(&f, "s0", "content 0", GOOD_CONFIG),
    fixture_source(&f, "s1", "content 1", GOOD_CONFIG),
    fixture_source(&f, "s2", "content 1", GOOD_CONFIG),
  };
  Outcome *outcomes[MANY * 3];
  for (guint i = 0; i < MANY * 3; i++) {
    g_autofree char *id = g_strdup_printf("model-%u", i % MANY);
    outcomes[i] = fixture_register(&f, id, uris[i / MANY]);
  }
  for (guint i = 0; i < MANY * 3; i++) {
    fixture_wait(outcomes[i]);
    if (i < MANY) {
      g_assert_no_error(outcomes[i]->error);
    } else {
      g_assert_error(outcomes[i]->error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS);
    }
    outcome_free(outcomes[i]);
  }
  g_assert_cmpuint(f.proofs, ==, MANY);
  g_assert_cmpuint(f.most_running, <=, AIN_REGISTRY_JOBS);
  g_autofree char *before = fixture_list(&f);
  g_assert_true(g_str_has_prefix(before, "model-0:active model-1:active model-2:active"));
  fixture_close(&f);
  fixture_open(&f);
  assert_list(&f, before);
  for (guint i = 0; i < MANY; i++) {
    g_autofree char *id = g_strdup_printf("model-%u", i);
    outcomes[i] = fixture_drop(&f, id);
  }
  for (guint i = 0; i < MANY; i++) {
    g_assert_no_error(fixture_wait(outcomes[i])->error);
    outcome_free(outcomes[i]);
  }
  assert_files(&f, "");
  for (guint i = 0; i < G_N_ELEMENTS(uris); i++) {
    g_free(uris[i]);
  }
  fixture_clear(&f);
}

/* Registrations and drops of few ids, interleaved by chance (seeded): each is answered once, and what is
 * listed is what is on disk. */
static void test_random_interleaving(void) {
  Fixture f;
  fixture_init(&f);
  char *uris[2] = {
    fixture_source(&f, "s0", "content 0", GOOD_CONFIG),
    fixture_source(&f, "s1", "content 1", GOOD_CONFIG),
  };
  static const char *const ids[] = { "one", "two", "three" };
  g_autoptr(GRand) rand = g_rand_new_with_seed(20251122);
  for (int round = 0; round < 20; round++) {
    Outcome *outcomes[30];
    for (guint i = 0; i < G_N_ELEMENTS(outcomes); i++) {
      const char *id = ids[g_rand_int_range(rand, 0, 3)];
      set_mode(&f, (ProveMode)g_rand_int_range(rand, 0, 2),
               g_rand_int_range(rand, 0, 4) == 0 ? AIN_ERROR_TIMEOUT : 0);
      outcomes[i] = g_rand_boolean(rand) ? fixture_drop(&f, id)
                                         : fixture_register(&f, id, uris[g_rand_int_range(rand, 0, 2)]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(outcomes); i++) {
      outcome_free(outcomes[i]);
    }
  }
  g_autofree char *before = fixture_list(&f);
  fixture_close(&f);
  fixture_open(&f);
  assert_list(&f, before);
  g_autofree char *files = fixture_files(&f);
  g_assert_null(strstr(files, ".staging"));
  g_free(uris[0]);
  g_free(uris[1]);
  fixture_clear(&f);
}

static void test_too_many_wait(void) {
  Fixture f;
  fixture_init(&f);
  set_mode(&f, PROVE_HELD, 0);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  Outcome *outcomes[256];
  for (guint i = 0; i < G_N_ELEMENTS(outcomes); i++) {
    g_autofree char *id = g_strdup_printf("model-%u", i);
    outcomes[i] = fixture_register(&f, id, uri);
  }
  g_autoptr(Outcome) over = fixture_wait(fixture_register(&f, "dlinear", uri));
  assert_error(over, AIN_ERROR_BUSY, "try again later");
  fixture_wait_proofs(&f, 2);
  fixture_close(&f); /* with two proofs under way and the rest queued */
  for (guint i = 0; i < G_N_ELEMENTS(outcomes); i++) {
    g_assert_error(fixture_wait(outcomes[i])->error, AIN_ERROR, AIN_ERROR_CANCELLED);
    outcome_free(outcomes[i]);
  }
  fixture_open(&f);
  assert_list(&f, "");
  assert_files(&f, "");
  fixture_clear(&f);
}

/* --- stop in the middle ----------------------------------------------------------------------------------
 */

/* Whatever the moment: everybody is answered, nothing half-made stays. */
static void test_stop_at_any_time(void) {
  Fixture f;
  fixture_init(&f);
  g_autofree char *uri = fixture_source(&f, "source", "w", GOOD_CONFIG);
  for (guint round = 0; round < 40; round++) {
    set_mode(&f, round % 2 == 0 ? PROVE_AT_ONCE : PROVE_SOON, 0);
    g_autoptr(Outcome) a = fixture_register(&f, "m-a", uri);
    g_autoptr(Outcome) b = fixture_register(&f, "m-b", uri);
    g_autoptr(Outcome) drop = fixture_drop(&f, "m-a");
    g_usleep((gulong)(round % 8) * 150);
    fixture_close(&f);
    fixture_wait(a);
    fixture_wait(b);
    fixture_wait(drop);
    fixture_open(&f);
    g_autofree char *list = fixture_list(&f);
    g_autofree char *files = fixture_files(&f);
    g_assert_null(strstr(files, ".staging"));
    g_assert_cmpint(strstr(list, "m-a:active") != NULL, ==, strstr(files, "m-a") != NULL);
    g_assert_cmpint(strstr(list, "m-b:active") != NULL, ==, strstr(files, "m-b") != NULL);
    g_assert_true(drop->error != NULL || strstr(files, "m-a") == NULL);
    g_assert_true(b->error != NULL || strstr(files, "m-b") != NULL);
    g_autoptr(Outcome) clean_a = fixture_wait(fixture_drop(&f, "m-a"));
    g_assert_true(clean_a->error == NULL || clean_a->error->code == AIN_ERROR_MODEL_NOT_FOUND);
    g_autoptr(Outcome) clean = fixture_wait(fixture_drop(&f, "m-b"));
    g_assert_true(clean->error == NULL || clean->error->code == AIN_ERROR_MODEL_NOT_FOUND);
  }
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/registry/success", test_success);
  g_test_add_func("/registry/digest", test_digest);
  g_test_add_func("/registry/refusals", test_refusals);
  g_test_add_func("/registry/bad-ids", test_bad_ids);
  g_test_add_func("/registry/prover-refuses-at-once", test_prover_refuses_at_once);
  g_test_add_func("/registry/prover-refuses-soon", test_prover_refuses_soon);
  g_test_add_func("/registry/repeat-while-staging", test_repeat_while_staging);
  g_test_add_func("/registry/repeat-of-a-failure", test_repeat_of_a_failure);
  g_test_add_func("/registry/repeat-when-done", test_repeat_when_done);
  g_test_add_func("/registry/repeat-without-source", test_repeat_without_source);
  g_test_add_func("/registry/drop", test_drop);
  g_test_add_func("/registry/register-during-drop", test_register_during_drop);
  g_test_add_data_func("/registry/last-drop-wins/new", NULL, test_last_drop_wins);
  g_test_add_data_func("/registry/last-drop-wins/there", "there", test_last_drop_wins);
  g_test_add_func("/registry/drop-during-proof", test_drop_during_proof);
  g_test_add_func("/registry/drop-while-queued", test_drop_while_queued);
  g_test_add_func("/registry/many-at-once", test_many_at_once);
  g_test_add_func("/registry/random-interleaving", test_random_interleaving);
  g_test_add_func("/registry/too-many-wait", test_too_many_wait);
  g_test_add_func("/registry/stop-at-any-time", test_stop_at_any_time);
  return g_test_run();
}
