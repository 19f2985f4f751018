/* What is on disk when the node starts. */
#include "base/error.h"
#include "base/fd.h"
#include "registry/internal.h"
#include "registry/manifest.h"
#include "registry/model_id.h"
#include "registry/text.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static gboolean has_file(const char *directory, const char *name) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean marks_match(const AinFileMark *mark, const AinFileStamp *stamp) {
  return mark->size == stamp->size && mark->modified == stamp->modified;
}

/* Takes over what an earlier proof found out, when the files are still the same. */
static void apply_manifest(AinEntry *entry, AinModel *model, const AinSourceStamp *stamp) {
  g_auto(AinManifest) manifest = { 0 };
  g_autoptr(GError) error = NULL;
  if (!ain_manifest_read(&manifest, model->directory, &error)) {
    if (error != NULL) {
      g_warning("%s; model %s counts as not proven", error->message, model->id);
    }
    return;
  }
  entry->registered = manifest.registered;
  entry->uri = g_steal_pointer(&manifest.uri);
  if (!marks_match(&manifest.model, &stamp->model) || !marks_match(&manifest.config, &stamp->config)) {
    g_warning("the files of model %s changed since it was registered; it counts as not proven", model->id);
    g_clear_pointer(&entry->uri, g_free);
    return;
  }
  model->generation = manifest.generation;
  model->dtype = manifest.dtype;
  model->max_batch = manifest.max_batch;
  model->threads = manifest.threads;
  model->writes_input = manifest.writes_input;
  model->digest = g_steal_pointer(&manifest.digest);
  model->proven = TRUE;
}

static AinEntry *take_over(const char *id, const char *directory, const struct stat *info) {
  AinEntry *entry = ain_registry_entry_new(id, AIN_STATE_FAILED);
  g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GError) error = NULL;
  AinSourceStamp stamp;
  entry->place = g_strdup(directory);
  entry->registered = (gint64)info->st_mtim.tv_sec * G_USEC_PER_SEC + info->st_mtim.tv_nsec / 1000;
  AinModel *model = ain_stage_load(id, directory, warnings, &stamp, &error);
  for (guint i = 0; i < warnings->len; i++) {
    g_warning("%s", (const char *)g_ptr_array_index(warnings, i));
  }
  if (model == NULL) {
    entry->reason = g_strdup(error->message);
    g_warning("the folder %s holds no usable model and is left alone: %s", directory, error->message);
    return entry;
  }
  entry->state = AIN_STATE_ACTIVE;
  entry->model = model;
  entry->kind = model->kind;
  entry->registered = stamp.config.modified / 1000;
  apply_manifest(entry, model, &stamp);
  return entry;
}

/* What makes a folder look like a model that somebody may miss. */
static gboolean looks_like_model(const char *path) {
  return has_file(path, AIN_MODEL_FILE) || has_file(path, AIN_EXPORT_FILE) || has_file(path, AIN_CONFIG_FILE)
         || has_file(path, AIN_PIPELINE_CONFIG);
}

static gboolean is_taken(const AinRegistry *registry, const char *name, const char *path) {
  const AinEntry *entry = ain_registry_find(registry, name);
  if (entry != NULL) {
    g_warning("the folder %s is ignored: model %s is in %s", path, name, entry->place);
  }
  return entry != NULL;
}

static void look_at(AinRegistry *registry, const char *folder, const char *name) {
  g_autofree char *path = g_build_filename(folder, name, NULL);
  g_autoptr(GError) error = NULL;
  struct stat info;
  if (name[0] == '.' || ain_registry_is_reserved_name(name, strlen(name)) || stat(path, &info) != 0
      || !S_ISDIR(info.st_mode)) {
    return;
  }
  if (!ain_registry_check_id(name, strlen(name), &error)) {
    if (looks_like_model(path)) {
      g_autofree char *shown = ain_registry_show(path, -1);
      g_warning("the folder %s is ignored: %s", shown, error->message);
    }
    return;
  }
  if (!is_taken(registry, name, path)) {
    ain_registry_add_entry(registry, take_over(name, path, &info));
  }
}

/* Sets errno on failure. */
static gboolean look_into(AinRegistry *registry, const char *folder) {
  DIR *directory = opendir(folder);
  if (directory == NULL) {
    return FALSE;
  }
  const struct dirent *found = NULL;
  /* The stream is ours alone, so readdir() is safe here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
  while ((found = readdir(directory)) != NULL) {
    look_at(registry, folder, found->d_name);
  }
  closedir(directory);
  return TRUE;
}

static int compare_entries(gconstpointer a, gconstpointer b) {
  const AinEntry *first = *(AinEntry *const *)a;
  const AinEntry *second = *(AinEntry *const *)b;
  if (first->registered != second->registered) {
    return first->registered < second->registered ? -1 : 1;
  }
  return strcmp(first->id, second->id);
}

static void number_models(AinRegistry *registry) {
  for (guint i = 0; i < registry->entries->len; i++) {
    const AinEntry *entry = g_ptr_array_index(registry->entries, i);
    if (entry->model != NULL) {
      registry->generation = MAX(registry->generation, entry->model->generation);
    }
  }
  for (guint i = 0; i < registry->entries->len; i++) {
    AinEntry *entry = g_ptr_array_index(registry->entries, i);
    if (entry->model != NULL && entry->model->generation == 0) {
      entry->model->generation = ++registry->generation;
    }
  }
}

gboolean ain_registry_scan(AinRegistry *registry, GError **error) {
  g_autoptr(GError) leftovers = NULL;
  if (!ain_file_remove_tree(registry->staging_dir, &leftovers)) {
    g_warning("what an earlier run left behind stays: %s", leftovers->message);
  }
  if (!look_into(registry, registry->models_dir)) {
    ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot read the models folder %s",
                        registry->models_dir);
    return FALSE;
  }
  g_autofree char *pipelines = g_build_filename(registry->models_dir, AIN_PIPELINES_FOLDER, NULL);
  if (!look_into(registry, pipelines) && errno != ENOENT) {
    g_warning("the models in %s are not there: %s", pipelines, g_strerror(errno));
  }
  g_ptr_array_sort(registry->entries, compare_entries);
  number_models(registry);
  return TRUE;
}
