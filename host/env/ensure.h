/* The plan that ain_env_ensure() and `ainode env` share: request, settings and requirements put together. Any
 * thread. */
#pragma once
#include "env/env.h"
#include "env/venv.h"

#include <glib.h>

typedef struct {
  char *bootstrap;    /* folder of probe.py */
  char *venv;         /* <home>/venv */
  char *python;       /* the interpreter that the operator chose, or NULL: the venv */
  char *requirements; /* file */
  char **names;       /* what it names */
  char **others;      /* of these, those that the probe does not report by itself; NULL when none */
  char *wheelhouse;   /* folder or archive, or NULL: from the network */
  char *mirror;       /* or NULL */
  char *torch_index;  /* where torch comes from, or NULL: as the rest */
  char *cache_file;   /* or NULL */
  gboolean no_install;
  gboolean force;
} AinEnvPlan;
void ain_env_plan_clear(AinEnvPlan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinEnvPlan, ain_env_plan_clear)

/* Errors: INVALID (settings, mirror, requirements). */
gboolean ain_env_plan(const AinEnvRequest *request, AinEnvPlan *plan, GError **error);

/* The names of the plan that the interpreter lacks, separated by ", "; NULL when it has all. Owned. */
char *ain_env_plan_missing(const AinEnvPlan *plan, const AinInterpreter *interpreter);

/* Probes the chosen interpreter or the venv's. from_cache: as ain_env_probe(). */
AinInterpreter *ain_env_plan_probe(const AinEnvPlan *plan, gboolean *from_cache, GError **error);

/* The same for the venv; one of ours that is broken is named with the command that makes it anew. */
AinInterpreter *ain_env_plan_probe_venv(const AinEnvPlan *plan, gboolean *from_cache, GError **error);

/* The installation that the plan asks for. keep: as in AinEnvInstall; wheels: the opened wheelhouse, or NULL;
 * pip_lock: borrowed, as are all its strings. */
AinEnvInstall ain_env_plan_what(const AinEnvPlan *plan, gboolean keep, const char *wheels,
                                const char *pip_lock);

/* Installs what the plan asks for into the chosen interpreter; explicit command only. */
AinInterpreter *ain_env_plan_install(const AinEnvPlan *plan, GError **error);

/* The venv, made, completed or made anew as the plan asks. */
AinInterpreter *ain_env_plan_venv(const AinEnvPlan *plan, gboolean *from_cache, GError **error);
