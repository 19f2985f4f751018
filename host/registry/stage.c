/* The file work of a registration: see stage.h. */
#include "registry/stage.h"

#include "base/error.h"
#include "base/fd.h"
#include "registry/internal.h"
#include "registry/model_config.h"
#include "registry/pipeline_config.h"
#include "registry/source.h"
#include "registry/text.h"
#include "registry/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void remove_folder(char **folder) {
  g_autoptr(GError) error = NULL;
  if (*folder != NULL && !ain_file_remove_tree(*folder, &error)) {
    g_warning("%s; it is removed at the next start", error->message);
  }
  g_clear_pointer(folder, g_free);
}

void ain_stage_discard(AinStage *stage) {
  remove_folder(&stage->directory);
  remove_folder(&stage->fetched);
  if (stage->staging_dir != NULL) {
    (void)rmdir(
        stage->staging_dir); /* when nobody else is in it: an official AINode would list it as a model */
  }
}

void ain_stage_clear(AinStage *stage) {
  if (stage->directory != NULL || stage->fetched != NULL) {
    ain_stage_discard(stage);
  }
  g_clear_pointer(&stage->model, ain_model_unref);
  g_clear_pointer(&stage->warnings, g_ptr_array_unref);
  g_clear_pointer(&stage->id, g_free);
  g_clear_pointer(&stage->uri, g_free);
  g_clear_pointer(&stage->models_dir, g_free);
  g_clear_pointer(&stage->staging_dir, g_free);
  g_clear_pointer(&stage->place, g_free);
}

/* --- folders below the staging folder --- */

static gboolean ensure_staging(const AinStage *stage, AinErrorCode code, GError **error) {
  if (mkdir(stage->staging_dir, 0777) != 0 && errno != EEXIST) {
    ain_error_set_errno(error, code, errno, "the AINode cannot write into its models folder %s",
                        stage->models_dir);
    return FALSE;
  }
  return TRUE;
}

/* Owned path of a folder of its own for every try: an abandoned one may still be in use. ENOENT: somebody
 * else just left the staging folder and took it away. */
static char *make_folder(const AinStage *stage, GError **error) {
  for (int tries = 0; tries < 100; tries++) {
    if (!ensure_staging(stage, AIN_ERROR_INTERNAL, error)) {
      return NULL;
    }
    g_autofree char *path = g_strdup_printf("%s/%s.%08x", stage->staging_dir, stage->id, g_random_int());
    if (mkdir(path, 0777) == 0) {
      return g_steal_pointer(&path);
    }
    if (errno != EEXIST && errno != ENOENT) {
      break;
    }
  }
  ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "the AINode cannot create a folder in %s",
                      stage->staging_dir);
  return NULL;
}

/* --- sources ---------------------------------------------------------------------------------------------
 */

/* Owned path of the folder that uri names, or NULL. */
static char *find_folder(const char *uri, GError **error) {
  g_autofree char *literal = NULL;
  g_autofree char *decoded = NULL;
  if (!ain_registry_parse_uri(uri, strlen(uri), &literal, &decoded, error)) {
    return NULL;
  }
  struct stat info;
  char **path = &literal;
  int failure = stat(literal, &info) == 0 ? 0 : errno;
  if ((failure == ENOENT || failure == ENOTDIR) && decoded != NULL && stat(decoded, &info) == 0) {
    path = &decoded;
    failure = 0;
  }
  g_autofree char *shown = ain_registry_show(*path, -1);
  if (failure != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID_URI, failure,
                        "the AINode cannot find the folder %s on its machine", shown);
    return NULL;
  }
  if (!S_ISDIR(info.st_mode)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI,
                "%s is not a folder; name the folder that holds the model", shown);
    return NULL;
  }
  return g_steal_pointer(path);
}

