#include "registry/weights.h"

#include "base/error.h"
#include "base/fd.h"
#include "registry/builtin.h"
#include "registry/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MAX ((gsize)1024 * 1024)
/* The format allows 100 MB; 84 million parameters need 10 KB. */
#define HEADER_MAX ((gsize)16 * 1024 * 1024)
/* Where the kernel cannot tell whether a writer is left (it tells the owner of a file and root), and none was
 * seen to close it, a file must have been at rest for so long; for longer when one was seen to change it. */
#define REST_NS (G_GINT64_CONSTANT(700) * 1000 * 1000)
#define PAUSE_NS (G_GINT64_CONSTANT(10) * 1000 * 1000 * 1000)

static const char NOT_WHOLE[] = "copy it again, it is not whole";

/* --- stamps
 * ------------------------------------------------------------------------------------------------ */

static gint64 nanoseconds(const struct timespec *time) {
  return (gint64)time->tv_sec * 1000000000 + time->tv_nsec;
}

static AinFileStamp stamp_of(const struct stat *info) {
  return (AinFileStamp){
    .device = info->st_dev,
    .inode = info->st_ino,
    .size = info->st_size,
    .modified = nanoseconds(&info->st_mtim),
    .changed = nanoseconds(&info->st_ctim),
  };
}

static gboolean one_equal(const AinFileStamp *a, const AinFileStamp *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified == b->modified;
}

gboolean ain_file_stamps_equal(const AinSourceStamp *a, const AinSourceStamp *b) {
  return one_equal(&a->config, &b->config) && one_equal(&a->model, &b->model);
}

/* --- the safetensors header
 * -------------------------------------------------------------------------------- */

static guint64 element_size(const char *dtype) {
  static const struct {
    const char *name;
    guint64 size;
  } types[] = { { "F64", 8 }, { "F32", 4 }, { "F16", 2 }, { "BF16", 2 } };
  for (guint i = 0; dtype != NULL && i < G_N_ELEMENTS(types); i++) {
    if (strcmp(types[i].name, dtype) == 0) {
      return types[i].size;
    }
  }
  return 0;
}

/* Bytes of a tensor; 0 when the shape is none. */
static guint64 tensor_bytes(const json_t *shape, guint64 element) {
  guint64 bytes = element;
  if (!json_is_array(shape) || json_array_size(shape) > 8) {
    return 0;
  }
  for (gsize i = 0; i < json_array_size(shape); i++) {
    const json_t *size = json_array_get(shape, i);
    if (!json_is_integer(size) || json_integer_value(size) <= 0
        || !g_uint64_checked_mul(&bytes, bytes, (guint64)json_integer_value(size))) {
      return 0;
    }
  }
  return bytes;
}

static gboolean refuse(GError **error, const char *name, const char *what) {
  g_autofree char *shown = ain_registry_show(name, -1);
  g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "its tensor %s %s; %s", shown, what, NOT_WHOLE);
  return FALSE;
}

static gboolean check_tensor(const char *name, const json_t *tensor, guint64 room, guint64 *end,
                             GError **error) {
  const json_t *offsets = json_object_get(tensor, "data_offsets");
  guint64 element = element_size(json_string_value(json_object_get(tensor, "dtype")));
  const json_t *first = json_array_get(offsets, 0);
  const json_t *last = json_array_get(offsets, 1);
  if (element == 0) {
    return refuse(error, name, "has a type other than F64, F32, F16 and BF16");
  }
  if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last)
      || json_integer_value(first) < 0 || json_integer_value(last) < json_integer_value(first)) {
    return refuse(error, name, "has no sound data_offsets");
  }
  guint64 begin = (guint64)json_integer_value(first);
  *end = (guint64)json_integer_value(last);
  guint64 bytes = tensor_bytes(json_object_get(tensor, "shape"), element);
  if (bytes == 0 || bytes != *end - begin) {
    return refuse(error, name, "has a shape that does not fit its data_offsets");
  }
  return *end <= room || refuse(error, name, "ends behind the end of the file");
}

