/* The files of a model: see source.h. */
#include "registry/source.h"

#include "base/error.h"
#include "base/fd.h"
#include "registry/model_config.h"
#include "registry/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1U << 20)

static void file_free(gpointer data) {
  AinSourceFile *file = data;
  g_free(file->name);
  g_free(file);
}

void ain_source_clear(AinSource *source) {
  g_clear_pointer(&source->directory, g_free);
  g_clear_pointer(&source->files, g_ptr_array_unref);
  g_clear_pointer(&source->config_bytes, g_bytes_unref);
}

/* --- looking ---------------------------------------------------------------------------------------------
 */

static AinFileStamp stamp_of(const struct stat *info) {
  return (AinFileStamp){
    .device = (guint64)info->st_dev,
    .inode = (guint64)info->st_ino,
    .size = (gint64)info->st_size,
    .modified = (gint64)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec,
    .changed = (gint64)info->st_ctim.tv_sec * 1000000000 + info->st_ctim.tv_nsec,
  };
}

static char *show_file(const AinSource *source, const char *name) {
  g_autofree char *path = g_build_filename(source->directory, name, NULL);
  return ain_registry_show(path, -1);
}

static gboolean exists(const char *directory, const char *name) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  struct stat info;
  return stat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Looked at before it is opened, because opening a device can act. */
static gboolean add_file(AinSource *source, const char *name, GError **error) {
  g_autofree char *path = g_build_filename(source->directory, name, NULL);
  g_autofree char *shown = show_file(source, name);
  struct stat info;
  if (stat(path, &info) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID_URI, errno, "cannot open %s", shown);
    return FALSE;
  }
  if (!S_ISREG(info.st_mode)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "%s is not a regular file", shown);
    return FALSE;
  }
  if (source->files->len >= AIN_SOURCE_MAX_FILES) {
    g_autofree char *folder = ain_registry_show(source->directory, -1);
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE, "the folder %s holds more than %u files", folder,
                AIN_SOURCE_MAX_FILES);
    return FALSE;
  }
  AinSourceFile *file = g_new0(AinSourceFile, 1);
  file->name = g_strdup(name);
  file->stamp = stamp_of(&info);
  g_ptr_array_add(source->files, file);
  return TRUE;
}

static gboolean is_left_out(const char *name) {
  return name[0] == '.' || strcmp(name, "__pycache__") == 0 || g_str_has_suffix(name, ".pyc");
}

