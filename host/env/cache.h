/* The kept probe: a file with the record and a fingerprint of everything that would change it. Any thread;
 * concurrent writers replace each other's file whole. */
#pragma once
#include "env/env.h"

#include <glib.h>

/* What was asked, and how. All borrowed. */
typedef struct {
  const char *asked;
  const char *python; /* what that resolves to, absolute */
  const char *probe;  /* path of probe.py */
} AinEnvQuestion;

/* NULL when there is none, it is corrupt, or anything changed since. Only fit interpreters are kept. */
AinInterpreter *ain_env_cache_load(const char *file, const AinEnvQuestion *question);
/* Failing to write is no error: the next start probes again. */
void ain_env_cache_store(const char *file, const AinEnvQuestion *question, const AinInterpreter *interpreter,
                         const char *record);
