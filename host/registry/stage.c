/* The file work of a registration: see stage.h. */
#include "registry/stage.h"

#include "base/error.h"
#include "base/fd.h"
#include "registry/internal.h"
#include "registry/model_config.h"
#include "registry/text.h"
#include "registry/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1U << 20)

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
}

/* --- folders below the staging folder
 * ---------------------------------------------------------------------------------------------------- */

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

/* A folder with a model, both files open. */
typedef struct {
  char *directory;
  int config_fd;
  int model_fd;
  AinSourceStamp stamp;
} Source;

static void source_clear(Source *source) {
  g_clear_pointer(&source->directory, g_free);
  ain_fd_close(&source->config_fd);
  ain_fd_close(&source->model_fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Source, source_clear)
#define SOURCE_INIT                                                                                          \
  { .directory = NULL, .config_fd = -1, .model_fd = -1 }

static AinFileStamp stamp_of(const struct stat *info) {
  return (AinFileStamp){
    .device = (guint64)info->st_dev,
    .inode = (guint64)info->st_ino,
    .size = (gint64)info->st_size,
    .modified = (gint64)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec,
    .changed = (gint64)info->st_ctim.tv_sec * 1000000000 + info->st_ctim.tv_nsec,
  };
}

static gboolean stamps_equal(const AinFileStamp *a, const AinFileStamp *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified == b->modified
         && a->changed == b->changed;
}

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
                "%s is not a folder; name the folder that holds model.pt and config.yaml", shown);
    return NULL;
  }
  return g_steal_pointer(path);
}

static gboolean refuse_missing(const char *directory, gboolean config, gboolean model, GError **error) {
  g_autofree char *shown = ain_registry_show(directory, -1);
  const char *what = config && model ? "neither " AIN_MODEL_FILE " nor " AIN_CONFIG_FILE
                     : config        ? "no " AIN_CONFIG_FILE
                                     : "no " AIN_MODEL_FILE;
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "the folder %s has %s; both files are needed", shown,
              what);
  return FALSE;
}

/* Links are followed, but only to a regular file: looked at first, because opening a device can act. */
static int open_file(const char *directory, const char *name, AinFileStamp *stamp, GError **error) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  g_autofree char *shown = ain_registry_show(path, -1);
  struct stat info;
  if (stat(path, &info) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID_URI, errno, "cannot open %s", shown);
    return -1;
  }
  ain_fd int fd = -1;
  if (S_ISREG(info.st_mode)) {
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &info) != 0) {
      ain_error_set_errno(error, AIN_ERROR_INVALID_URI, errno, "cannot open %s", shown);
      return -1;
    }
  }
  if (!S_ISREG(info.st_mode)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "%s is not a regular file", shown);
    return -1;
  }
  *stamp = stamp_of(&info);
  return ain_fd_steal(&fd);
}

static gboolean is_missing(const char *directory, const char *name) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  struct stat info;
  return stat(path, &info) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* Takes directory. */
static gboolean open_folder(Source *source, char *directory, GError **error) {
  source->directory = directory;
  gboolean no_config = is_missing(directory, AIN_CONFIG_FILE);
  gboolean no_model = is_missing(directory, AIN_MODEL_FILE);
  if (no_config || no_model) {
    return refuse_missing(directory, no_config, no_model, error);
  }
  source->config_fd = open_file(directory, AIN_CONFIG_FILE, &source->stamp.config, error);
  source->model_fd =
      source->config_fd < 0 ? -1 : open_file(directory, AIN_MODEL_FILE, &source->stamp.model, error);
  return source->model_fd >= 0;
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

static gboolean open_source(AinStage *stage, Source *source, GError **error) {
  gboolean remote = stage->fetcher.fetch != NULL && ain_registry_uri_is_remote(stage->uri);
  char *directory = remote ? fetch_folder(stage, error) : find_folder(stage->uri, error);
  return directory != NULL && open_folder(source, directory, error);
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

/* Reads until size bytes or the end. Returns the count, or -1 with errno. */
static gssize read_full(int fd, guint8 *data, gsize size) {
  gsize done = 0;
  while (done < size) {
    ssize_t count = read(fd, data + done, size - done);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return -1;
    }
    if (count == 0) {
      break;
    }
    done += (gsize)count;
  }
  return (gssize)done;
}

static gboolean write_full(int fd, const guint8 *data, gsize size) {
  while (size > 0) {
    ssize_t count = write(fd, data, size);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return FALSE;
    }
    data += count;
    size -= (gsize)count;
  }
  return TRUE;
}

