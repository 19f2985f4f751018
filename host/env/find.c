/* Candidates by name, each probed once, the best kept. */
#include "env/find.h"

#include "base/error.h"
#include "env/mend.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CANDIDATES_MAX 24u
#define NEWEST_TESTED_HEX                                                                                    \
  0x030DFFFFu /* torch has no packages yet for what is newer than this when it is new */

static gboolean is_python_name(const char *name) {
  if (!g_str_has_prefix(name, "python3")) {
    return FALSE;
  }
  name += strlen("python3");
  if (*name == '\0') {
    return TRUE;
  }
  return name[0] == '.' && name[1] != '\0' && strspn(name + 1, "0123456789") == strlen(name + 1);
}

/* Adds the interpreters of one folder, links to one already there left out. */
static void add_folder(const char *folder, GHashTable *seen, GPtrArray *candidates) {
  g_autoptr(GDir) directory = g_path_is_absolute(folder) ? g_dir_open(folder, 0, NULL) : NULL;
  const char *name;
  while (directory != NULL && candidates->len < CANDIDATES_MAX
         && (name = g_dir_read_name(directory)) != NULL) {
    if (!is_python_name(name)) {
      continue;
    }
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *resolved = realpath(path, NULL);
    if (resolved == NULL || access(path, X_OK) != 0) {
      free(resolved);
    } else if (g_hash_table_add(seen, resolved)) {
      g_ptr_array_add(candidates, g_steal_pointer(&path));
    }
  }
}

GPtrArray *ain_env_find_candidates(void) {
  GPtrArray *candidates = g_ptr_array_new_with_free_func(g_free);
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, free, NULL);
  const char *path = g_getenv("PATH");
  g_auto(GStrv) folders = g_strsplit(path == NULL ? "" : path, ":", -1);
  for (char **folder = folders; *folder != NULL; folder++) {
    add_folder(*folder, seen, candidates);
  }
  add_folder("/usr/bin", seen, candidates);
  add_folder("/usr/local/bin", seen, candidates);
  return candidates;
}

/* Why it cannot make a venv, or NULL. */
static char *unfit(const AinInterpreter *interpreter, gboolean offline) {
  AinMend mend;
  const char *lacks;
  if (!interpreter->has_venv || !interpreter->has_ensurepip) {
    mend = AIN_MEND_VENV;
    lacks = interpreter->has_venv ? "ensurepip module" : "venv module";
  } else if (!interpreter->has_ssl && !offline) {
    mend = AIN_MEND_SSL;
    lacks = "ssl module";
  } else {
    return NULL;
  }
  g_autofree char *command = ain_env_mend_command(ain_env_mend_family_here(), mend, interpreter);
  return g_strdup_printf("%s (%s) lacks the %s; to mend it: %s", interpreter->executable,
                         interpreter->version, lacks, command);
}

gboolean ain_env_find_is_better(const AinInterpreter *a, const AinInterpreter *b) {
  if (b == NULL) {
    return TRUE;
  }
  gboolean a_tested = a->version_hex <= NEWEST_TESTED_HEX;
  gboolean b_tested = b->version_hex <= NEWEST_TESTED_HEX;
  return a_tested != b_tested ? a_tested : a->version_hex > b->version_hex;
}

AinInterpreter *ain_env_find(const char *bootstrap_dir, gboolean offline, GError **error) {
  g_autoptr(GPtrArray) candidates = ain_env_find_candidates();
  g_autoptr(AinInterpreter) best = NULL;
  g_autofree char *nearest = NULL; /* the first that lacks only something that can be installed */
  for (guint i = 0; i < candidates->len; i++) {
    g_autoptr(GError) refused = NULL;
    g_autoptr(AinInterpreter) interpreter =
        ain_env_probe(g_ptr_array_index(candidates, i), bootstrap_dir, NULL, NULL, &refused);
    if (interpreter == NULL) {
      g_debug("not usable: %s", refused->message);
      continue;
    }
    g_autofree char *reason = unfit(interpreter, offline);
    if (reason != NULL) {
      nearest = nearest == NULL ? g_steal_pointer(&reason) : nearest;
    } else if (ain_env_find_is_better(interpreter, best)) {
      ain_interpreter_free(best);
      best = g_steal_pointer(&interpreter);
    }
  }
  if (best != NULL) {
    return g_steal_pointer(&best);
  }
  g_autofree char *get = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PYTHON, NULL);
  if (nearest != NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "no Python that can make a virtual environment was found: %s", nearest);
  } else {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
        "no Python 3.9 or newer was found among %u interpreters in PATH, /usr/bin and /usr/local/bin; "
        "to get one: %s",
        candidates->len, get);
  }
  return NULL;
}