static gboolean add_tree(AinSource *source, const char *below, guint depth, GError **error) {
  g_autofree char *path = g_build_filename(source->directory, below, NULL);
  g_autofree char *shown = ain_registry_show(path, -1);
  if (depth > AIN_SOURCE_MAX_DEPTH) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE, "the folder %s lies more than %u folders deep", shown,
                AIN_SOURCE_MAX_DEPTH);
    return FALSE;
  }
  g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
  if (folder == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "cannot read the folder %s", shown);
    return FALSE;
  }
  const char *name = NULL;
  while ((name = g_dir_read_name(folder)) != NULL) {
    if (is_left_out(name)) {
      continue;
    }
    g_autofree char *inner = *below == 0 ? g_strdup(name) : g_strconcat(below, "/", name, NULL);
    g_autofree char *full = g_build_filename(source->directory, inner, NULL);
    /* A link to a folder may lead in a circle: it is told of as no regular file. */
    gboolean is_folder = g_file_test(full, G_FILE_TEST_IS_DIR) && !g_file_test(full, G_FILE_TEST_IS_SYMLINK);
    if (!(is_folder ? add_tree(source, inner, depth + 1, error) : add_file(source, inner, error))) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean add_pair(AinSource *source, GError **error) {
  static const char *const names[] = { AIN_CONFIG_FILE, AIN_MODEL_FILE, AIN_EXPORT_FILE };
  for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
    if (exists(source->directory, names[i]) && !add_file(source, names[i], error)) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean refuse_missing(const AinSource *source, gboolean has_config, gboolean has_model,
                               GError **error) {
  g_autofree char *shown = ain_registry_show(source->directory, -1);
  const char *what = has_config ? AIN_CONFIG_FILE ", but neither " AIN_MODEL_FILE " nor " AIN_EXPORT_FILE
                     : has_model
                         ? "no " AIN_CONFIG_FILE
                           ", which tells the shapes of the model beside it, and no " AIN_PIPELINE_CONFIG
                           " of a pipeline"
                         : "neither " AIN_MODEL_FILE " nor " AIN_CONFIG_FILE ", and no " AIN_PIPELINE_CONFIG
                           " of a pipeline";
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "the folder %s has %s", shown, what);
  return FALSE;
}

static gboolean list_files(AinSource *source, GError **error) {
  gboolean has_config = exists(source->directory, AIN_CONFIG_FILE);
  gboolean has_model =
      exists(source->directory, AIN_MODEL_FILE) || exists(source->directory, AIN_EXPORT_FILE);
  if (has_config && has_model) {
    source->config = AIN_CONFIG_FILE;
    return add_pair(source, error);
  }
  if (!exists(source->directory, AIN_PIPELINE_CONFIG)) {
    return refuse_missing(source, has_config, has_model, error);
  }
  source->pipeline = TRUE;
  source->config = AIN_PIPELINE_CONFIG;
  return add_tree(source, "", 0, error);
}

static int compare_files(gconstpointer a, gconstpointer b) {
  return strcmp((*(AinSourceFile *const *)a)->name, (*(AinSourceFile *const *)b)->name);
}

static guint64 mix(guint64 hash, guint64 value) {
  return (hash ^ value) * G_GUINT64_CONSTANT(0x100000001b3) + (hash >> 29);
}

/* One stamp that stands for several files: equal ones mean that none was touched, added or removed. */
static void add_to_stamp(AinFileStamp *sum, const AinSourceFile *file) {
  guint64 touched = mix(g_str_hash(file->name), (guint64)file->stamp.size);
  touched = mix(touched, (guint64)file->stamp.modified);
  sum->device = mix(sum->device, file->stamp.device);
  sum->inode = mix(sum->inode, file->stamp.inode);
  sum->size += file->stamp.size;
  sum->modified = (gint64)(mix((guint64)sum->modified, touched) >> 1);
  sum->changed = (gint64)(mix((guint64)sum->changed, (guint64)file->stamp.changed) >> 1);
}

static void sum_up(AinSource *source) {
  const AinSourceFile *only = NULL;
  for (guint i = 0; i < source->files->len; i++) {
    const AinSourceFile *file = g_ptr_array_index(source->files, i);
    if (strcmp(file->name, source->config) == 0) {
      source->stamp.config = file->stamp;
      continue;
    }
    source->size += (guint64)file->stamp.size;
    add_to_stamp(&source->stamp.model, file);
    only = file;
  }
  if (source->files->len == 2) {
    source->stamp.model = only->stamp;
  }
}

gboolean ain_source_open(AinSource *source, const char *directory, GError **error) {
  *source =
      (AinSource){ .directory = g_strdup(directory), .files = g_ptr_array_new_with_free_func(file_free) };
  if (!list_files(source, error)) {
    return FALSE;
  }
  g_ptr_array_sort(source->files, compare_files);
  sum_up(source);
  return TRUE;
}

static const AinSourceFile *find(const AinSource *source, const char *name) {
  for (guint i = 0; i < source->files->len; i++) {
    const AinSourceFile *file = g_ptr_array_index(source->files, i);
    if (strcmp(file->name, name) == 0) {
      return file;
    }
  }
  return NULL;
}

gboolean ain_source_has(const AinSource *source, const char *name) {
  return find(source, name) != NULL;
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

/* The file that was looked at, open; -1 when another one has taken its place. */
static int open_file(const AinSource *source, const AinSourceFile *file, GError **error) {
  g_autofree char *path = g_build_filename(source->directory, file->name, NULL);
  g_autofree char *shown = ain_registry_show(path, -1);
  struct stat info;
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fstat(fd, &info) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID_URI, errno, "cannot open %s", shown);
    return -1;
  }
  if (!S_ISREG(info.st_mode)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "%s is not a regular file", shown);
    return -1;
  }
  return ain_fd_steal(&fd);
}

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

gboolean ain_source_read_config(AinSource *source, GError **error) {
  const AinSourceFile *file = find(source, source->config);
  g_autofree char *shown = show_file(source, source->config);
  if (file->stamp.size > AIN_CONFIG_MAX_BYTES) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "%s has %" G_GINT64_FORMAT " bytes, more than the %u allowed", shown, file->stamp.size,
                AIN_CONFIG_MAX_BYTES);
    return FALSE;
  }
  ain_fd int fd = open_file(source, file, error);
  if (fd < 0) {
    return FALSE;
  }
  gsize room = (gsize)file->stamp.size + 1;
  g_autofree guint8 *data = g_malloc(room);
  gssize got = read_full(fd, data, room);
  if (got < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot read %s", shown);
    return FALSE;
  }
  if ((gsize)got == room) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "%s grew while it was read; register again", shown);
    return FALSE;
  }
  source->config_bytes = g_bytes_new_take(g_steal_pointer(&data), (gsize)got);
  return TRUE;
}

/* --- digest and copy -------------------------------------------------------------------------------------
 */

typedef struct {
  const AinStage *stage;
  const AinSource *source;
  const char *to; /* NULL: only the digest is wanted */
  int in;
  int out; /* -1 without `to` */
  gboolean in_kernel;
  GChecksum *checksum;
  guint8 *buffer;
  guint64 done; /* of this file */
} Copy;

