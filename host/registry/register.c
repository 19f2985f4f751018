/* CREATE MODEL and proofs: copy and check on a helper, prove on the loop, rename on a helper, publish. */
#include "base/error.h"
#include "registry/internal.h"
#include "registry/text.h"

#include <string.h>

/* --- requests --------------------------------------------------------------------------------------------
 */

static void begin_registration(AinRegistry *registry, const char *id, AinWaiter *waiter) {
  AinEntry *entry = ain_registry_entry_new(id, AIN_STATE_LOADING);
  entry->registered = g_get_real_time();
  ain_registry_add_entry(registry, entry);
  entry->job = ain_registry_job_new(registry, entry, AIN_JOB_REGISTER, waiter->uri);
  g_ptr_array_add(entry->job->waiters, waiter);
  ain_registry_job_queue(entry->job);
}

static void begin_comparison(AinRegistry *registry, AinEntry *entry, AinWaiter *waiter) {
  AinJob *job = ain_registry_job_new(registry, entry, AIN_JOB_COMPARE, waiter->uri);
  job->known_digest = g_strdup(entry->model->digest);
  job->known_uri = g_strdup(entry->uri);
  job->stamped = entry->stamped;
  job->known_stamp = entry->stamp;
  g_ptr_array_add(job->waiters, waiter);
  ain_registry_job_queue(job);
}

void ain_registry_dispatch(AinRegistry *registry, const char *id, AinWaiter *waiter) {
  AinEntry *entry = ain_registry_find(registry, id);
  if (entry == NULL) {
    begin_registration(registry, id, waiter);
  } else if (entry->state == AIN_STATE_ACTIVE && entry->drops->len == 0) {
    begin_comparison(registry, entry, waiter);
  } else if (entry->state == AIN_STATE_FAILED) {
    ain_registry_answer_later(
        registry, waiter, NULL,
        g_error_new(AIN_ERROR, AIN_ERROR_MODEL_EXISTS,
                    "the model id %s is taken by a folder that holds no usable model (%s); "
                    "drop it first or choose another id",
                    id, entry->reason));
  } else {
    g_ptr_array_add(entry->repeats, waiter);
  }
}

void ain_registry_dispatch_all(AinRegistry *registry, const char *id, GPtrArray *waiters) {
  for (guint i = 0; i < waiters->len; i++) {
    ain_registry_dispatch(registry, id, g_ptr_array_index(waiters, i));
  }
  g_ptr_array_set_size(waiters, 0);
}

void ain_registry_register(AinRegistry *registry, const char *id, const char *uri, AinRegisterDone done,
                           gpointer data) {
  AinWaiter *waiter = ain_registry_wait(registry, uri, data);
  waiter->done = done;
  GError *error = NULL;
  if (!ain_registry_check_id(id, strlen(id), &error) || !ain_registry_check_uri(uri, strlen(uri), &error)
      || !ain_registry_check_room(registry, &error)) {
    ain_registry_answer_later(registry, waiter, NULL, error);
    return;
  }
  const AinEntry *entry = ain_registry_find(registry, id);
  if (entry != NULL && entry->category != AIN_CATEGORY_USER) {
    error = g_error_new(AIN_ERROR, AIN_ERROR_MODEL_EXISTS,
                        "the model id %s is taken by the weights in %s; choose another id", id,
                        entry->uri != NULL ? entry->uri : "the weights folder");
    ain_registry_answer_later(registry, waiter, NULL, error);
    return;
  }
  ain_registry_dispatch(registry, id, waiter);
}

void ain_registry_prove(AinRegistry *registry, const char *id, AinRegisterDone done, gpointer data) {
  AinWaiter *waiter = ain_registry_wait(registry, NULL, data);
  waiter->done = done;
  GError *error = NULL;
  g_autoptr(AinModel) model = ain_registry_lookup(registry, id, strlen(id), &error);
  if (model == NULL || model->proven || !ain_registry_check_room(registry, &error)) {
    ain_registry_answer_later(registry, waiter, error == NULL ? model : NULL, error);
    return;
  }
  AinEntry *entry = ain_registry_find(registry, id);
  gboolean fresh = entry->job == NULL;
  if (fresh) {
    entry->job = ain_registry_job_new(registry, entry, AIN_JOB_PROVE, entry->uri);
  }
  g_ptr_array_add(entry->job->waiters, waiter);
  if (fresh) {
    ain_registry_job_queue(entry->job);
  }
}

/* --- failure ---------------------------------------------------------------------------------------------
 */