/* Owned path of a fresh folder with the files that are behind stage->uri, or NULL. */
static char *fetch_folder(AinStage *stage, GError **error) {
  stage->fetched = make_folder(stage, error);
  if (stage->fetched == NULL
      || !stage->fetcher.fetch(stage->fetcher.fetcher, stage->uri, stage->fetched, stage->cancelled, error)) {
    return NULL;
  }
  return g_strdup(stage->fetched);
}

static gboolean open_source(AinStage *stage, AinSource *source, GError **error) {
  gboolean remote = stage->fetcher.fetch != NULL && ain_registry_uri_is_remote(stage->uri);
  g_autofree char *directory = remote ? fetch_folder(stage, error) : find_folder(stage->uri, error);
  return directory != NULL && ain_source_open(source, directory, error);
}

/* --- the model -------------------------------------------------------------------------------------------
 */

static gboolean check_not_empty(const AinSource *source, GError **error) {
  for (guint i = 0; i < source->files->len; i++) {
    const AinSourceFile *file = g_ptr_array_index(source->files, i);
    if (file->stamp.size == 0 && strcmp(file->name, source->config) != 0) {
      g_autofree char *folder = ain_registry_show(source->directory, -1);
      g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "%s/%s is empty", folder, file->name);
      return FALSE;
    }
  }
  return TRUE;
}

/* Checks config.yaml and fills a model with what it says. */
static AinModel *build_tensor_model(const char *id, const AinSource *source, const char *shown,
                                    GPtrArray *warnings, GError **error) {
  gsize size = 0;
  const void *data = g_bytes_get_data(source->config_bytes, &size);
  g_auto(AinModelConfig) config;
  if (!ain_model_config_parse(&config, shown, data, size, error) || !check_not_empty(source, error)) {
    return NULL;
  }
  AinModel *model = ain_model_new(id, source->directory);
  memcpy(model->input_shape, config.input_shape, sizeof model->input_shape);
  memcpy(model->output_shape, config.output_shape, sizeof model->output_shape);
  model->input_types = g_steal_pointer(&config.input_types);
  model->output_types = g_steal_pointer(&config.output_types);
  model->attributes = g_steal_pointer(&config.attributes);
  for (guint i = 0; i < config.warnings->len; i++) {
    g_ptr_array_add(warnings, g_strdup(g_ptr_array_index(config.warnings, i)));
  }
  return model;
}

static AinModel *build_model(const char *id, AinSource *source, GPtrArray *warnings, GError **error) {
  g_autofree char *path = g_build_filename(source->directory, source->config, NULL);
  g_autofree char *shown = ain_registry_show(path, -1);
  if (!ain_source_read_config(source, error)) {
    return NULL;
  }
  return source->pipeline ? ain_pipeline_model_new(id, source, shown, error)
                          : build_tensor_model(id, source, shown, warnings, error);
}

AinModel *ain_stage_load(const char *id, const char *directory, GPtrArray *warnings, AinSourceStamp *stamp,
                         GError **error) {
  g_auto(AinSource) source = { 0 };
  if (!ain_source_open(&source, directory, error)) {
    return NULL;
  }
  *stamp = source.stamp;
  return build_model(id, &source, warnings, error);
}

/* --- staging ---------------------------------------------------------------------------------------------
 */

static gboolean check_cancelled(const AinStage *stage, GError **error) {
  if (atomic_load(stage->cancelled)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_CANCELLED, "the registration of model %s was cancelled",
                stage->id);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_size(const AinStage *stage, const AinSource *source, GError **error) {
  if (source->size <= stage->max_bytes) {
    return TRUE;
  }
  g_autofree char *shown = ain_registry_show(source->directory, -1);
  g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
              "the model in %s has %" G_GUINT64_FORMAT " bytes, more than the %" G_GUINT64_FORMAT " allowed",
              shown, source->size, stage->max_bytes);
  return FALSE;
}

