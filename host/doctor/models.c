/* Weights of large models and folders of user models: present, whole, in the right place. */
#include "base/fd.h"
#include "doctor/check.h"
#include "registry/builtin.h"
#include "registry/model_id.h"
#include "registry/stage.h"
#include "registry/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS_MAX 1000u

static gboolean no_config(AinLook *look) {
  if (look->facts->config == NULL) {
    ain_look_skip(look, "the configuration cannot be read");
    return TRUE;
  }
  return FALSE;
}

/* --- weights ---------------------------------------------------------------------------------------------
 */

static void look_at_weights(AinLook *look, const char *directory, guint *whole) {
  g_autoptr(AinWeights) weights =
      ain_weights_look(directory, (AinWeightsSeen){ AIN_SEEN_NOTHING, AIN_SEEN_NOTHING });
  g_autofree char *mend =
      g_strdup_printf("copy config.json and model.safetensors of the model to %s", directory);
  switch (weights->state) {
  case AIN_WEIGHTS_WHOLE:
    ain_look_ok(look, "%s is whole", directory);
    ++*whole;
    break;
  case AIN_WEIGHTS_INCOMPLETE:
    if (strstr(weights->reason, "still being written") != NULL) {
      ain_look_warn(look, "wait until it is copied", "%s", weights->reason);
    } else {
      ain_look_error(look, mend, "%s", weights->reason);
    }
    break;
  case AIN_WEIGHTS_BROKEN:
    ain_look_error(look, mend, "%s", weights->reason);
    break;
  case AIN_WEIGHTS_FOREIGN:
    ain_look_warn(look, NULL, "%s", weights->reason);
    break;
  case AIN_WEIGHTS_ABSENT:
  default:
    ain_look_warn(look, mend, "%s", weights->reason);
    break;
  }
}

static void look_below(AinLook *look, const char *directory, guint *folders, guint *whole) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GDir) listing = g_dir_open(directory, 0, &error);
  const char *name;
  if (listing == NULL) {
    if (!g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
      ain_look_error(look, NULL, "%s", error->message);
    }
    return;
  }
  while ((name = g_dir_read_name(listing)) != NULL && *folders < FOLDERS_MAX) {
    g_autofree char *path = g_build_filename(directory, name, NULL);
    if (name[0] != '.' && g_file_test(path, G_FILE_TEST_IS_DIR)) {
      ++*folders;
      look_at_weights(look, path, whole);
    }
  }
}

/* As app/app.c names them: where 2.0.5 and where later releases keep them. */
void ain_check_weights(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const AinConfig *config = look->facts->config;
  g_autofree char *early = g_build_filename(config->models_dir, "weights", NULL);
  g_autofree char *later = g_build_filename(config->models_dir, "builtin", NULL);
  const char *directories[] = { config->builtin_models_dir, early, later };
  guint folders = 0;
  guint whole = 0;
  for (gsize i = 0; i < G_N_ELEMENTS(directories); i++) {
    if (i == 0 || strcmp(directories[i], config->builtin_models_dir) != 0) {
      look_below(look, directories[i], &folders, &whole);
    }
  }
  if (folders == 0) {
    ain_look_ok(look,
                "there are no weights in %s: timer_xl and sundial stay INACTIVE until they are copied there",
                config->builtin_models_dir);
  }
}

/* --- user models -----------------------------------------------------------------------------------------
 */

static guint64 little_endian(const guint8 *bytes, guint count) {
  guint64 value = 0;
  for (guint i = count; i-- > 0;) {
    value = value << 8 | bytes[i];
  }
  return value;
}

/* TorchScript is a zip archive: its directory stands at the end and says where it begins. NULL: whole. */
static const char *fault_of_archive(const char *path) {
  enum { END_SIZE = 22, COMMENT_MAX = 65535 };
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    return g_strerror(errno);
  }
  gsize size = (gsize)MIN(info.st_size, END_SIZE + COMMENT_MAX);
  g_autofree guint8 *tail = g_malloc(size + 1);
  if (size < END_SIZE || pread(fd, tail, size, info.st_size - (off_t)size) != (ssize_t)size) {
    return "it is too short for a TorchScript file";
  }
  for (gsize at = size - END_SIZE + 1; at-- > 0;) {
    if (memcmp(tail + at, "PK\5\6", 4) == 0) {
      guint64 length = little_endian(tail + at + 12, 4);
      guint64 begin = little_endian(tail + at + 16, 4);
      guint64 end = (guint64)info.st_size - size + at;
      /* 0xFFFFFFFF: the 64-bit record before it tells */
      return begin == G_MAXUINT32 || begin + length <= end ? NULL : "its directory lies outside the file";
    }
  }
  return "the end of the archive is missing: it is not whole";
}

static void look_at_model(AinLook *look, const char *name, const char *directory, guint *good) {
  g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GError) error = NULL;
  AinSourceStamp stamp;
  g_autofree char *file = g_build_filename(directory, AIN_MODEL_FILE, NULL);
  if (!ain_registry_check_id(name, strlen(name), &error)) {
    if (g_file_test(file, G_FILE_TEST_EXISTS)) {
      ain_look_warn(look, "register it under another id", "the folder %s is ignored: %s", directory,
                    error->message);
    }
    return;
  }
  g_autoptr(AinModel) model = ain_stage_load(name, directory, warnings, &stamp, &error);
  g_autofree char *mend = g_strdup_printf("SQL: DROP MODEL %s, and CREATE MODEL again from its source", name);
  const char *fault = model == NULL ? NULL : fault_of_archive(file);
  if (model == NULL) {
    ain_look_error(look, mend, "the folder %s holds no usable model: %s", directory, error->message);
  } else if (fault != NULL) {
    ain_look_error(look, mend, "%s: %s", file, fault);
  } else {
    ++*good;
  }
}

void ain_check_models(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const char *models_dir = look->facts->config->models_dir;
  g_autoptr(GError) error = NULL;
  g_autoptr(GDir) listing = g_dir_open(models_dir, 0, &error);
  const char *name;
  guint good = 0;
  guint seen = 0;
  if (listing == NULL && !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
    ain_look_error(look, NULL, "%s", error->message);
    return;
  }
  while (listing != NULL && (name = g_dir_read_name(listing)) != NULL && seen < FOLDERS_MAX) {
    g_autofree char *path = g_build_filename(models_dir, name, NULL);
    if (name[0] != '.' && !ain_registry_is_reserved_name(name, strlen(name))
        && g_file_test(path, G_FILE_TEST_IS_DIR)) {
      seen++;
      look_at_model(look, name, path, &good);
    }
  }
  ain_look_ok(look, "%u models of users in %s are whole", good, models_dir);
}
