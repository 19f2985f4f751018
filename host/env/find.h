/* The best Python of this machine to make a venv with. Any thread. */
#pragma once
#include "env/env.h"

#include <glib.h>

/* Looks at python3 and python3.N in PATH, /usr/bin and /usr/local/bin: the newest that is 3.9 or newer, can
 * make a venv and has ssl (unless offline); one newer than we test with only when there is no other. Errors:
 * ENVIRONMENT, with what was found and the command. */
AinInterpreter *ain_env_find(const char *bootstrap_dir, gboolean offline, GError **error);

/* The paths (owned) of the interpreters that it looks at, each once. */
GPtrArray *ain_env_find_candidates(void);
/* Whether a is to be preferred; b may be NULL. */
gboolean ain_env_find_is_better(const AinInterpreter *a, const AinInterpreter *b);
