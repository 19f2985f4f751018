/* What is under way: at most AIN_REGISTRY_JOBS of the long kinds at once, so that many registrations starve
 * neither the helpers nor the memory of the machine. */
#include "registry/internal.h"

AinJob *ain_registry_job_new(AinRegistry *registry, AinEntry *entry, AinJobKind kind, const char *uri) {
  AinJob *job = g_new0(AinJob, 1);
  job->registry = registry;
  job->entry = entry;
  job->loop = registry->loop;
  job->kind = kind;
  job->waiters = g_ptr_array_new();
  atomic_init(&job->cancelled, FALSE);
  job->stage.id = g_strdup(entry->id);
  job->stage.uri = g_strdup(uri);
  job->stage.place = g_strdup(entry->place);
  job->stage.models_dir = g_strdup(registry->models_dir);
  job->stage.staging_dir = g_strdup(registry->staging_dir);
  job->stage.max_bytes = registry->max_bytes;
  job->stage.registered = entry->registered;
  job->stage.cancelled = &job->cancelled;
  job->stage.fetcher = registry->fetcher;
  g_hash_table_add(registry->jobs, job);
  return job;
}

static void job_free(AinJob *job) {
  g_ptr_array_unref(job->waiters);
  ain_stage_clear(&job->stage);
  ain_model_unref(job->fresh);
  g_clear_error(&job->error);
  g_free(job->known_digest);
  g_free(job->known_uri);
  g_free(job);
}

gboolean ain_registry_job_unwanted(const AinJob *job) {
  return job->registry == NULL || job->entry == NULL;
}

static void start(AinJob *job) {
  job->placed = TRUE;
  job->registry->running++;
  switch (job->kind) {
  case AIN_JOB_REGISTER:
    ain_registry_start_register(job);
    break;
  case AIN_JOB_PROVE:
    ain_registry_start_prove(job);
    break;
  case AIN_JOB_COMPARE:
    ain_registry_start_compare(job);
    break;
  case AIN_JOB_DROP: /* short: begins without a place */
    break;
  }
}

static void start_waiting(AinRegistry *registry) {
  while (registry->running < AIN_REGISTRY_JOBS && !g_queue_is_empty(&registry->queue)) {
    start(g_queue_pop_head(&registry->queue));
  }
}

void ain_registry_job_queue(AinJob *job) {
  g_queue_push_tail(&job->registry->queue, job);
  start_waiting(job->registry);
}

void ain_registry_job_end(AinJob *job) {
  AinRegistry *registry = job->registry;
  if (registry != NULL) {
    g_hash_table_remove(registry->jobs, job);
    registry->running -= job->placed ? 1 : 0;
  }
  job_free(job);
  if (registry != NULL) {
    start_waiting(registry);
  }
}

void ain_registry_job_abandon(AinJob *job, const GError *error) {
  atomic_store(&job->cancelled, TRUE);
  job->entry = NULL;
  ain_registry_answer_all_later(job->registry, job->waiters, error);
  const AinProver *prover = &job->registry->prover;
  if (g_queue_remove(&job->registry->queue, job)) {
    ain_registry_job_end(job);
  } else if (job->proving && prover->cancel != NULL) {
    prover->cancel(prover->prover, job->stage.model);
  }
}