/* The same request sent again shares the failure; another one gets its own try. */
static void fail_or_dispatch(AinRegistry *registry, const AinJob *job, GPtrArray *repeats) {
  for (guint i = 0; i < repeats->len; i++) {
    AinWaiter *waiter = g_ptr_array_index(repeats, i);
    if (strcmp(waiter->uri, job->stage.uri) == 0) {
      ain_registry_answer(registry, waiter, NULL, job->error);
    } else {
      ain_registry_dispatch(registry, job->stage.id, waiter);
    }
  }
}

/* Nothing of it is left on disk any more. */
static void fail_registration(AinJob *job) {
  AinRegistry *registry = job->registry;
  AinEntry *entry = job->entry;
  g_autoptr(GPtrArray) waiters = ain_registry_steal(&job->waiters);
  g_autoptr(GPtrArray) repeats = ain_registry_steal(&entry->repeats);
  g_autoptr(GPtrArray) drops = ain_registry_steal(&entry->drops);
  g_autoptr(GPtrArray) askers = ain_registry_steal(&entry->askers);
  g_autofree char *shown = ain_registry_show(job->stage.uri, -1);
  g_message("model %s was not registered from %s: %s", job->stage.id, shown, job->error->message);
  ain_registry_remove_entry(registry, entry);
  ain_registry_answer_all(registry, waiters, NULL, job->error);
  ain_registry_answer_all(registry, askers, NULL, job->error);
  fail_or_dispatch(registry, job, repeats);
  ain_registry_answer_all(registry, drops, NULL, NULL); /* what they wanted gone is gone */
  ain_registry_job_end(job);
}

static void fail_proof(AinJob *job) {
  g_autoptr(GPtrArray) waiters = ain_registry_steal(&job->waiters);
  job->entry->job = NULL;
  g_message("model %s was not proven: %s", job->stage.id, job->error->message);
  ain_registry_answer_all(job->registry, waiters, NULL, job->error);
  ain_registry_job_end(job);
}

static void discard_work(gpointer data) {
  AinJob *job = data;
  ain_stage_discard(&job->stage);
}

static void discarded(gpointer data) {
  AinJob *job = data;
  if (ain_registry_job_unwanted(job)) {
    ain_registry_job_end(job);
  } else {
    fail_registration(job);
  }
}

/* Removes what is staged, then tells whoever still waits. */
static void give_up(AinJob *job) {
  if (job->registry != NULL && job->stage.directory != NULL) {
    ain_loop_offload(job->loop, discard_work, discarded, job);
  } else if (!ain_registry_job_unwanted(job) && job->kind == AIN_JOB_PROVE) {
    fail_proof(job);
  } else {
    discarded(job);
  }
}

/* --- success ---------------------------------------------------------------------------------------------
 */

/* Makes the proven model what look-ups find. Borrowed. */
static AinModel *publish(AinJob *job) {
  AinEntry *entry = job->entry;
  AinModel *old = entry->model;
  entry->model = g_steal_pointer(&job->fresh);
  entry->kind = entry->model->kind;
  g_free(entry->place);
  entry->place = g_strdup(job->stage.place);
  entry->state = AIN_STATE_ACTIVE;
  entry->job = NULL;
  if (old != NULL) {
    ain_registry_retire(job->registry, old);
    ain_model_unref(old);
  }
  return entry->model;
}

static void warmed(gpointer data) {
  AinJob *job = data;
  AinRegistry *registry = job->registry;
  AinEntry *entry = job->entry;
  if (ain_registry_job_unwanted(job)) {
    ain_registry_job_end(job);
    return;
  }
  g_autoptr(AinModel) model = ain_model_ref(publish(job));
  g_autoptr(GPtrArray) waiters = ain_registry_steal(&job->waiters);
  g_autoptr(GPtrArray) repeats = ain_registry_steal(&entry->repeats);
  ain_registry_answer_askers(registry, entry);
  ain_registry_start_drop(registry, entry);
  ain_registry_answer_all(registry, waiters, model, NULL);
  ain_registry_dispatch_all(registry, job->stage.id, repeats);
  ain_registry_job_end(job);
}

static void finish(AinJob *job) {
  job->fresh = ain_model_copy(job->stage.model, job->stage.place, job->stage.model->generation);
  ain_registry_warm(job->registry, job->fresh, warmed, job);
}

static void committed(gpointer data) {
  AinJob *job = data;
  if (job->registry == NULL) {
    ain_registry_job_end(job);
    return;
  }
  if (job->error != NULL) {
    give_up(job);
    return;
  }
  AinEntry *entry = job->entry;
  g_free(entry->uri);
  entry->uri = g_strdup(job->stage.uri);
  entry->stamp = job->stage.stamp;
  entry->stamped = TRUE;
  g_autofree char *shown = ain_registry_show(job->stage.uri, -1);
  g_message("model %s is registered from %s (generation %" G_GUINT64_FORMAT ")", job->stage.id, shown,
            job->stage.model->generation);
  finish(job);
}

