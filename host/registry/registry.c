/* Entries, look-up and listing, and those who wait for something. */
#include "base/error.h"
#include "base/fd.h"
#include "registry/builtin.h"
#include "registry/internal.h"
#include "registry/model_id.h"
#include "registry/text.h"

#include <string.h>

#define MAX_MODEL_BYTES (16ULL << 30)
#define ID_ROOM 65 /* of the longest id, and NUL */

/* --- entries ---------------------------------------------------------------------------------------------
 */

AinEntry *ain_registry_entry_new(const char *id, AinModelState state) {
  AinEntry *entry = g_new0(AinEntry, 1);
  entry->id = g_strdup(id);
  entry->category = AIN_CATEGORY_USER;
  entry->kind = AIN_KIND_TORCHSCRIPT;
  entry->state = state;
  entry->repeats = g_ptr_array_new();
  entry->drops = g_ptr_array_new();
  entry->askers = g_ptr_array_new();
  return entry;
}

void ain_registry_entry_free(gpointer data) {
  AinEntry *entry = data;
  g_free(entry->id);
  ain_model_unref(entry->model);
  g_free(entry->uri);
  g_free(entry->place);
  g_free(entry->reason);
  g_ptr_array_unref(entry->repeats);
  g_ptr_array_unref(entry->drops);
  g_ptr_array_unref(entry->askers);
  g_free(entry);
}

void ain_registry_add_entry(AinRegistry *registry, AinEntry *entry) {
  g_ptr_array_add(registry->entries, entry);
  g_hash_table_insert(registry->by_id, entry->id, entry);
}

void ain_registry_add_entry_first(AinRegistry *registry, AinEntry *entry) {
  guint at = 0;
  while (at < registry->entries->len
         && ((AinEntry *)g_ptr_array_index(registry->entries, at))->category != AIN_CATEGORY_USER) {
    at++;
  }
  g_ptr_array_insert(registry->entries, (gint)at, entry);
  g_hash_table_insert(registry->by_id, entry->id, entry);
}

AinEntry *ain_registry_find(const AinRegistry *registry, const char *id) {
  return g_hash_table_lookup(registry->by_id, id);
}

void ain_registry_remove_entry(AinRegistry *registry, AinEntry *entry) {
  if (entry->askers->len > 0) {
    g_autoptr(GError) error =
        g_error_new(AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND,
                    "there is no model [%s]; SHOW MODELS lists those there are", entry->id);
    ain_registry_answer_all_later(registry, entry->askers, error);
  }
  g_hash_table_remove(registry->by_id, entry->id);
  g_ptr_array_remove(registry->entries, entry);
}

void ain_registry_retire(AinRegistry *registry, AinModel *model) {
  if (registry->retire != NULL) {
    registry->retire(model, registry->retire_data);
  }
}

/* --- waiters ---------------------------------------------------------------------------------------------
 */

AinWaiter *ain_registry_wait(AinRegistry *registry, const char *uri, gpointer data) {
  AinWaiter *waiter = g_new0(AinWaiter, 1);
  waiter->uri = g_strdup(uri);
  waiter->data = data;
  registry->waiting++;
  return waiter;
}

gboolean ain_registry_check_room(const AinRegistry *registry, GError **error) {
  if (registry->waiting > AIN_REGISTRY_MAX_WAITING) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_BUSY,
                "%d requests to create or drop models are under way already; try again later",
                AIN_REGISTRY_MAX_WAITING);
    return FALSE;
  }
  return TRUE;
}

static void call_waiter(AinWaiter *waiter, AinModel *model, const GError *error) {
  if (waiter->done != NULL) {
    waiter->done(model, error, waiter->data);
  } else {
    waiter->dropped(error, waiter->data);
  }
  g_free(waiter->uri);
  g_free(waiter);
}

void ain_registry_answer(AinRegistry *registry, AinWaiter *waiter, AinModel *model, const GError *error) {
  registry->waiting--;
  call_waiter(waiter, model, error);
}

void ain_registry_answer_all(AinRegistry *registry, GPtrArray *waiters, AinModel *model,
                             const GError *error) {
  for (guint i = 0; i < waiters->len; i++) {
    ain_registry_answer(registry, g_ptr_array_index(waiters, i), model, error);
  }
  g_ptr_array_set_size(waiters, 0);
}

typedef struct {
  AinWaiter *waiter;
  AinModel *model;
  GError *error;
} Answer;

/* The registry may be gone by now. */
static void give_answer(gpointer data) {
  Answer *answer = data;
  call_waiter(answer->waiter, answer->model, answer->error);
  ain_model_unref(answer->model);
  g_clear_error(&answer->error);
  g_free(answer);
}