static gboolean check_cancelled(const AinStage *stage, GError **error) {
  if (atomic_load(stage->cancelled)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_CANCELLED, "the registration of model %s was cancelled",
                stage->id);
    return FALSE;
  }
  return TRUE;
}

/* Names and lengths are hashed too, so that no byte can move from one file to another. */
static void hash_names(const Copy *copy) {
  const AinSource *source = copy->source;
  for (guint i = 0; i < source->files->len; i++) {
    const AinSourceFile *file = g_ptr_array_index(source->files, i);
    gint64 size = strcmp(file->name, source->config) == 0 ? (gint64)g_bytes_get_size(source->config_bytes)
                                                          : file->stamp.size;
    g_autofree char *line = i + 1 == source->files->len
                                ? g_strdup_printf("%s\n", file->name)
                                : g_strdup_printf("%s %" G_GINT64_FORMAT "\n", file->name, size);
    g_checksum_update(copy->checksum, (const guchar *)line, (gssize)strlen(line));
  }
}

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

static gboolean check_unchanged(const Copy *copy, const AinSourceFile *file, GError **error) {
  struct stat info;
  AinFileStamp after = { 0 };
  if (fstat(copy->in, &info) == 0) {
    after = stamp_of(&info);
  }
  if (copy->done == (guint64)file->stamp.size && after.size == file->stamp.size
      && after.modified == file->stamp.modified) {
    return TRUE;
  }
  g_autofree char *shown = show_file(copy->source, file->name);
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI,
              "%s changed while it was copied; register again when it is complete", shown);
  return FALSE;
}

static gboolean copy_bytes(Copy *copy, const AinSourceFile *file, GError **error) {
  copy->done = 0;
  copy->in_kernel = TRUE;
  for (;;) {
    if (!check_cancelled(copy->stage, error)) {
      return FALSE;
    }
    gssize count = copy_chunk(copy);
    if (count < 0) {
      int failure = errno;
      g_autofree char *shown = show_file(copy->source, file->name);
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, failure,
                          "cannot copy %s (%" G_GINT64_FORMAT " bytes) into %s", shown, file->stamp.size,
                          copy->stage->staging_dir);
      return FALSE;
    }
    copy->done += (guint64)count;
    if (count == 0 || copy->done > (guint64)file->stamp.size) {
      return check_unchanged(copy, file, error); /* one that grows is told of; an endless one ends here */
    }
  }
}

static gboolean refuse_write(const Copy *copy, const AinSourceFile *file, GError **error) {
  ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot write %s/%s", copy->to, file->name);
  return FALSE;
}

/* Sets errno on failure. */
static int create_file(const Copy *copy, const AinSourceFile *file) {
  g_autofree char *path = g_build_filename(copy->to, file->name, NULL);
  g_autofree char *folder = g_path_get_dirname(path);
  if (g_mkdir_with_parents(folder, 0777) != 0) {
    return -1;
  }
  return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

static gboolean copy_config(Copy *copy, const AinSourceFile *file, GError **error) {
  gsize size = 0;
  const guint8 *data = g_bytes_get_data(copy->source->config_bytes, &size);
  g_checksum_update(copy->checksum, data, (gssize)size);
  return copy->out < 0 || write_full(copy->out, data, size) || refuse_write(copy, file, error);
}

static gboolean copy_model_file(Copy *copy, const AinSourceFile *file, GError **error) {
  ain_fd int in = open_file(copy->source, file, error);
  copy->in = in;
  return in >= 0 && copy_bytes(copy, file, error);
}

static gboolean copy_file(Copy *copy, const AinSourceFile *file, GError **error) {
  ain_fd int out = copy->to == NULL ? -1 : create_file(copy, file);
  copy->out = out;
  if (copy->to != NULL && out < 0) {
    return refuse_write(copy, file, error);
  }
  gboolean is_config = strcmp(file->name, copy->source->config) == 0;
  if (!(is_config ? copy_config(copy, file, error) : copy_model_file(copy, file, error))) {
    return FALSE;
  }
  return out < 0 || fsync(out) == 0 || refuse_write(copy, file, error);
}

char *ain_source_digest(const AinSource *source, const char *to, const AinStage *stage, GError **error) {
  g_autoptr(GByteArray) buffer = g_byte_array_set_size(g_byte_array_new(), CHUNK);
  g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
  Copy copy = { .stage = stage, .source = source, .to = to, .checksum = checksum, .buffer = buffer->data };
  hash_names(&copy);
  for (guint i = 0; i < source->files->len; i++) {
    if (!copy_file(&copy, g_ptr_array_index(source->files, i), error)) {
      return NULL;
    }
  }
  return g_strdup(g_checksum_get_string(checksum));
}
