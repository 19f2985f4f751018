/* DROP MODEL. */
#include "base/error.h"
#include "registry/internal.h"
#include "registry/model_id.h"
#include "registry/text.h"

#include <string.h>

static GError *dropped_meanwhile(const char *id) {
  return g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the model %s was dropped meanwhile", id);
}

/* Registrations that were asked for before the drop must not bring the model back after it. */
static void abandon_comparisons(AinRegistry *registry, const AinEntry *entry) {
  g_autoptr(GPtrArray) comparisons = g_ptr_array_new();
  GHashTableIter iter;
  gpointer key = NULL;
  g_hash_table_iter_init(&iter, registry->jobs);
  while (g_hash_table_iter_next(&iter, &key, NULL)) {
    const AinJob *job = key;
    if (job->kind == AIN_JOB_COMPARE && job->entry == entry) {
      g_ptr_array_add(comparisons, key);
    }
  }
  g_autoptr(GError) error = dropped_meanwhile(entry->id);
  for (guint i = 0; i < comparisons->len; i++) {
    ain_registry_job_abandon(g_ptr_array_index(comparisons, i), error);
  }
}

/* The folder is still there and whole. Its workers were ended, so it starts a new generation. */
static void restore(AinRegistry *registry, AinEntry *entry) {
  entry->job = NULL;
  entry->state = entry->model != NULL ? AIN_STATE_ACTIVE : AIN_STATE_FAILED;
  if (entry->model != NULL) {
    AinModel *old = entry->model;
    entry->model = ain_model_copy(old, old->directory, ++registry->generation);
    ain_model_unref(old);
  }
}

static void removed(gpointer data) {
  AinJob *job = data;
  AinRegistry *registry = job->registry;
  if (registry == NULL) {
    ain_registry_job_end(job);
    return;
  }
  AinEntry *entry = job->entry;
  g_autoptr(GPtrArray) drops = ain_registry_steal(&entry->drops);
  g_autoptr(GPtrArray) repeats = ain_registry_steal(&entry->repeats);
  if (job->error != NULL) {
    g_warning("model %s was not dropped: %s", job->stage.id, job->error->message);
    restore(registry, entry);
  } else {
    g_message("model %s is dropped", job->stage.id);
    ain_registry_remove_entry(registry, entry);
  }
  ain_registry_answer_all(registry, drops, NULL, job->error);
  ain_registry_dispatch_all(registry, job->stage.id, repeats);
  ain_registry_job_end(job);
}

static void remove_work(gpointer data) {
  AinJob *job = data;
  ain_stage_remove(&job->stage, &job->error);
}

void ain_registry_start_drop(AinRegistry *registry, AinEntry *entry) {
  if (entry->drops->len == 0) {
    return;
  }
  entry->state = AIN_STATE_DROPPING;
  abandon_comparisons(registry, entry);
  entry->job = ain_registry_job_new(registry, entry, AIN_JOB_DROP, NULL);
  if (entry->model != NULL) {
    ain_registry_retire(registry, entry->model);
  }
  ain_loop_offload(registry->loop, remove_work, removed, entry->job);
}

/* A registration that has not yet been renamed in: nothing is there to remove but what it staged, and that it
 * does itself. */
static void cancel_registration(AinRegistry *registry, AinEntry *entry, AinWaiter *waiter) {
  g_autoptr(GError) error = dropped_meanwhile(entry->id);
  g_message("the registration of model %s is cancelled, because it was dropped", entry->id);
  ain_registry_answer_all_later(registry, entry->repeats, error);
  ain_registry_answer_all_later(registry, entry->askers, error);
  ain_registry_job_abandon(entry->job, error);
  ain_registry_remove_entry(registry, entry);
  ain_registry_answer_later(registry, waiter, NULL, NULL);
}

static void drop_entry(AinRegistry *registry, AinEntry *entry, AinWaiter *waiter) {
  AinJob *job = entry->job;
  g_autoptr(GError) error = dropped_meanwhile(entry->id);
  if (job != NULL && job->kind == AIN_JOB_REGISTER && !job->committing) {
    cancel_registration(registry, entry, waiter);
    return;
  }
  if (job != NULL && job->kind == AIN_JOB_PROVE && !job->committing) {
    entry->job = NULL;
    ain_registry_job_abandon(job, error);
  }
  g_ptr_array_add(entry->drops, waiter);
  ain_registry_answer_all_later(registry, entry->repeats, error);
  if (entry->job == NULL) {
    ain_registry_start_drop(registry, entry);
  }
}

static gboolean check_drop(const AinRegistry *registry, const char *id, GError **error) {
  g_autofree char *shown = ain_registry_show(id, -1);
  if (ain_registry_is_builtin_id(id, strlen(id))) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_BUILTIN, "the model %s is built in and cannot be dropped",
                shown);
    return FALSE;
  }
  if (!ain_registry_check_id_text(id, strlen(id), error) || !ain_registry_check_room(registry, error)) {
    return FALSE;
  }
  const AinEntry *entry = ain_registry_find(registry, id);
  if (entry != NULL && entry->category == AIN_CATEGORY_FINE_TUNED) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_DROP_FAILED,
                "the model %s was put in by hand: remove its folder %s and it is gone", shown,
                entry->uri != NULL ? entry->uri : "");
    return FALSE;
  }
  if (entry == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND,
                "there is no model [%s]; SHOW MODELS lists those there are", shown);
    return FALSE;
  }
  return TRUE;
}

void ain_registry_drop(AinRegistry *registry, const char *id, AinDropDone done, gpointer data) {
  AinWaiter *waiter = ain_registry_wait(registry, NULL, data);
  waiter->dropped = done;
  GError *error = NULL;
  if (!check_drop(registry, id, &error)) {
    ain_registry_answer_later(registry, waiter, NULL, error);
    return;
  }
  drop_entry(registry, ain_registry_find(registry, id), waiter);
}
