/* Reader of the variables of conf/ainode-env.sh. */
#include "env/settings.h"

#include "base/error.h"
#include "base/fd.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX 262144u

static const struct {
  const char *name;
  gboolean is_flag;
  gsize offset;
} variables[] = {
  { "ain_interpreter_dir", FALSE, offsetof(AinEnvSettings, interpreter) },
  { "ain_torch_index", FALSE, offsetof(AinEnvSettings, torch_index) },
  { "ain_force_reinstall", TRUE, offsetof(AinEnvSettings, force_reinstall) },
  { "ain_install_offline", TRUE, offsetof(AinEnvSettings, install_offline) },
};

void ain_env_settings_clear(AinEnvSettings *settings) {
  g_clear_pointer(&settings->interpreter, g_free);
  g_clear_pointer(&settings->torch_index, g_free);
}

/* where: "FILE, line N" or "the environment", for the message. */
static gboolean set(AinEnvSettings *settings, gsize index, const char *value, const char *where,
                    GError **error) {
  gpointer member = G_STRUCT_MEMBER_P(settings, variables[index].offset);
  if (!variables[index].is_flag) {
    char **text = member;
    g_free(*text);
    *text = *value == '\0' ? NULL : g_strdup(value);
    return TRUE;
  }
  if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0 && *value != '\0') {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s: %s is '%s'; 0 and 1 are allowed", where,
                variables[index].name, value);
    return FALSE;
  }
  *(gboolean *)member = *value == '1';
  return TRUE;
}

/* The value of a shell assignment: quotes around it go, and so does a comment after an unquoted one. Paths
 * with spaces are taken without quotes too, as the comment in the official file asks. */
static char *plain_value(const char *text) {
  char *value = g_strstrip(g_strdup(text));
  gsize size = strlen(value);
  if (size >= 2 && (*value == '"' || *value == '\'') && value[size - 1] == *value) {
    memmove(value, value + 1, size - 2);
    value[size - 2] = '\0';
    return value;
  }
  char *comment = strstr(value, " #");
  if (comment != NULL) {
    *comment = '\0';
  }
  return g_strchomp(value);
}

/* Assignments in a function or a branch are indented: those are program, not settings. */
static gboolean read_line(AinEnvSettings *settings, const char *line, const char *file, gsize number,
                          GError **error) {
  if (g_str_has_prefix(line, "export ")) {
    line += strlen("export ");
  }
  for (gsize i = 0; i < G_N_ELEMENTS(variables); i++) {
    gsize size = strlen(variables[i].name);
    if (strncmp(line, variables[i].name, size) != 0 || line[size] != '=') {
      continue;
    }
    g_autofree char *value = plain_value(line + size + 1);
    g_autofree char *where = g_strdup_printf("%s, line %" G_GSIZE_FORMAT, file, number);
    if (strpbrk(value, "$`") != NULL) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                  "%s: %s is '%s'; shell expressions are not evaluated here, write the value itself", where,
                  variables[i].name, value);
      return FALSE;
    }
    return set(settings, i, value, where, error);
  }
  return TRUE;
}

gboolean ain_env_settings_load(const char *home, AinEnvSettings *settings, GError **error) {
  *settings = (AinEnvSettings){ 0 };
  g_autofree char *file = g_build_filename(home, "conf", "ainode-env.sh", NULL);
  if (access(file, F_OK) == 0) {
    g_autoptr(GBytes) bytes = ain_file_read(file, FILE_MAX, error);
    if (bytes == NULL) {
      return FALSE;
    }
    g_auto(GStrv) lines = g_strsplit(g_bytes_get_data(bytes, NULL), "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
      if (!read_line(settings, lines[i], file, i + 1, error)) {
        ain_env_settings_clear(settings);
        return FALSE;
      }
    }
  }
  for (gsize i = 0; i < G_N_ELEMENTS(variables); i++) {
    const char *value = g_getenv(variables[i].name);
    if (value != NULL && *value != '\0' && !set(settings, i, value, "the environment", error)) {
      ain_env_settings_clear(settings);
      return FALSE;
    }
  }
  return TRUE;
}