static gboolean copy_source(AinStage *stage, AinSource *source, GError **error) {
  if (!check_size(stage, source, error)) {
    return FALSE;
  }
  stage->model = build_model(stage->id, source, stage->warnings, error);
  stage->directory = stage->model != NULL ? make_folder(stage, error) : NULL;
  if (stage->directory == NULL) {
    return FALSE;
  }
  stage->model->digest = ain_source_digest(source, stage->directory, stage, error);
  if (stage->model->digest == NULL) {
    return FALSE;
  }
  g_free(stage->model->directory);
  stage->model->directory = g_strdup(stage->directory);
  stage->stamp = source->stamp;
  g_free(stage->place);
  stage->place = source->pipeline ? g_build_filename(stage->models_dir, AIN_PIPELINES_FOLDER, stage->id, NULL)
                                  : g_build_filename(stage->models_dir, stage->id, NULL);
  return TRUE;
}

gboolean ain_stage_copy(AinStage *stage, GError **error) {
  stage->warnings = g_ptr_array_new_with_free_func(g_free);
  g_auto(AinSource) source = { 0 };
  if (!check_cancelled(stage, error) || !open_source(stage, &source, error)
      || !copy_source(stage, &source, error)) {
    ain_stage_discard(stage);
    return FALSE;
  }
  remove_folder(&stage->fetched);
  return TRUE;
}

/* --- in place --------------------------------------------------------------------------------------------
 */

static void sync_directory(const char *path) {
  ain_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)fsync(fd); /* some file systems refuse this; the rename itself is still atomic */
  }
}

static gboolean write_manifest(const AinStage *stage, const char *directory, GError **error) {
  const AinModel *model = stage->model;
  g_auto(AinSource) files = { 0 };
  if (!ain_source_open(&files, directory, error)) {
    return FALSE;
  }
  AinManifest manifest = {
    .digest = model->digest,
    .uri = stage->uri,
    .dtype = model->dtype,
    .max_batch = model->max_batch,
    .threads = model->threads,
    .writes_input = model->writes_input,
    .generation = model->generation,
    .registered = stage->registered,
    .model = { files.stamp.model.size, files.stamp.model.modified },
    .config = { files.stamp.config.size, files.stamp.config.modified },
  };
  return ain_manifest_write(&manifest, directory, error);
}

/* rename() would silently take the place of an empty folder. Sets errno. */
static int rename_new(const char *from, const char *to) {
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return -1;
  }
  struct stat info; /* a file system without that flag */
  if (lstat(to, &info) == 0) {
    errno = EEXIST;
    return -1;
  }
  return rename(from, to);
}

static gboolean move_in(AinStage *stage, GError **error) {
  const char *place = stage->place;
  g_autofree char *above = g_path_get_dirname(place);
  if (!write_manifest(stage, stage->directory, error) || !ain_file_make_directory(above, error)) {
    return FALSE;
  }
  int failure = rename_new(stage->directory, place) == 0 ? 0 : errno;
  if (failure == ENOENT
      && ain_file_make_directory(above, NULL)) { /* a drop just took away the empty folder */
    failure = rename_new(stage->directory, place) == 0 ? 0 : errno;
  }
  if (failure != 0) {
    if (failure == EEXIST || failure == ENOTEMPTY) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS,
                  "%s is in the way of the new model %s; move it away, then register again", place,
                  stage->id);
    } else {
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, failure, "cannot move the new model to %s", place);
    }
    return FALSE;
  }
  sync_directory(above);
  g_clear_pointer(&stage->directory, g_free);
  (void)rmdir(stage->staging_dir);
  return TRUE;
}

gboolean ain_stage_commit(AinStage *stage, GError **error) {
  if (!move_in(stage, error)) {
    ain_stage_discard(stage);
    return FALSE;
  }
  return TRUE;
}

/* Owned digest of the model in a folder, or NULL. */
static char *digest_folder(const AinStage *stage, const char *directory, GError **error) {
  g_auto(AinSource) source = { 0 };
  gboolean good = ain_source_open(&source, directory, error) && ain_source_read_config(&source, error);
  return good ? ain_source_digest(&source, NULL, stage, error) : NULL;
}

