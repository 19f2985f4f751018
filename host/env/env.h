/* Python environments: finding, probing, creating and repairing them. No Python runs inside the host: probes
 * and pip are child processes; probes have a time limit and bounded output. Blocking functions; call them on
 * a helper thread or before the loop. Strings returned are owned by the caller; arguments are borrowed. */
#pragma once
#include <glib.h>

/* What one interpreter is. Everything owned; free with ain_interpreter_free(). */
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
  char *yaml;      /* version or NULL */
  gboolean has_venv;
  gboolean has_ensurepip;
  gboolean has_ssl;
  char *pip;                   /* version or NULL */
  gboolean externally_managed; /* the distribution forbids pip here (PEP 668) */
  char **packages;             /* "name==version" of the further packages that were asked for and are there */
  char **paths;                /* the folders of sys.path */
} AinInterpreter;
void ain_interpreter_free(AinInterpreter *interpreter); /* NULL is allowed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinInterpreter, ain_interpreter_free)

/* Where probe.py and requirements/ lie: <home>/lib/venv-bootstrap (package), <home>/venv-bootstrap (source
 * tree), or beside the program. */
char *ain_env_bootstrap_dir(const char *home);

/* Runs <bootstrap_dir>/probe.py with `python` (a path, a name on PATH, or the folder of an environment).
 * cache_file: NULL or where a probe is kept with everything that would change it; *from_cache tells whether
 * it was used; with from_cache NULL it is only written. A cache that is unreadable, corrupt or stale is
 * ignored. Errors: ENVIRONMENT, with the command that mends it (not found, not executable, too old, PyPy,
 * free-threaded, time-out, garbage printed). */
AinInterpreter *ain_env_probe(const char *python, const char *bootstrap_dir, const char *cache_file,
                              gboolean *from_cache, GError **error);

/* Probes again, past the cache, an interpreter that came from it, and refreshes the cache; *changed tells
 * whether the answer differs. Errors: as ain_env_probe(). */
AinInterpreter *ain_env_reprobe(const AinInterpreter *known, const char *bootstrap_dir,
                                const char *cache_file, gboolean *changed, GError **error);

/* A text that is another one after anything was installed, removed or replaced in the interpreter's
 * environment: the state of its program, its library, its venv's configuration and the folders of its
 * packages. Owned. A few calls of stat(). */
char *ain_env_state(const AinInterpreter *interpreter);

/* One sentence with a command for each thing that keeps models from running (numpy, torch, ...). Owned, may
 * be empty. */
GPtrArray *ain_env_problems(const AinInterpreter *interpreter);

/* What start and `ainode env` ask for. Settings of conf/ainode-env.sh and of the environment
 * (ain_interpreter_dir, ain_force_reinstall, ain_install_offline, ain_torch_index) fill in what is not set
 * here. */
typedef struct {
  const char *home;         /* absolute */
  const char *python;       /* -i, or NULL: <home>/venv */
  gboolean no_install;      /* -n: create and install nothing */
  gboolean force_reinstall; /* -r: make our venv anew; into the operator's, install again */
  const char *mirror;       /* -m: an index for pip, or NULL */
  const char *wheelhouse;   /* folder of wheels, or an archive of one: no network is used; or NULL */
  const char *requirements; /* file of what must be there, or NULL: requirements/core.txt */
  const char *cache_file;   /* for the probe, or NULL */
} AinEnvRequest;

/* The interpreter to run models with, ready to use. With python (here or in the settings) it is probed and
 * never modified; else <home>/venv is used; when there is none and nothing asks for one (force, mirror,
 * wheelhouse), an interpreter of the machine that lacks nothing, which the log names; else <home>/venv is
 * created and completed as needed, with progress on stdout. A start
 * that finds another one at work on the venv waits for it. Torch may be missing where the operator chose the
 * interpreter (ain_env_problems() names it); NumPy may not. Errors: ENVIRONMENT, INVALID (settings,
 * arguments), INTERNAL. */
AinInterpreter *ain_env_ensure(const AinEnvRequest *request, gboolean *from_cache, GError **error);

/* `ainode env check|create|update|install|remove|show ...`; argv[0] is "env"; home: where no --home is
 * among them. Returns an AinExit. */
int ain_env_command(int argc, char **argv, const char *home);
