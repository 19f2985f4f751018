/* The probe with all its knobs; env.h has the usual form. */
#pragma once
#include "env/cache.h"
#include "env/env.h"

#include <glib.h>

typedef struct {
  const char *bootstrap_dir;
  const char *cache_file;      /* or NULL */
  const char *const *packages; /* further names to look for (then the cache is left alone), or NULL */
  gint64 limit_us;             /* 0: the usual 10 s */
} AinEnvProbing;

/* As ain_env_probe(). */
AinInterpreter *ain_env_probe_with(const char *python, const AinEnvProbing *probing, gboolean *from_cache,
                                   GError **error);

/* Absolute path of what `python` names (a path, a name on PATH, the folder of an environment), links kept: a
 * venv is its link. Errors: ENVIRONMENT. */
char *ain_env_resolve(const char *python, GError **error);
