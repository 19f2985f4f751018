/* Reader of the key=value lines of venv-bootstrap/probe.py. The interpreter that wrote them is whatever the
 * operator named, so nothing is believed that was not checked. */
#include "env/record.h"

#include "base/error.h"
#include "env/elf.h"
#include "env/mend.h"

#include <stddef.h>
#include <string.h>

#define RECORD_MAX 65536u
#define LIST_MAX 64u
#define OLDEST_HEX 0x03090000u

typedef enum { FIELD_TEXT, FIELD_FLAG, FIELD_HEX, FIELD_LIBPYTHON, FIELD_PACKAGE, FIELD_PATH } FieldKind;

static const struct {
  const char *key;
  FieldKind kind;
  gsize offset;
} fields[] = {
  { "executable", FIELD_TEXT, offsetof(AinInterpreter, executable) },
  { "version", FIELD_TEXT, offsetof(AinInterpreter, version) },
  { "hexversion", FIELD_HEX, offsetof(AinInterpreter, version_hex) },
  { "implementation", FIELD_TEXT, offsetof(AinInterpreter, implementation) },
  { "free_threaded", FIELD_FLAG, offsetof(AinInterpreter, free_threaded) },
  { "prefix", FIELD_TEXT, offsetof(AinInterpreter, prefix) },
  { "base_prefix", FIELD_TEXT, offsetof(AinInterpreter, base_prefix) },
  { "libpython", FIELD_LIBPYTHON, offsetof(AinInterpreter, libpython) },
  { "numpy", FIELD_TEXT, offsetof(AinInterpreter, numpy) },
  { "torch", FIELD_TEXT, offsetof(AinInterpreter, torch) },
  { "yaml", FIELD_TEXT, offsetof(AinInterpreter, yaml) },
  { "pip", FIELD_TEXT, offsetof(AinInterpreter, pip) },
  { "venv", FIELD_FLAG, offsetof(AinInterpreter, has_venv) },
  { "ensurepip", FIELD_FLAG, offsetof(AinInterpreter, has_ensurepip) },
  { "ssl", FIELD_FLAG, offsetof(AinInterpreter, has_ssl) },
  { "externally_managed", FIELD_FLAG, offsetof(AinInterpreter, externally_managed) },
  { "package", FIELD_PACKAGE, offsetof(AinInterpreter, packages) },
  { "path", FIELD_PATH, offsetof(AinInterpreter, paths) },
};

void ain_interpreter_free(AinInterpreter *interpreter) {
  if (interpreter == NULL) {
    return;
  }
  g_free(interpreter->asked);
  for (gsize i = 0; i < G_N_ELEMENTS(fields); i++) {
    if (fields[i].kind == FIELD_TEXT || fields[i].kind == FIELD_LIBPYTHON) {
      g_free(*(char **)G_STRUCT_MEMBER_P(interpreter, fields[i].offset));
    }
  }
  g_strfreev(interpreter->packages);
  g_strfreev(interpreter->paths);
  g_free(interpreter);
}

char *ain_env_record_find(const char *output, gsize size, const char *word) {
  if (size > RECORD_MAX || memchr(output, '\0', size) != NULL) {
    return NULL;
  }
  g_autofree char *text = g_strndup(output, size);
  g_autofree char *begin = g_strdup_printf("\nAIN-PROBE-BEGIN %s\n", word);
  g_autofree char *end = g_strdup_printf("\nAIN-PROBE-END %s\n", word);
  char *first = strstr(text, begin);
  char *last = first == NULL ? NULL : strstr(first, end);
  if (last == NULL) {
    return NULL;
  }
  first += strlen(begin);
  return last < first ? g_strdup("") : g_strndup(first, (gsize)(last + 1 - first));
}

char *ain_env_record_value(const char *record, const char *key) {
  g_auto(GStrv) lines = g_strsplit(record, "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    gsize size = strlen(key);
    if (strncmp(*line, key, size) == 0 && (*line)[size] == '=') {
      return g_uri_unescape_string(*line + size + 1, NULL);
    }
  }
  return NULL;
}

/* The shared library must exist for this machine; of several candidates the first that does is taken. */
static gboolean set_libpython(char **libpython, const char *value) {
  if (*libpython == NULL && g_path_is_absolute(value) && ain_env_elf_check(value, TRUE) == AIN_ELF_FITS) {
    *libpython = g_strdup(value);
  }
  return TRUE;
}

static gboolean set_flag(gboolean *flag, const char *value) {
  *flag = value[0] == '1';
  return (value[0] == '0' || value[0] == '1') && value[1] == '\0';
}