gboolean ain_weights_check_header(const char *header, gsize header_size, guint64 size, GError **error) {
  json_error_t problem;
  json_t *tensors = json_loadb(header, header_size, JSON_REJECT_DUPLICATES, &problem);
  if (!json_is_object(tensors)) {
    json_decref(tensors);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "its header is no JSON object; %s", NOT_WHOLE);
    return FALSE;
  }
  guint64 room = size - 8 - header_size;
  guint64 last = 0;
  gboolean good = TRUE;
  const char *name;
  json_t *tensor;
  json_object_foreach(tensors, name, tensor) {
    guint64 end = 0;
    if (strcmp(name, "__metadata__") != 0) {
      good = check_tensor(name, tensor, room, &end, error);
      if (!good) {
        break;
      }
      last = MAX(last, end);
    }
  }
  json_decref(tensors);
  if (good && last != room) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID,
                "its tensors end %" G_GUINT64_FORMAT " bytes before the file does; %s", room - last,
                NOT_WHOLE);
    return FALSE;
  }
  return good;
}

static gboolean read_header(int fd, guint64 size, GError **error) {
  guint8 prefix[8];
  if (size < sizeof prefix || pread(fd, prefix, sizeof prefix, 0) != (gssize)sizeof prefix) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "it has %" G_GUINT64_FORMAT " bytes; %s", size,
                NOT_WHOLE);
    return FALSE;
  }
  guint64 length;
  memcpy(&length, prefix, sizeof length);
  length = GUINT64_FROM_LE(length);
  if (length == 0 || length > HEADER_MAX || length > size - sizeof prefix) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID,
                "its header is said to have %" G_GUINT64_FORMAT " bytes, the file has %" G_GUINT64_FORMAT
                "; %s",
                length, size, NOT_WHOLE);
    return FALSE;
  }
  g_autofree char *header = g_malloc(length);
  if (pread(fd, header, length, sizeof prefix) != (gssize)length) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_INVALID, "its header cannot be read; %s", NOT_WHOLE);
    return FALSE;
  }
  return ain_weights_check_header(header, length, size, error);
}

/* --- one folder
 * -------------------------------------------------------------------------------------------- */

static void G_GNUC_PRINTF(3, 4)
    set_outcome(AinWeights *weights, AinWeightsState state, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_free(weights->reason);
  weights->reason = g_strdup_vprintf(format, arguments);
  weights->state = state;
  va_end(arguments);
}

/* Somebody who copies a file keeps it open for writing: a read lease is refused then. */
static gboolean has_writer(int fd, const struct stat *info, AinFileSeen seen, gboolean *unsettled) {
  /* A writer that comes while we hold it makes the kernel send a signal: one whose default is nothing. */
  if (fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return FALSE;
  }
  if (errno == EAGAIN) {
    return TRUE;
  }
  if (seen == AIN_SEEN_CLOSED) {
    return FALSE;
  }
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  gint64 rest = nanoseconds(&now) - nanoseconds(&info->st_mtim);
  *unsettled = rest < (seen == AIN_SEEN_CHANGED ? PAUSE_NS : REST_NS);
  return *unsettled;
}

/* Descriptor of a file at rest, or -1 with the outcome set. */
static int open_settled(AinWeights *weights, const char *name, AinFileSeen seen, AinFileStamp *stamp) {
  g_autofree char *path = g_build_filename(weights->directory, name, NULL);
  struct stat info;
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fstat(fd, &info) != 0) {
    weights->missing = errno == ENOENT;
    AinWeightsState state = weights->missing ? AIN_WEIGHTS_INCOMPLETE : AIN_WEIGHTS_BROKEN;
    set_outcome(weights, state, errno == ENOENT ? "%s is missing%s" : "%s cannot be read: %s", path,
                errno == ENOENT ? "" : g_strerror(errno));
    return -1;
  }
  if (!S_ISREG(info.st_mode)) {
    set_outcome(weights, AIN_WEIGHTS_BROKEN, "%s is no file", path);
    return -1;
  }
  if (has_writer(fd, &info, seen, &weights->unsettled)) {
    set_outcome(weights, AIN_WEIGHTS_INCOMPLETE, "%s is still being written", path);
    return -1;
  }
  *stamp = stamp_of(&info);
  return ain_fd_steal(&fd);
}