void ain_registry_answer_later(AinRegistry *registry, AinWaiter *waiter, AinModel *model, GError *error) {
  registry->waiting--;
  Answer *answer = g_new0(Answer, 1);
  answer->waiter = waiter;
  answer->model = model == NULL ? NULL : ain_model_ref(model);
  answer->error = error;
  ain_loop_post(registry->loop, give_answer, answer);
}

void ain_registry_answer_all_later(AinRegistry *registry, GPtrArray *waiters, const GError *error) {
  for (guint i = 0; i < waiters->len; i++) {
    ain_registry_answer_later(registry, g_ptr_array_index(waiters, i), NULL, g_error_copy(error));
  }
  g_ptr_array_set_size(waiters, 0);
}

GPtrArray *ain_registry_steal(GPtrArray **waiters) {
  GPtrArray *all = *waiters;
  *waiters = g_ptr_array_new();
  return all;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

AinRegistry *ain_registry_new(AinLoop *loop, const char *models_dir, AinProver prover, GError **error) {
  AinRegistry *registry = g_new0(AinRegistry, 1);
  registry->loop = loop;
  registry->models_dir = g_canonicalize_filename(models_dir, NULL);
  registry->staging_dir = g_build_filename(registry->models_dir, AIN_STAGING_NAME, NULL);
  registry->prover = prover;
  registry->max_bytes = MAX_MODEL_BYTES;
  registry->entries = g_ptr_array_new_with_free_func(ain_registry_entry_free);
  registry->by_id = g_hash_table_new(g_str_hash, g_str_equal);
  registry->jobs = g_hash_table_new(NULL, NULL);
  g_queue_init(&registry->queue);
  if (!ain_file_make_directory(registry->models_dir, error) || !ain_registry_scan(registry, error)) {
    ain_registry_free(registry);
    return NULL;
  }
  return registry;
}

/* Everybody who waits for anything, out of all lists. Owned. */
static GPtrArray *collect_waiters(AinRegistry *registry) {
  GPtrArray *all = g_ptr_array_new();
  for (guint i = 0; i < registry->entries->len; i++) {
    AinEntry *entry = g_ptr_array_index(registry->entries, i);
    g_ptr_array_extend_and_steal(all, ain_registry_steal(&entry->repeats));
    g_ptr_array_extend_and_steal(all, ain_registry_steal(&entry->drops));
    g_ptr_array_extend_and_steal(all, ain_registry_steal(&entry->askers));
  }
  GHashTableIter iter;
  gpointer key = NULL;
  g_hash_table_iter_init(&iter, registry->jobs);
  while (g_hash_table_iter_next(&iter, &key, NULL)) {
    AinJob *job = key;
    g_ptr_array_extend_and_steal(all, ain_registry_steal(&job->waiters));
  }
  return all;
}

/* Jobs not yet begun end here; the others find that the registry is gone. */
static void cut_off_jobs(AinRegistry *registry) {
  GHashTableIter iter;
  gpointer key = NULL;
  g_hash_table_iter_init(&iter, registry->jobs);
  while (g_hash_table_iter_next(&iter, &key, NULL)) {
    AinJob *job = key;
    job->registry = NULL;
    job->entry = NULL;
    atomic_store(&job->cancelled, TRUE);
  }
  for (AinJob *job = g_queue_pop_head(&registry->queue); job != NULL;
       job = g_queue_pop_head(&registry->queue)) {
    ain_registry_job_end(job);
  }
}

void ain_registry_set_fetcher(AinRegistry *registry, AinFetcher fetcher) {
  registry->fetcher = fetcher;
}

void ain_registry_free(AinRegistry *registry) {
  if (registry == NULL) {
    return;
  }
  ain_drop_in_free(registry->drop_in);
  g_autoptr(GPtrArray) waiters = collect_waiters(registry);
  g_autoptr(GError) stopping = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the AINode is stopping");
  cut_off_jobs(registry);
  ain_registry_answer_all(registry, waiters, NULL, stopping);
  g_hash_table_unref(registry->jobs);
  g_hash_table_unref(registry->by_id);
  g_ptr_array_unref(registry->entries);
  g_free(registry->models_dir);
  g_free(registry->staging_dir);
  g_free(registry);
}

void ain_registry_set_max_bytes(AinRegistry *registry, guint64 max_bytes) {
  registry->max_bytes = max_bytes;
}

void ain_registry_on_retire(AinRegistry *registry, void (*func)(AinModel *model, gpointer data),
                            gpointer data) {
  registry->retire = func;
  registry->retire_data = data;
}

void ain_registry_on_publish(AinRegistry *registry, AinWarm func, gpointer data) {
  registry->warm = func;
  registry->warm_data = data;
}

void ain_registry_warm(AinRegistry *registry, AinModel *model, void (*done)(gpointer data), gpointer data) {
  if (registry->warm != NULL) {
    registry->warm(model, done, data, registry->warm_data);
  } else {
    done(data);
  }
}

/* --- questions -------------------------------------------------------------------------------------------
 */

/* NULL when there is none; key becomes the id as a text, or "". */
static AinEntry *find_entry(const AinRegistry *registry, const char *id, gsize size, char key[ID_ROOM]) {
  memset(key, 0, ID_ROOM);
  if (size >= ID_ROOM || memchr(id, 0, size) != NULL) {
    return NULL;
  }
  memcpy(key, id, size);
  return ain_registry_find(registry, ain_builtin_canonical(key));
}

gboolean ain_registry_await(AinRegistry *registry, const char *id, gsize size, AinRegisterDone done,
                            gpointer data) {
  char key[ID_ROOM];
  AinEntry *entry = find_entry(registry, id, size, key);
  if (entry == NULL || entry->state != AIN_STATE_LOADING || !ain_registry_check_room(registry, NULL)) {
    return FALSE;
  }
  AinWaiter *waiter = ain_registry_wait(registry, NULL, data);
  waiter->done = done;
  g_ptr_array_add(entry->askers, waiter);
  return TRUE;
}

void ain_registry_answer_askers(AinRegistry *registry, AinEntry *entry) {
  if (entry->askers->len == 0 || entry->state == AIN_STATE_LOADING) {
    return;
  }
  g_autoptr(GError) error = NULL;
  g_autoptr(AinModel) model = ain_registry_lookup(registry, entry->id, strlen(entry->id), &error);
  for (guint i = 0; i < entry->askers->len; i++) {
    ain_registry_answer_later(registry, g_ptr_array_index(entry->askers, i), model,
                              error != NULL ? g_error_copy(error) : NULL);
  }
  g_ptr_array_set_size(entry->askers, 0);
}

AinModel *ain_registry_lookup(AinRegistry *registry, const char *id, gsize size, GError **error) {
  char key[ID_ROOM];
  const AinEntry *entry = find_entry(registry, id, size, key);
  if (entry != NULL && entry->state == AIN_STATE_ACTIVE) {
    return ain_model_ref(entry->model);
  }
  if (entry != NULL && entry->state == AIN_STATE_LOADING) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_BUSY, "the model %s is still being %s; try again later", key,
                entry->category == AIN_CATEGORY_USER ? "registered" : "loaded");
  } else if (entry != NULL && entry->state == AIN_STATE_INACTIVE) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "the model %s is not active: %s", key, entry->reason);
  } else if (entry != NULL && entry->state == AIN_STATE_FAILED) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "the model %s cannot be used: %s", key,
                entry->reason);
  } else {
    g_autofree char *shown = ain_registry_show(id, (gssize)size);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND,
                "there is no model [%s]; SHOW MODELS lists those there are", shown);
  }
  return NULL;
}

