#include "weights_files.h"

#include "base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

GBytes *weights_file(const char *header, gsize data) {
  GByteArray *bytes = g_byte_array_new();
  guint64 length = GUINT64_TO_LE((guint64)strlen(header));
  g_byte_array_append(bytes, (const guint8 *)&length, sizeof length);
  g_byte_array_append(bytes, (const guint8 *)header, (guint)strlen(header));
  guint at = bytes->len;
  g_byte_array_set_size(bytes, at + (guint)data);
  memset(bytes->data + at, 0, data);
  return g_byte_array_free_to_bytes(bytes);
}

void weights_write(const char *directory, const char *name, const void *data, gsize size) {
  g_autoptr(GError) error = NULL;
  g_autofree char *path = g_build_filename(directory, name, NULL);
  ain_file_make_directory(directory, &error);
  g_assert_no_error(error);
  ain_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  g_assert_cmpint(fd, >=, 0);
  g_assert_cmpint(write(fd, data, size), ==, (gssize)size);
}

void weights_put(const char *directory, const char *config, const char *header, gsize data) {
  if (config != NULL) {
    weights_write(directory, "config.json", config, strlen(config));
  }
  if (header != NULL) {
    g_autoptr(GBytes) file = weights_file(header, data);
    weights_write(directory, "model.safetensors", g_bytes_get_data(file, NULL), g_bytes_get_size(file));
  }
}