gboolean ain_stage_commit_in_place(AinStage *stage, GError **error) {
  g_free(stage->model->digest);
  stage->model->digest = digest_folder(stage, stage->model->directory, error);
  return stage->model->digest != NULL && write_manifest(stage, stage->model->directory, error);
}

/* --- repeats ---------------------------------------------------------------------------------------------
 */

static gboolean stamps_equal(const AinFileStamp *a, const AinFileStamp *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified == b->modified
         && a->changed == b->changed;
}

static gboolean compare(AinStage *stage, const char *known_digest, const char *known_uri,
                        const AinSourceStamp *known_stamp, gboolean *same, GError **error) {
  g_auto(AinSource) source = { 0 };
  g_autoptr(GError) unreadable = NULL;
  *same = FALSE;
  if (!open_source(stage, &source, &unreadable)) {
    *same = g_strcmp0(stage->uri, known_uri) == 0;
    return TRUE;
  }
  if (known_stamp != NULL && stamps_equal(&source.stamp.config, &known_stamp->config)
      && stamps_equal(&source.stamp.model, &known_stamp->model)) {
    *same = TRUE;
    return TRUE;
  }
  if (source.size > stage->max_bytes || source.stamp.config.size > AIN_CONFIG_MAX_BYTES) {
    return TRUE;
  }
  g_autofree char *installed =
      known_digest != NULL ? g_strdup(known_digest) : digest_folder(stage, stage->place, error);
  if (installed == NULL || !ain_source_read_config(&source, error)) {
    return FALSE;
  }
  g_autofree char *digest = ain_source_digest(&source, NULL, stage, error);
  *same = digest != NULL && strcmp(digest, installed) == 0;
  return digest != NULL;
}

gboolean ain_stage_compare(AinStage *stage, const char *known_digest, const char *known_uri,
                           const AinSourceStamp *known_stamp, gboolean *same, GError **error) {
  gboolean done = compare(stage, known_digest, known_uri, known_stamp, same, error);
  if (stage->fetched != NULL) {
    ain_stage_discard(stage);
  }
  return done;
}

/* --- removal ---------------------------------------------------------------------------------------------
 */

/* One try to move place to a fresh name below staging. Returns 0 or an errno; EAGAIN: try again. */
static int try_bury(AinStage *stage, const char *place) {
  g_autofree char *grave =
      g_strdup_printf("%s/%s.dropped.%08x", stage->staging_dir, stage->id, g_random_int());
  if (rename_new(place, grave) == 0) {
    stage->directory = g_steal_pointer(&grave);
    return 0;
  }
  struct stat info;
  int failure = errno;
  /* ENOENT while the model is there: somebody else just took the empty staging folder away. */
  gboolean again =
      failure == EEXIST || failure == ENOTEMPTY || (failure == ENOENT && lstat(place, &info) == 0);
  return again ? EAGAIN : failure;
}

gboolean ain_stage_remove(AinStage *stage, GError **error) {
  const char *place = stage->place;
  int failure = EAGAIN;
  for (int tries = 0; tries < 100 && failure == EAGAIN; tries++) {
    if (!ensure_staging(stage, AIN_ERROR_DROP_FAILED, error)) {
      return FALSE;
    }
    failure = try_bury(stage, place);
  }
  if (failure != 0 && failure != ENOENT) {
    ain_error_set_errno(error, AIN_ERROR_DROP_FAILED, failure, "cannot move %s away to remove it", place);
    return FALSE;
  }
  if (failure == 0) { /* else somebody removed it by hand: what was asked is so */
    g_autofree char *above = g_path_get_dirname(place);
    sync_directory(above);
    if (strcmp(above, stage->models_dir) != 0) {
      (void)rmdir(above); /* when it was the last one there */
    }
  }
  ain_stage_discard(stage);
  return TRUE;
}