static gboolean set_hex(guint *number, const char *value) {
  guint64 parsed = 0;
  gboolean good = g_ascii_string_to_unsigned(value, 16, 1, G_MAXUINT32, &parsed, NULL);
  *number = (guint)parsed;
  return good;
}

static gboolean set_field(AinInterpreter *interpreter, gsize index, const char *value, GPtrArray *packages,
                          GPtrArray *paths) {
  gpointer member = G_STRUCT_MEMBER_P(interpreter, fields[index].offset);
  switch (fields[index].kind) {
  case FIELD_FLAG:
    return set_flag(member, value);
  case FIELD_HEX:
    return set_hex(member, value);
  case FIELD_LIBPYTHON:
    return set_libpython(member, value);
  case FIELD_PACKAGE:
    g_ptr_array_add(packages, g_strdup(value));
    return packages->len <= LIST_MAX;
  case FIELD_PATH:
    g_ptr_array_add(paths, g_strdup(value));
    return paths->len <= LIST_MAX;
  case FIELD_TEXT:
  default:
    g_free(*(char **)member);
    *(char **)member = g_strdup(value);
    return TRUE;
  }
}

static gboolean read_line(AinInterpreter *interpreter, char *line, GPtrArray *packages, GPtrArray *paths) {
  char *equals = strchr(line, '=');
  if (equals == NULL) {
    return FALSE;
  }
  *equals = '\0';
  g_autofree char *value = g_uri_unescape_string(equals + 1, NULL); /* NULL for %00 and broken escapes */
  if (value == NULL) {
    return FALSE;
  }
  for (gsize i = 0; i < G_N_ELEMENTS(fields); i++) {
    if (strcmp(line, fields[i].key) == 0) {
      return set_field(interpreter, i, value, packages, paths);
    }
  }
  return TRUE; /* a newer probe.py may say more */
}

static char **take_strings(GPtrArray *strings) {
  g_ptr_array_add(strings, NULL);
  return (char **)g_ptr_array_free(strings, FALSE);
}

AinInterpreter *ain_env_record_parse(const char *record, const char *asked) {
  AinInterpreter *interpreter = g_new0(AinInterpreter, 1);
  interpreter->asked = g_strdup(asked);
  GPtrArray *packages = g_ptr_array_new();
  GPtrArray *paths = g_ptr_array_new();
  g_auto(GStrv) lines = g_strsplit(record, "\n", -1);
  gboolean good = TRUE;
  for (char **line = lines; good && *line != NULL; line++) {
    good = **line == '\0' || read_line(interpreter, *line, packages, paths);
  }
  interpreter->packages = take_strings(packages);
  interpreter->paths = take_strings(paths);
  good = good && interpreter->executable != NULL && interpreter->version != NULL
         && interpreter->version_hex != 0 && interpreter->implementation != NULL
         && interpreter->prefix != NULL && interpreter->base_prefix != NULL;
  if (!good) {
    g_clear_pointer(&interpreter, ain_interpreter_free);
  }
  return interpreter;
}

static gboolean refuse(const AinInterpreter *interpreter, const char *reason, GError **error) {
  g_autofree char *get = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PYTHON, interpreter);
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
      "%s is %s %s%s, and AINode runs models with CPython 3.9 or newer%s: name another interpreter with "
      "-i PYTHON; to get one: %s",
      interpreter->asked, interpreter->implementation, interpreter->version, reason,
      interpreter->free_threaded ? " with the global interpreter lock" : "", get);
  return FALSE;
}

gboolean ain_env_record_judge(const AinInterpreter *interpreter, GError **error) {
  if (strcmp(interpreter->implementation, "cpython") != 0) {
    /* Python 2 knows no sys.implementation */
    return refuse(interpreter, interpreter->version_hex < 0x03000000u ? " (too old)" : "", error);
  }
  if (interpreter->version_hex < OLDEST_HEX) {
    return refuse(interpreter, " (too old)", error);
  }
  if (interpreter->free_threaded) {
    return refuse(interpreter, " built free-threaded", error);
  }
  if (!g_path_is_absolute(interpreter->executable)) {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
        "%s does not know its own path (sys.executable is '%s'): name the interpreter itself with -i, "
        "not a wrapper",
        interpreter->asked, interpreter->executable);
    return FALSE;
  }
  if (ain_env_elf_check(interpreter->executable, FALSE) == AIN_ELF_FOREIGN) {
    return refuse(interpreter, " for another machine architecture", error);
  }
  return TRUE;
}