static gboolean read_config(AinWeights *weights, AinFileSeen seen) {
  g_autofree char *path = g_build_filename(weights->directory, AIN_WEIGHTS_CONFIG, NULL);
  g_autoptr(GError) error = NULL;
  ain_fd int fd = open_settled(weights, AIN_WEIGHTS_CONFIG, seen, &weights->stamp.config);
  if (fd < 0) {
    return FALSE;
  }
  g_autoptr(GBytes) text = ain_file_read(path, CONFIG_MAX, &error);
  if (text == NULL) {
    set_outcome(weights, AIN_WEIGHTS_BROKEN, "%s", error->message);
    return FALSE;
  }
  json_error_t problem;
  json_t *fields = json_loadb(g_bytes_get_data(text, NULL), g_bytes_get_size(text), 0, &problem);
  const char *type = json_string_value(json_object_get(fields, "model_type"));
  if (fields == NULL) {
    set_outcome(weights, AIN_WEIGHTS_BROKEN, "%s is no JSON text (line %d: %s)", path, problem.line,
                problem.text);
  } else if (type == NULL || !ain_builtin_kind_of(type, &weights->kind)) {
    g_autofree char *shown = ain_registry_show(type != NULL ? type : "(none)", -1);
    set_outcome(weights, AIN_WEIGHTS_FOREIGN, "%s has the model_type %s; timer and sundial are known", path,
                shown);
  } else {
    weights->has_kind = TRUE;
  }
  json_decref(fields);
  return weights->has_kind;
}

static gboolean has(const char *directory, const char *name) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* A folder copied one level too deep is the usual mistake. */
static char *find_below(const char *directory) {
  char *found = NULL;
  GDir *folder = g_dir_open(directory, 0, NULL);
  const char *name = NULL;
  while (folder != NULL && found == NULL && (name = g_dir_read_name(folder)) != NULL) {
    g_autofree char *below = g_build_filename(directory, name, NULL);
    if (name[0] != '.' && has(below, AIN_WEIGHTS_CONFIG)) {
      found = g_steal_pointer(&below);
    }
  }
  if (folder != NULL) {
    g_dir_close(folder);
  }
  return found;
}

static gboolean is_there(AinWeights *weights) {
  if (has(weights->directory, AIN_WEIGHTS_CONFIG) || has(weights->directory, AIN_WEIGHTS_FILE)) {
    return TRUE;
  }
  g_autofree char *below = find_below(weights->directory);
  if (below != NULL) {
    set_outcome(weights, AIN_WEIGHTS_INCOMPLETE,
                "%s and %s are in %s, one folder too deep: move them up to %s", AIN_WEIGHTS_CONFIG,
                AIN_WEIGHTS_FILE, below, weights->directory);
  } else {
    set_outcome(weights, AIN_WEIGHTS_ABSENT, "%s holds no %s and %s", weights->directory, AIN_WEIGHTS_CONFIG,
                AIN_WEIGHTS_FILE);
  }
  return FALSE;
}

AinWeights *ain_weights_look(const char *directory, AinWeightsSeen seen) {
  AinWeights *weights = g_new0(AinWeights, 1);
  weights->directory = g_strdup(directory);
  weights->id = g_path_get_basename(directory);
  if (!is_there(weights) || !read_config(weights, seen.config)) {
    return weights;
  }
  ain_fd int fd = open_settled(weights, AIN_WEIGHTS_FILE, seen.model, &weights->stamp.model);
  if (fd < 0) {
    return weights;
  }
  g_autoptr(GError) error = NULL;
  if (read_header(fd, (guint64)weights->stamp.model.size, &error)) {
    weights->state = AIN_WEIGHTS_WHOLE;
  } else {
    set_outcome(weights, AIN_WEIGHTS_BROKEN, "%s/%s: %s", directory, AIN_WEIGHTS_FILE, error->message);
  }
  return weights;
}

void ain_weights_free(AinWeights *weights) {
  if (weights != NULL) {
    g_free(weights->id);
    g_free(weights->directory);
    g_free(weights->reason);
    g_free(weights);
  }
}
