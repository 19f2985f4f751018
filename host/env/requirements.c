/* Names out of a requirements file. */
#include "env/requirements.h"

#include "base/error.h"
#include "base/fd.h"

#include <string.h>

#define FILE_MAX 1048576u
#define NAMES_MAX 256u

/* The length of the name that a line starts with; 0 for a line without one. */
static gsize name_length(const char *line) {
  gsize size = 0;
  while (g_ascii_isalnum(line[size])
         || (size > 0 && line[size] != '\0' && strchr("._-", line[size]) != NULL)) {
    size++;
  }
  return size;
}

char **ain_env_requirements_read(const char *file, GError **error) {
  g_autoptr(GBytes) bytes = ain_file_read(file, FILE_MAX, error);
  if (bytes == NULL) {
    return NULL;
  }
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  g_auto(GStrv) lines = g_strsplit(g_bytes_get_data(bytes, NULL), "\n", -1);
  gboolean continued = FALSE;
  for (gsize i = 0; lines[i] != NULL; i++) {
    char *line = g_strstrip(lines[i]);
    gboolean inside = continued;
    continued = g_str_has_suffix(line, "\\");
    if (inside || *line == '\0' || *line == '#' || *line == '-' || strchr(line, ';') != NULL) {
      continue;
    }
    gsize size = name_length(line);
    if (size == 0 || names->len == NAMES_MAX) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s, line %" G_GSIZE_FORMAT ": '%.100s' %s", file,
                  i + 1, line,
                  size == 0 ? "does not start with the name of a package" : "is one package too many");
      return NULL;
    }
    g_ptr_array_add(names, g_strndup(line, size));
  }
  g_ptr_array_add(names, NULL);
  return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}