/* Owned bytes of config.yaml, or NULL. */
static GBytes *read_config(const Source *source, GError **error) {
  g_autofree char *path = g_build_filename(source->directory, AIN_CONFIG_FILE, NULL);
  g_autofree char *shown = ain_registry_show(path, -1);
  if (source->stamp.config.size > AIN_CONFIG_MAX_BYTES) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "%s has %" G_GINT64_FORMAT " bytes, more than the %u allowed", shown,
                source->stamp.config.size, AIN_CONFIG_MAX_BYTES);
    return NULL;
  }
  gsize room = (gsize)source->stamp.config.size + 1;
  g_autofree guint8 *data = g_malloc(room);
  gssize got = read_full(source->config_fd, data, room);
  if (got < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot read %s", shown);
    return NULL;
  }
  if ((gsize)got == room) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "%s grew while it was read; register again", shown);
    return NULL;
  }
  return g_bytes_new_take(g_steal_pointer(&data), (gsize)got);
}

/* Checks config.yaml and fills a model with what it says. */
static AinModel *build_model(const char *id, const Source *source, GBytes *config_bytes, GPtrArray *warnings,
                             GError **error) {
  g_autofree char *path = g_build_filename(source->directory, AIN_CONFIG_FILE, NULL);
  g_autofree char *shown = ain_registry_show(path, -1);
  gsize size = 0;
  const void *data = g_bytes_get_data(config_bytes, &size);
  g_auto(AinModelConfig) config;
  if (!ain_model_config_parse(&config, shown, data, size, error)) {
    return NULL;
  }
  if (source->stamp.model.size == 0) {
    g_autofree char *folder = ain_registry_show(source->directory, -1);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "%s/%s is empty", folder, AIN_MODEL_FILE);
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

AinModel *ain_stage_load(const char *id, const char *directory, GPtrArray *warnings, AinSourceStamp *stamp,
                         GError **error) {
  g_auto(Source) source = SOURCE_INIT;
  if (!open_folder(&source, g_strdup(directory), error)) {
    return NULL;
  }
  g_autoptr(GBytes) config = read_config(&source, error);
  if (config == NULL) {
    return NULL;
  }
  *stamp = source.stamp;
  return build_model(id, &source, config, warnings, error);
}

/* --- digest and copy -------------------------------------------------------------------------------------
 */

/* Lengths are hashed too, so that no byte can move from one file to the other. */
static GChecksum *digest_start(GBytes *config) {
  GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256);
  gsize size = 0;
  const guint8 *data = g_bytes_get_data(config, &size);
  g_autofree char *head = g_strdup_printf(AIN_CONFIG_FILE " %" G_GSIZE_FORMAT "\n" AIN_MODEL_FILE "\n", size);
  g_checksum_update(checksum, (const guchar *)head, (gssize)strlen(head));
  g_checksum_update(checksum, data, (gssize)size);
  return checksum;
}

static gboolean check_cancelled(const AinStage *stage, GError **error) {
  if (atomic_load(stage->cancelled)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_CANCELLED, "the registration of model %s was cancelled",
                stage->id);
    return FALSE;
  }
  return TRUE;
}

typedef struct {
  const AinStage *stage;
  int in;
  int out; /* -1: only the digest is wanted */
  gboolean in_kernel;
  GChecksum *checksum;
  guint8 *buffer;
  guint64 done;
} Copy;

