/* Python environments: finding, probing, creating and repairing them. No Python runs inside the host: probes
 * and pip are child processes with a time limit. Blocking functions; call them on a helper thread or before
 * the loop. */
#pragma once
#include <glib.h>

/* What one interpreter is. All strings owned. */
typedef struct {
  char *asked;      /* as the operator wrote it */
  char *executable; /* sys.executable: what argv[0] must be */
  char *version;    /* "3.11.7" */
  guint version_hex;
  char *implementation; /* "cpython" */
  gboolean free_threaded;
  char *prefix;
  char *base_prefix;
  char *libpython; /* absolute path of a shared libpython that matches, or NULL: exec mode */
  char *numpy;     /* version or NULL */
  char *torch;     /* version or NULL */
  gboolean has_venv;
  gboolean has_ensurepip;
  gboolean has_ssl;
  char *pip; /* version or NULL */
} AinInterpreter;
void ain_interpreter_free(AinInterpreter *interpreter);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinInterpreter, ain_interpreter_free)

/* Runs venv-bootstrap/probe.py with `python` (a path, or a name on PATH). cache_file: NULL or where a probe
 * is kept with path, inode, mtime and pyvenv.cfg's mtime; *from_cache tells. Errors: ENVIRONMENT, with the
 * command that mends it (not found, not executable, too old, PyPy, free-threaded, time-out, garbage printed).
 */
AinInterpreter *ain_env_probe(const char *python, const char *bootstrap_dir, const char *cache_file,
                              gboolean *from_cache, GError **error);

/* One sentence with a command for each thing that keeps models from running (numpy, torch, ...). Owned, may
 * be empty. */
GPtrArray *ain_env_problems(const AinInterpreter *interpreter);
