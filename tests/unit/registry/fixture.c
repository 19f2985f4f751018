/* See fixture.h. */
#include "fixture.h"

#include "base/error.h"
#include "base/fd.h"

#include <string.h>
#include <time.h>

#define WAIT_SECONDS 60

pthread_mutex_t fixture_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t fixture_changed = PTHREAD_COND_INITIALIZER;

static Fixture *logging; /* the one that gets the log; set while no other thread runs */

static void take_log(const char *domain, GLogLevelFlags level, const char *message, gpointer data) {
  (void)domain;
  (void)level;
  (void)data;
  pthread_mutex_lock(&fixture_lock);
  g_string_append_printf(logging->log, "%s\n", message);
  pthread_mutex_unlock(&fixture_lock);
}

static gboolean never_fatal(const char *domain, GLogLevelFlags level, const char *message, gpointer data) {
  (void)domain;
  (void)message;
  (void)data;
  return (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0;
}

/* --- prover ----------------------------------------------------------------------------------------------
 */

static void end_proof(gpointer data) {
  Held *held = data;
  Fixture *f = logging;
  g_autoptr(GError) error = NULL;
  pthread_mutex_lock(&fixture_lock);
  f->running--;
  if (f->fail_code != 0) {
    error = g_error_new(AIN_ERROR, f->fail_code, "the model raised RuntimeError: told to fail");
  } else {
    held->model->dtype = f->dtype;
    held->model->writes_input = f->writes_input;
    held->model->threads = f->threads;
  }
  pthread_mutex_unlock(&fixture_lock);
  held->done(error, held->data);
  ain_model_unref(held->model);
  g_free(held);
}

/* The files are there and complete while the proof runs. */
static void check_staged(const AinModel *model) {
  gboolean weights = ain_model_is_flexible(model);
  g_autofree char *script = g_build_filename(model->directory, "model.pt", NULL);
  gboolean has_script = g_file_test(script, G_FILE_TEST_EXISTS);
  const char *name = weights ? "model.safetensors" : has_script ? "model.pt" : "model.pt2";
  g_autofree char *file = g_build_filename(model->directory, name, NULL);
  g_autofree char *config = g_build_filename(model->directory, weights ? "config.json" : "config.yaml", NULL);
  g_assert_true(g_file_test(file, G_FILE_TEST_IS_REGULAR));
  g_assert_true(g_file_test(config, G_FILE_TEST_IS_REGULAR));
}

static void prove(gpointer prover, AinModel *model, AinProveDone done, gpointer data) {
  Fixture *f = prover;
  check_staged(model);
  Held *held = g_new0(Held, 1);
  held->model = ain_model_ref(model);
  held->done = done;
  held->data = data;
  pthread_mutex_lock(&fixture_lock);
  f->proofs++;
  f->running++;
  f->most_running = MAX(f->most_running, f->running);
  ProveMode mode = f->mode;
  if (mode == PROVE_HELD) {
    g_queue_push_tail(&f->held, g_steal_pointer(&held));
  }
  pthread_cond_broadcast(&fixture_changed);
  pthread_mutex_unlock(&fixture_lock);
  if (held == NULL) {
    return;
  }
  if (mode == PROVE_AT_ONCE) {
    end_proof(held);
  } else {
    ain_loop_post(f->loop, end_proof, held);
  }
}

void fixture_release(Fixture *f) {
  pthread_mutex_lock(&fixture_lock);
  Held *held = g_queue_pop_head(&f->held);
  pthread_mutex_unlock(&fixture_lock);
  g_assert_nonnull(held);
  fixture_call(f, end_proof, held);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static void retire(AinModel *model, gpointer data) {
  Fixture *f = data;
  pthread_mutex_lock(&fixture_lock);
  g_ptr_array_add(f->retired, g_strdup_printf("%s:%" G_GUINT64_FORMAT, model->id, model->generation));
  pthread_mutex_unlock(&fixture_lock);
}

static void *run_loop(void *data) {
  ain_loop_run(((Fixture *)data)->loop);
  return NULL;
}

void fixture_open(Fixture *f) {
  g_autoptr(GError) error = NULL;
  f->loop = ain_loop_new(3, &error);
  g_assert_no_error(error);
  f->registry = ain_registry_new(f->loop, f->models, (AinProver){ prove, NULL, f }, &error);
  g_assert_no_error(error);
  ain_registry_on_retire(f->registry, retire, f);
  g_assert_cmpint(pthread_create(&f->thread, NULL, run_loop, f), ==, 0);
}

static void free_registry(gpointer data) {
  Fixture *f = data;
  ain_registry_free(f->registry);
  f->registry = NULL;
}

void fixture_close(Fixture *f) {
  fixture_call(f, free_registry, f);
  while (!g_queue_is_empty(&f->held)) {
    fixture_release(f); /* a prover answers although nobody is there any more */
  }
  ain_loop_quit(f->loop);
  pthread_join(f->thread, NULL);
  ain_loop_free(f->loop);
}

void fixture_init(Fixture *f) {
  g_autoptr(GError) error = NULL;
  memset(f, 0, sizeof *f);
  f->root = g_dir_make_tmp("ain-registry-XXXXXX", &error);
  g_assert_no_error(error);
  f->models = g_build_filename(f->root, "models", NULL);
  f->mode = PROVE_SOON;
  f->dtype = AIN_DTYPE_FLOAT32;
  f->log = g_string_new(NULL);
  f->retired = g_ptr_array_new_with_free_func(g_free);
  g_queue_init(&f->held);
  logging = f;
  g_log_set_handler("ainode", G_LOG_LEVEL_MASK | G_LOG_FLAG_FATAL, take_log, NULL);
  g_test_log_set_fatal_handler(never_fatal, NULL);
  fixture_open(f);
}

void fixture_clear(Fixture *f) {
  g_autoptr(GError) error = NULL;
  fixture_close(f);
  ain_file_remove_tree(f->root, &error);
  g_assert_no_error(error);
  g_string_free(f->log, TRUE);
  g_ptr_array_unref(f->retired);
  g_free(f->root);
  g_free(f->models);
}

/* --- files -----------------------------------------------------------------------------------------------
 */

char *fixture_path(const Fixture *f, const char *name) {
  return g_build_filename(f->root, name, NULL);
}

void fixture_write(const char *path, const void *data, gsize size) {
  g_autoptr(GError) error = NULL;
  g_autofree char *directory = g_path_get_dirname(path);
  ain_file_make_directory(directory, &error);
  g_assert_no_error(error);
  g_file_set_contents(path, data, (gssize)size, &error);
  g_assert_no_error(error);
}

char *fixture_source(Fixture *f, const char *name, const char *model, const char *config) {
  g_autofree char *directory = fixture_path(f, name);
  g_autofree char *model_path = g_build_filename(directory, "model.pt", NULL);
  g_autofree char *config_path = g_build_filename(directory, "config.yaml", NULL);
  g_autoptr(GError) error = NULL;
  ain_file_make_directory(directory, &error);
  g_assert_no_error(error);
  if (model != NULL) {
    fixture_write(model_path, model, strlen(model));
  }
  if (config != NULL) {
    fixture_write(config_path, config, strlen(config));
  }
  return g_strconcat("file://", directory, NULL);
}

static int compare_names(gconstpointer a, gconstpointer b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_folder(const char *path, const char *prefix, GPtrArray *names) {
  g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
  const char *name = NULL;
  while (directory != NULL && (name = g_dir_read_name(directory)) != NULL) {
    if (strcmp(name, ".staging") == 0) {
      g_autofree char *staging = g_build_filename(path, name, NULL);
      g_ptr_array_add(names, g_strdup(name));
      list_folder(staging, ".staging/", names);
    } else {
      g_ptr_array_add(names, g_strconcat(prefix, name, NULL));
    }
  }
}

char *fixture_files(Fixture *f) {
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  list_folder(f->models, "", names);
  g_ptr_array_sort(names, compare_names);
  g_ptr_array_add(names, NULL);
  return g_strjoinv(" ", (char **)names->pdata);
}

/* --- calls -----------------------------------------------------------------------------------------------
 */

/* TRUE while there is time. */
static gboolean wait_change(void) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += WAIT_SECONDS;
  return pthread_cond_timedwait(&fixture_changed, &fixture_lock, &until) == 0;
}

typedef struct {
  Fixture *fixture;
  AinLoopFunc func;
  gpointer data;
  gboolean done;
} Call;

static void run_call(gpointer data) {
  Call *call = data;
  call->func(call->data);
  pthread_mutex_lock(&fixture_lock);
  call->done = TRUE;
  pthread_cond_broadcast(&fixture_changed);
  pthread_mutex_unlock(&fixture_lock);
}

void fixture_call(Fixture *f, AinLoopFunc func, gpointer data) {
  Call call = { f, func, data, FALSE };
  ain_loop_post(f->loop, run_call, &call);
  pthread_mutex_lock(&fixture_lock);
  while (!call.done) {
    g_assert_true(wait_change());
  }
  pthread_mutex_unlock(&fixture_lock);
}

static void on_registered(AinModel *model, const GError *error, gpointer data) {
  Outcome *outcome = data;
  pthread_mutex_lock(&fixture_lock);
  outcome->calls++;
  outcome->model = model == NULL ? NULL : ain_model_ref(model);
  outcome->error = error == NULL ? NULL : g_error_copy(error);
  pthread_cond_broadcast(&fixture_changed);
  pthread_mutex_unlock(&fixture_lock);
}

static void on_dropped(const GError *error, gpointer data) {
  on_registered(NULL, error, data);
}

typedef struct {
  Fixture *fixture;
  const char *id;
  const char *uri;
  Outcome *outcome;
  AinModel *model;
  GError **error;
} Request;

static void do_register(gpointer data) {
  Request *r = data;
  ain_registry_register(r->fixture->registry, r->id, r->uri, on_registered, r->outcome);
  g_assert_cmpuint(r->outcome->calls, ==, 0); /* never from within */
}

static void do_drop(gpointer data) {
  Request *r = data;
  ain_registry_drop(r->fixture->registry, r->id, on_dropped, r->outcome);
  g_assert_cmpuint(r->outcome->calls, ==, 0);
}

static void do_prove(gpointer data) {
  Request *r = data;
  ain_registry_prove(r->fixture->registry, r->id, on_registered, r->outcome);
  g_assert_cmpuint(r->outcome->calls, ==, 0);
}

static Outcome *start(Fixture *f, AinLoopFunc func, const char *id, const char *uri) {
  Outcome *outcome = g_new0(Outcome, 1);
  outcome->fixture = f;
  Request request = { .fixture = f, .id = id, .uri = uri, .outcome = outcome };
  fixture_call(f, func, &request);
  return outcome;
}

Outcome *fixture_register(Fixture *f, const char *id, const char *uri) {
  return start(f, do_register, id, uri);
}

Outcome *fixture_drop(Fixture *f, const char *id) {
  return start(f, do_drop, id, NULL);
}

Outcome *fixture_prove(Fixture *f, const char *id) {
  return start(f, do_prove, id, NULL);
}

Outcome *fixture_wait(Outcome *outcome) {
  pthread_mutex_lock(&fixture_lock);
  while (outcome->calls == 0) {
    g_assert_true(wait_change());
  }
  pthread_mutex_unlock(&fixture_lock);
  return outcome;
}

gboolean fixture_is_done(Outcome *outcome) {
  pthread_mutex_lock(&fixture_lock);
  gboolean done = outcome->calls > 0;
  pthread_mutex_unlock(&fixture_lock);
  return done;
}

void outcome_free(Outcome *outcome) {
  fixture_wait(outcome);
  g_assert_cmpuint(outcome->calls, ==, 1);
  ain_model_unref(outcome->model);
  g_clear_error(&outcome->error);
  g_free(outcome);
}

void fixture_wait_proofs(Fixture *f, guint n) {
  pthread_mutex_lock(&fixture_lock);
  while (f->proofs < n) {
    g_assert_true(wait_change());
  }
  pthread_mutex_unlock(&fixture_lock);
}

static void do_lookup(gpointer data) {
  Request *r = data;
  r->model = ain_registry_lookup(r->fixture->registry, r->id, strlen(r->id), r->error);
}

AinModel *fixture_lookup(Fixture *f, const char *id, GError **error) {
  Request request = { .fixture = f, .id = id, .error = error };
  fixture_call(f, do_lookup, &request);
  return request.model;
}

typedef struct {
  Fixture *fixture;
  GString *text;
} Listing;

static gboolean list_entry(const char *id, AinCategory category, AinModelState state, const AinModel *model,
                           gpointer data) {
  static const char *const names[] = { "inactive", "loading", "active", "dropping", "failed" };
  GString *text = data;
  g_assert_true(category == AIN_CATEGORY_USER || ain_registry_type_of(logging->registry, id, FALSE)[0] != 0);
  g_assert_true(state != AIN_STATE_ACTIVE || model != NULL);
  g_string_append_printf(text, "%s%s:%s", text->len == 0 ? "" : " ", id, names[state]);
  return TRUE;
}

static void do_list(gpointer data) {
  Listing *listing = data;
  ain_registry_visit(listing->fixture->registry, list_entry, listing->text);
}

char *fixture_list(Fixture *f) {
  Listing listing = { f, g_string_new(NULL) };
  fixture_call(f, do_list, &listing);
  return g_string_free(listing.text, FALSE);
}

gboolean fixture_logged(Fixture *f, const char *part) {
  pthread_mutex_lock(&fixture_lock);
  gboolean found = strstr(f->log->str, part) != NULL;
  pthread_mutex_unlock(&fixture_lock);
  return found;
}

void fixture_clear_log(Fixture *f) {
  pthread_mutex_lock(&fixture_lock);
  g_string_truncate(f->log, 0);
  pthread_mutex_unlock(&fixture_lock);
}
