/* .ainode-model: see manifest.h. Lines of key=value. */
#include "registry/manifest.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAX_BYTES (64U << 10)
#define DIGEST_CHARACTERS 64

#define MAX_BATCH 1024
#define MAX_THREADS 99

/* Kept apart from ain_dtype_name(): what is on disk must not change with what is printed. */
static const char *const DTYPE_NAMES[AIN_DTYPE_COUNT] = {
  [AIN_DTYPE_BOOL] = "bool",       [AIN_DTYPE_INT32] = "int32",     [AIN_DTYPE_INT64] = "int64",
  [AIN_DTYPE_FLOAT32] = "float32", [AIN_DTYPE_FLOAT64] = "float64",
};

AinFileMark ain_file_mark(const struct stat *info) {
  return (AinFileMark){
    .size = (gint64)info->st_size,
    .modified = (gint64)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec,
  };
}

void ain_manifest_clear(AinManifest *manifest) {
  g_clear_pointer(&manifest->digest, g_free);
  g_clear_pointer(&manifest->uri, g_free);
}

gboolean ain_manifest_write(const AinManifest *manifest, const char *directory, GError **error) {
  g_autofree char *path = g_build_filename(directory, AIN_MANIFEST_NAME, NULL);
  g_autofree char *uri = g_strescape(manifest->uri != NULL ? manifest->uri : "", NULL);
  g_autofree char *text = g_strdup_printf(
      "# Written by the AINode when it proved this model; without it the model is proven again.\n"
      "format=1\ndigest=%s\ndtype=%s\nmax_batch=%u\nthreads=%u\nwrites_input=%d\ngeneration="
      "%" G_GUINT64_FORMAT "\nregistered=%" G_GINT64_FORMAT "\nmodel_size=%" G_GINT64_FORMAT
      "\nmodel_modified=%" G_GINT64_FORMAT "\nconfig_size=%" G_GINT64_FORMAT
      "\nconfig_modified=%" G_GINT64_FORMAT "\nuri=%s\n",
      manifest->digest, DTYPE_NAMES[manifest->dtype], MAX(manifest->max_batch, 1U), manifest->threads,
      manifest->writes_input ? 1 : 0, manifest->generation, manifest->registered, manifest->model.size,
      manifest->model.modified, manifest->config.size, manifest->config.modified, uri);
  return ain_file_replace(path, text, strlen(text), 0666, error);
}

/* The value of key in lines, or NULL. Borrowed. */
static const char *value_of(char *const *lines, const char *key) {
  gsize length = strlen(key);
  for (; *lines != NULL; lines++) {
    if (strncmp(*lines, key, length) == 0 && (*lines)[length] == '=') {
      return *lines + length + 1;
    }
  }
  return NULL;
}

static gboolean read_number(char *const *lines, const char *key, gint64 *number) {
  const char *text = value_of(lines, key);
  return text != NULL && g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, number, NULL);
}

static gboolean read_dtype(char *const *lines, AinDType *dtype) {
  const char *text = value_of(lines, "dtype");
  for (guint i = 0; text != NULL && i < AIN_DTYPE_COUNT; i++) {
    if (strcmp(text, DTYPE_NAMES[i]) == 0) {
      *dtype = (AinDType)i;
      return TRUE;
    }
  }
  return FALSE;
}

static gboolean parse(AinManifest *manifest, char *const *lines) {
  gint64 format = 0;
  gint64 max_batch = 0;
  gint64 threads = 0;
  gint64 writes_input = 0;
  gint64 generation = 0;
  const char *digest = value_of(lines, "digest");
  const char *uri = value_of(lines, "uri");
  if (!read_number(lines, "format", &format) || format != 1 || digest == NULL
      || strlen(digest) != DIGEST_CHARACTERS || uri == NULL || !read_dtype(lines, &manifest->dtype)
      || !read_number(lines, "max_batch", &max_batch) || max_batch < 1 || max_batch > MAX_BATCH
      || !read_number(lines, "writes_input", &writes_input) || !read_number(lines, "generation", &generation)
      || generation < 1 || !read_number(lines, "registered", &manifest->registered)
      || !read_number(lines, "model_size", &manifest->model.size)
      || !read_number(lines, "model_modified", &manifest->model.modified)
      || !read_number(lines, "config_size", &manifest->config.size)
      || !read_number(lines, "config_modified", &manifest->config.modified)) {
    return FALSE;
  }
  (void)read_number(lines, "threads", &threads); /* older files do not say */
  manifest->max_batch = (guint)max_batch;
  manifest->threads = (guint)CLAMP(threads, 0, MAX_THREADS);
  manifest->writes_input = writes_input != 0;
  manifest->generation = (guint64)generation;
  manifest->digest = g_strdup(digest);
  manifest->uri = *uri == 0 ? NULL : g_strcompress(uri);
  return TRUE;
}

gboolean ain_manifest_read(AinManifest *manifest, const char *directory, GError **error) {
  memset(manifest, 0, sizeof *manifest);
  g_autofree char *path = g_build_filename(directory, AIN_MANIFEST_NAME, NULL);
  if (access(path, F_OK) != 0 && errno == ENOENT) {
    return FALSE;
  }
  g_autoptr(GBytes) bytes = ain_file_read(path, MAX_BYTES, error);
  if (bytes == NULL) {
    return FALSE;
  }
  gsize size = 0;
  const char *text = g_bytes_get_data(bytes, &size);
  g_autofree char *copy = g_strndup(text, size);
  g_auto(GStrv) lines = g_strsplit(copy, "\n", -1);
  if (!parse(manifest, lines)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s is not a file as this AINode writes it", path);
    return FALSE;
  }
  return TRUE;
}