static void commit_work(gpointer data) {
  AinJob *job = data;
  ain_stage_commit(&job->stage, &job->error);
}

/* Without a manifest the model is only proven again after the next start. */
static void committed_in_place(gpointer data) {
  AinJob *job = data;
  if (job->registry == NULL) {
    ain_registry_job_end(job);
    return;
  }
  if (job->error != NULL) {
    g_message("the proof of model %s was not recorded: %s", job->stage.id, job->error->message);
  }
  finish(job);
}

static void commit_in_place_work(gpointer data) {
  AinJob *job = data;
  ain_stage_commit_in_place(&job->stage, &job->error);
}

/* --- proof -----------------------------------------------------------------------------------------------
 */

static void go_on_after_proof(gpointer data) {
  AinJob *job = data;
  if (ain_registry_job_unwanted(job) || job->error != NULL) {
    give_up(job);
    return;
  }
  job->committing = TRUE;
  job->stage.model->proven = TRUE;
  job->stage.model->generation = ++job->registry->generation;
  if (job->kind == AIN_JOB_PROVE) {
    ain_loop_offload(job->loop, commit_in_place_work, committed_in_place, job);
  } else {
    ain_loop_offload(job->loop, commit_work, committed, job);
  }
}

/* Goes on from the loop: a prover may answer before prove() returns. */
static void proved(const GError *error, gpointer data) {
  AinJob *job = data;
  job->proving = FALSE;
  if (error != NULL) {
    job->error = g_error_copy(error);
    if (g_error_matches(error, AIN_ERROR, AIN_ERROR_WORKER_DIED)
        || g_error_matches(error, AIN_ERROR, AIN_ERROR_TIMEOUT)) {
      job->error->code = AIN_ERROR_MODEL_INVALID;
    }
  } else if ((guint)job->stage.model->dtype >= AIN_DTYPE_COUNT) {
    job->error = g_error_new(AIN_ERROR, AIN_ERROR_INTERNAL, "the proof of model %s gave an unknown dtype %d",
                             job->stage.id, (int)job->stage.model->dtype);
  }
  ain_loop_post(job->loop, go_on_after_proof, job);
}

static void prove(AinJob *job) {
  const AinProver *prover = &job->registry->prover;
  job->proving = TRUE;
  prover->prove(prover->prover, job->stage.model, proved, job);
}

void ain_registry_start_prove(AinJob *job) {
  const AinModel *model = job->entry->model;
  job->stage.model = ain_model_copy(model, model->directory, model->generation);
  prove(job);
}

/* --- staging ---------------------------------------------------------------------------------------------
 */

static void log_warnings(const AinStage *stage) {
  for (guint i = 0; stage->warnings != NULL && i < stage->warnings->len; i++) {
    g_warning("%s", (const char *)g_ptr_array_index(stage->warnings, i));
  }
}

static void staged(gpointer data) {
  AinJob *job = data;
  if (ain_registry_job_unwanted(job) || job->error != NULL) {
    give_up(job);
    return;
  }
  log_warnings(&job->stage);
  prove(job);
}

static void stage_work(gpointer data) {
  AinJob *job = data;
  ain_stage_copy(&job->stage, &job->error);
}

void ain_registry_start_register(AinJob *job) {
  ain_loop_offload(job->loop, stage_work, staged, job);
}

/* --- comparison ------------------------------------------------------------------------------------------
 */

static void compared(gpointer data) {
  AinJob *job = data;
  if (ain_registry_job_unwanted(job)) {
    ain_registry_job_end(job);
    return;
  }
  AinRegistry *registry = job->registry;
  g_autoptr(GPtrArray) waiters = ain_registry_steal(&job->waiters);
  g_autoptr(AinModel) model = ain_model_ref(job->entry->model);
  if (job->error == NULL && !job->same) {
    job->error =
        g_error_new(AIN_ERROR, AIN_ERROR_MODEL_EXISTS,
                    "the model id %s is taken by a model with other content; drop it first or choose "
                    "another id",
                    job->stage.id);
  }
  ain_registry_answer_all(registry, waiters, job->error == NULL ? model : NULL, job->error);
  ain_registry_job_end(job);
}

static void compare_work(gpointer data) {
  AinJob *job = data;
  ain_stage_compare(&job->stage, job->known_digest, job->known_uri, job->stamped ? &job->known_stamp : NULL,
                    &job->same, &job->error);
}

void ain_registry_start_compare(AinJob *job) {
  ain_loop_offload(job->loop, compare_work, compared, job);
}
