/* Format: "ain-probe 1", the fingerprint, the checksum of the record, the record. */
#include "env/cache.h"

#include "base/fd.h"
#include "env/record.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CACHE_MAGIC "ain-probe 1\n"
#define CACHE_MAX 262144u
#define DIGEST_CHARS 64u

/* Identity and state of a path in a few words; "-" when it is not there. */
static void add_state(GString *text, const char *path) {
  struct stat info;
  g_string_append_printf(text, "%s\n", path);
  if (stat(path, &info) != 0) {
    g_string_append(text, "-\n");
    return;
  }
  g_string_append_printf(text, "%ju %ju %jd %jd.%09ld\n", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino,
                         (intmax_t)info.st_size, (intmax_t)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

static void add_environment(GString *text, const AinInterpreter *interpreter) {
  g_autofree char *configuration = g_build_filename(interpreter->prefix, "pyvenv.cfg", NULL);
  add_state(text, interpreter->executable);
  add_state(text, configuration);
  add_state(text, interpreter->libpython == NULL ? "" : interpreter->libpython);
  for (char **path = interpreter->paths; *path != NULL; path++) {
    add_state(text, *path);
  }
}

char *ain_env_state(const AinInterpreter *interpreter) {
  g_autoptr(GString) text = g_string_new(NULL);
  add_environment(text, interpreter);
  return g_string_free(g_steal_pointer(&text), FALSE);
}

static void add_variable(GString *text, const char *name) {
  const char *value = g_getenv(name);
  g_string_append_printf(text, "%s=%s\n", name, value == NULL ? "" : value);
}

/* Everything that the answer depends on, as a digest: the interpreter asked for and what it resolves to, the
 * one that answered, its venv's configuration, its library and the folders packages are installed in. */
static char *fingerprint(const AinEnvQuestion *question, const AinInterpreter *interpreter) {
  static const char *const variables[] = { "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE",
                                           "HOME",       "PYENV_VERSION",    "PYENV_ROOT" };
  g_autoptr(GString) text = g_string_new(NULL);
  g_autofree char *resolved = realpath(question->python, NULL);
  g_autofree char *folder = g_get_current_dir(); /* what a pyenv shim starts depends on it */
  g_string_append_printf(text, "%s\n%s\n", question->asked, folder);
  add_state(text, question->python);
  add_state(text, resolved == NULL ? "" : resolved);
  add_state(text, question->probe);
  add_environment(text, interpreter);
  for (gsize i = 0; i < G_N_ELEMENTS(variables); i++) {
    add_variable(text, variables[i]);
  }
  return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text->str, (gssize)text->len);
}

/* Cuts a digest line off *text. */
static char *take_digest(const char **text) {
  if (strnlen(*text, DIGEST_CHARS + 1) <= DIGEST_CHARS || (*text)[DIGEST_CHARS] != '\n') {
    return NULL;
  }
  char *digest = g_strndup(*text, DIGEST_CHARS);
  *text += DIGEST_CHARS + 1;
  return digest;
}

AinInterpreter *ain_env_cache_load(const char *file, const AinEnvQuestion *question) {
  g_autoptr(GBytes) bytes = ain_file_read(file, CACHE_MAX, NULL);
  const char *text = bytes == NULL ? NULL : g_bytes_get_data(bytes, NULL);
  if (text == NULL || strlen(text) != g_bytes_get_size(bytes) || !g_str_has_prefix(text, CACHE_MAGIC)) {
    return NULL;
  }
  text += strlen(CACHE_MAGIC);
  g_autofree char *kept_fingerprint = take_digest(&text);
  g_autofree char *kept_checksum = kept_fingerprint == NULL ? NULL : take_digest(&text);
  g_autofree char *checksum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
  if (kept_checksum == NULL || strcmp(kept_checksum, checksum) != 0) {
    return NULL;
  }
  g_autoptr(AinInterpreter) interpreter = ain_env_record_parse(text, question->asked);
  if (interpreter == NULL) {
    return NULL;
  }
  g_autofree char *now = fingerprint(question, interpreter);
  return strcmp(now, kept_fingerprint) == 0 ? g_steal_pointer(&interpreter) : NULL;
}

void ain_env_cache_store(const char *file, const AinEnvQuestion *question, const AinInterpreter *interpreter,
                         const char *record) {
  g_autofree char *now = fingerprint(question, interpreter);
  g_autofree char *checksum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, record, -1);
  g_autofree char *text = g_strdup_printf("%s%s\n%s\n%s", CACHE_MAGIC, now, checksum, record);
  g_autoptr(GError) error = NULL;
  if (!ain_file_replace(file, text, strlen(text), 0644, &error)) {
    g_debug("the probe is not kept: %s", error->message);
  }
}