/* Lets the kernel copy (or share) the next bytes, then reads them back for the digest. 0: it cannot. */
static gssize copy_in_kernel(Copy *copy) {
  if (copy->out < 0 || !copy->in_kernel) {
    return 0;
  }
  ssize_t count = copy_file_range(copy->in, NULL, copy->out, NULL, CHUNK, 0);
  if (count < 0 && errno != ENOSPC && errno != EDQUOT && errno != EFBIG && errno != EIO) {
    count = 0; /* other file system, old kernel, odd file: read and write instead */
  }
  copy->in_kernel = count > 0;
  for (gssize hashed = 0; hashed < count;) {
    ssize_t got = pread(copy->out, copy->buffer, (gsize)(count - hashed), (off_t)copy->done + hashed);
    if (got <= 0) {
      errno = got == 0 ? EIO : errno;
      return -1;
    }
    g_checksum_update(copy->checksum, copy->buffer, got);
    hashed += got;
  }
  return count;
}

static gssize copy_chunk(Copy *copy) {
  gssize count = copy_in_kernel(copy);
  if (count != 0) {
    return count;
  }
  count = read_full(copy->in, copy->buffer, CHUNK);
  if (count > 0) {
    g_checksum_update(copy->checksum, copy->buffer, count);
    if (copy->out >= 0 && !write_full(copy->out, copy->buffer, (gsize)count)) {
      return -1;
    }
  }
  return count;
}

static gboolean run_copy(Copy *copy, const Source *source, GError **error) {
  g_autoptr(GByteArray) buffer = g_byte_array_set_size(g_byte_array_new(), CHUNK);
  copy->buffer = buffer->data;
  copy->in_kernel = TRUE;
  g_autofree char *shown = ain_registry_show(source->directory, -1);
  for (;;) {
    if (!check_cancelled(copy->stage, error)) {
      return FALSE;
    }
    gssize count = copy_chunk(copy);
    if (count < 0) {
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno,
                          "cannot copy %s/%s (%" G_GINT64_FORMAT " bytes) into %s", shown, AIN_MODEL_FILE,
                          source->stamp.model.size, copy->stage->staging_dir);
      return FALSE;
    }
    if (count == 0) {
      break;
    }
    copy->done += (guint64)count;
    if (copy->done > (guint64)source->stamp.model.size) {
      break; /* grows: said below, and an endless file ends here */
    }
  }
  struct stat info;
  AinFileStamp after = { 0 };
  if (fstat(source->model_fd, &info) == 0) {
    after = stamp_of(&info);
  }
  if (copy->done != (guint64)source->stamp.model.size || after.size != source->stamp.model.size
      || after.modified != source->stamp.model.modified) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI,
                "%s/%s changed while it was copied; register again when it is complete", shown,
                AIN_MODEL_FILE);
    return FALSE;
  }
  return TRUE;
}

/* Owned digest of an open source, or NULL. */
static char *digest_source(const AinStage *stage, const Source *source, GError **error) {
  g_autoptr(GBytes) config = read_config(source, error);
  if (config == NULL) {
    return NULL;
  }
  g_autoptr(GChecksum) checksum = digest_start(config);
  Copy copy = { .stage = stage, .in = source->model_fd, .out = -1, .checksum = checksum };
  return run_copy(&copy, source, error) ? g_strdup(g_checksum_get_string(checksum)) : NULL;
}

/* Sets errno on failure. */
static int create_file(const char *directory, const char *name) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

static gboolean write_config(const AinStage *stage, GBytes *config, GError **error) {
  gsize size = 0;
  const guint8 *data = g_bytes_get_data(config, &size);
  ain_fd int fd = create_file(stage->directory, AIN_CONFIG_FILE);
  if (fd < 0 || !write_full(fd, data, size) || fsync(fd) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot write %s/%s", stage->directory,
                        AIN_CONFIG_FILE);
    return FALSE;
  }
  return TRUE;
}

static gboolean write_model(AinStage *stage, const Source *source, GBytes *config, GError **error) {
  ain_fd int fd = create_file(stage->directory, AIN_MODEL_FILE);
  if (fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot write %s/%s", stage->directory,
                        AIN_MODEL_FILE);
    return FALSE;
  }
  g_autoptr(GChecksum) checksum = digest_start(config);
  Copy copy = { .stage = stage, .in = source->model_fd, .out = fd, .checksum = checksum };
  if (!run_copy(&copy, source, error)) {
    return FALSE;
  }
  if (fsync(fd) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot write %s/%s", stage->directory,
                        AIN_MODEL_FILE);
    return FALSE;
  }
  stage->model->digest = g_strdup(g_checksum_get_string(checksum));
  return TRUE;
}