void ain_registry_visit(AinRegistry *registry, AinRegistryVisit func, gpointer data) {
  for (guint i = 0; i < registry->entries->len; i++) {
    const AinEntry *entry = g_ptr_array_index(registry->entries, i);
    if (!func(entry->id, entry->category, entry->state, entry->model, data)) {
      return;
    }
  }
}

const char *ain_registry_type_of(AinRegistry *registry, const char *id, gboolean later) {
  const AinEntry *entry = ain_registry_find(registry, id);
  if (entry == NULL) {
    return "";
  }
  if (entry->category == AIN_CATEGORY_USER) {
    return later && entry->model != NULL && entry->model->type != NULL ? entry->model->type : "";
  }
  return ain_builtin_type(id, entry->kind, later);
}

/* --- built-ins
 * ------------------------------------------------------------------------------------------- */

/* The weights of the others are looked for. */
static const char NO_WEIGHTS[] = "its weights have not been looked for yet";

void ain_registry_add_builtins(AinRegistry *registry) {
  for (guint i = 0; i < ain_builtin_count(); i++) {
    const AinBuiltin *builtin = ain_builtin_at(i);
    gboolean statistical = builtin->kind == AIN_KIND_STATISTICAL;
    AinEntry *entry =
        ain_registry_entry_new(builtin->id, statistical ? AIN_STATE_ACTIVE : AIN_STATE_INACTIVE);
    entry->category = AIN_CATEGORY_BUILTIN;
    entry->kind = builtin->kind;
    if (statistical) {
      entry->model =
          ain_builtin_model_new(builtin->id, builtin->kind, registry->models_dir, AIN_CATEGORY_BUILTIN);
      entry->model->generation = ++registry->generation;
    } else {
      entry->reason = g_strdup(NO_WEIGHTS);
    }
    ain_registry_add_entry_first(registry, entry);
  }
}

void ain_registry_watch_weights(AinRegistry *registry, const char *const *directories) {
  g_return_if_fail(registry->drop_in == NULL);
  registry->drop_in = ain_drop_in_new(registry, directories);
}