static gboolean copy_source(AinStage *stage, const Source *source, GError **error) {
  if ((guint64)source->stamp.model.size > stage->max_bytes) {
    g_autofree char *shown = ain_registry_show(source->directory, -1);
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "%s/%s has %" G_GINT64_FORMAT " bytes, more than the %" G_GUINT64_FORMAT " allowed", shown,
                AIN_MODEL_FILE, source->stamp.model.size, stage->max_bytes);
    return FALSE;
  }
  g_autoptr(GBytes) config = read_config(source, error);
  if (config == NULL) {
    return FALSE;
  }
  stage->model = build_model(stage->id, source, config, stage->warnings, error);
  stage->directory = stage->model != NULL ? make_folder(stage, error) : NULL;
  if (stage->directory == NULL || !write_config(stage, config, error)
      || !write_model(stage, source, config, error)) {
    return FALSE;
  }
  g_free(stage->model->directory);
  stage->model->directory = g_strdup(stage->directory);
  stage->stamp = source->stamp;
  return TRUE;
}

gboolean ain_stage_copy(AinStage *stage, GError **error) {
  stage->warnings = g_ptr_array_new_with_free_func(g_free);
  g_auto(Source) source = SOURCE_INIT;
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
  g_autofree char *model_path = g_build_filename(directory, AIN_MODEL_FILE, NULL);
  g_autofree char *config_path = g_build_filename(directory, AIN_CONFIG_FILE, NULL);
  struct stat model_info;
  struct stat config_info;
  if (stat(model_path, &model_info) != 0 || stat(config_path, &config_info) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot look at the files in %s", directory);
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
    .model = ain_file_mark(&model_info),
    .config = ain_file_mark(&config_info),
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
  g_autofree char *place = g_build_filename(stage->models_dir, stage->id, NULL);
  if (!write_manifest(stage, stage->directory, error)) {
    return FALSE;
  }
  if (rename_new(stage->directory, place) != 0) {
    if (errno == EEXIST || errno == ENOTEMPTY) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_EXISTS,
                  "%s is in the way of the new model %s; move it away, then register again", place,
                  stage->id);
    } else {
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot move the new model to %s", place);
    }
    return FALSE;
  }
  sync_directory(stage->models_dir);
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

gboolean ain_stage_commit_in_place(AinStage *stage, GError **error) {
  g_auto(Source) source = SOURCE_INIT;
  if (!open_folder(&source, g_strdup(stage->model->directory), error)) {
    return FALSE;
  }
  g_free(stage->model->digest);
  stage->model->digest = digest_source(stage, &source, error);
  return stage->model->digest != NULL && write_manifest(stage, stage->model->directory, error);
}

/* --- repeats ---------------------------------------------------------------------------------------------
 */

static char *digest_installed(const AinStage *stage, GError **error) {
  g_auto(Source) source = SOURCE_INIT;
  char *directory = g_build_filename(stage->models_dir, stage->id, NULL);
  return open_folder(&source, directory, error) ? digest_source(stage, &source, error) : NULL;
}

static gboolean compare(AinStage *stage, const char *known_digest, const char *known_uri,
                        const AinSourceStamp *known_stamp, gboolean *same, GError **error) {
  g_auto(Source) source = SOURCE_INIT;
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
  if ((guint64)source.stamp.model.size > stage->max_bytes
      || source.stamp.config.size > AIN_CONFIG_MAX_BYTES) {
    return TRUE;
  }
  g_autofree char *installed = known_digest != NULL ? g_strdup(known_digest) : digest_installed(stage, error);
  g_autofree char *digest = installed != NULL ? digest_source(stage, &source, error) : NULL;
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
  g_autofree char *place = g_build_filename(stage->models_dir, stage->id, NULL);
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
    sync_directory(stage->models_dir);
  }
  ain_stage_discard(stage);
  return TRUE;
}
