/* From what the operator asked for to an interpreter that is ready. */
#include "env/ensure.h"

#include "base/error.h"
#include "base/fd.h"
#include "env/find.h"
#include "env/mend.h"
#include "env/probe.h"
#include "env/ready.h"
#include "env/requirements.h"
#include "env/settings.h"
#include "env/update.h"
#include "env/wheelhouse.h"

#include <string.h>

void ain_env_plan_clear(AinEnvPlan *plan) {
  g_clear_pointer(&plan->bootstrap, g_free);
  g_clear_pointer(&plan->venv, g_free);
  g_clear_pointer(&plan->python, g_free);
  g_clear_pointer(&plan->requirements, g_free);
  g_clear_pointer(&plan->names, g_strfreev);
  g_clear_pointer(&plan->others, g_strfreev);
  g_clear_pointer(&plan->wheelhouse, g_free);
  g_clear_pointer(&plan->mirror, g_free);
  g_clear_pointer(&plan->torch_index, g_free);
  g_clear_pointer(&plan->cache_file, g_free);
}

static gboolean check_index(const char *mirror, const char *source, GError **error) {
  if (mirror == NULL || g_str_has_prefix(mirror, "https://") || g_str_has_prefix(mirror, "http://")
      || g_str_has_prefix(mirror, "file://")) {
    return TRUE;
  }
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_INVALID,
      "the mirror '%s' (%s) is not understood: it must be the address of a package index that starts with "
      "https://, http:// or file://",
      mirror, source);
  return FALSE;
}

/* numpy, torch and pip are part of every answer, and so of what the cache keeps. */
static char **names_to_ask_for(char **names) {
  static const char *const reported[] = { "numpy", "torch", "pip", NULL };
  GPtrArray *others = g_ptr_array_new();
  for (char **name = names; *name != NULL; name++) {
    if (!g_strv_contains(reported, *name)) {
      g_ptr_array_add(others, g_strdup(*name));
    }
  }
  if (others->len == 0) {
    g_ptr_array_free(others, TRUE);
    return NULL;
  }
  g_ptr_array_add(others, NULL);
  return (char **)g_ptr_array_free(others, FALSE);
}

/* The folder `wheelhouse`, or else the archive; where neither is there, the folder is named as missing. */
static char *offline_wheels(const char *home) {
  g_autofree char *folder = g_build_filename(home, "wheelhouse", NULL);
  g_autofree char *archive = g_strconcat(folder, ".tar", NULL);
  gboolean packed = !g_file_test(folder, G_FILE_TEST_IS_DIR) && g_file_test(archive, G_FILE_TEST_IS_REGULAR);
  return packed ? g_steal_pointer(&archive) : g_steal_pointer(&folder);
}

gboolean ain_env_plan(const AinEnvRequest *request, AinEnvPlan *plan, GError **error) {
  *plan = (AinEnvPlan){ 0 };
  g_auto(AinEnvSettings) settings = { 0 };
  if (!ain_env_settings_load(request->home, &settings, error) || !check_index(request->mirror, "-m", error)
      || !check_index(settings.torch_index, "ain_torch_index", error)) {
    return FALSE;
  }
  plan->bootstrap = ain_env_bootstrap_dir(request->home);
  plan->venv = g_build_filename(request->home, "venv", NULL);
  plan->python = g_strdup(request->python != NULL ? request->python : settings.interpreter);
  plan->requirements = request->requirements != NULL
                           ? g_strdup(request->requirements)
                           : g_build_filename(plan->bootstrap, "requirements", "core.txt", NULL);
  if (request->wheelhouse != NULL) {
    plan->wheelhouse = g_strdup(request->wheelhouse);
  } else if (settings.install_offline) {
    plan->wheelhouse = offline_wheels(request->home);
  }
  plan->torch_index = g_steal_pointer(&settings.torch_index);
  plan->mirror = g_strdup(request->mirror);
  plan->cache_file = g_strdup(request->cache_file);
  plan->no_install = request->no_install;
  plan->force = request->force_reinstall || settings.force_reinstall;
  plan->names = ain_env_requirements_read(plan->requirements, error);
  if (plan->names == NULL) {
    ain_env_plan_clear(plan);
    return FALSE;
  }
  plan->others = names_to_ask_for(plan->names);
  return TRUE;
}

static gboolean is_there(const AinInterpreter *interpreter, const char *name) {
  if (strcmp(name, "numpy") == 0) {
    return interpreter->numpy != NULL;
  }
  if (strcmp(name, "torch") == 0) {
    return interpreter->torch != NULL;
  }
  if (strcmp(name, "pip") == 0) {
    return interpreter->pip != NULL;
  }
  g_autofree char *prefix = g_strconcat(name, "==", NULL);
  for (char **package = interpreter->packages; *package != NULL; package++) {
    if (g_str_has_prefix(*package, prefix)) {
      return TRUE;
    }
  }
  return FALSE;
}

char *ain_env_plan_missing(const AinEnvPlan *plan, const AinInterpreter *interpreter) {
  g_autoptr(GPtrArray) missing = g_ptr_array_new();
  for (char **name = plan->names; *name != NULL; name++) {
    if (!is_there(interpreter, *name)) {
      g_ptr_array_add(missing, *name);
    }
  }
  g_ptr_array_add(missing, NULL);
  return missing->len == 1 ? NULL : g_strjoinv(", ", (char **)missing->pdata);
}

AinInterpreter *ain_env_plan_probe(const AinEnvPlan *plan, gboolean *from_cache, GError **error) {
  const AinEnvProbing probing = { .bootstrap_dir = plan->bootstrap,
                                  .cache_file = plan->cache_file,
                                  .packages = (const char *const *)plan->others };
  g_autofree char *inside = g_build_filename(plan->venv, "bin", "python3", NULL);
  return ain_env_probe_with(plan->python != NULL ? plan->python : inside, &probing, from_cache, error);
}

/* Only asked when something is to be installed: an offline machine whose venv is whole needs no wheels. */
static gboolean check_wheelhouse(const AinEnvPlan *plan, GError **error) {
  return plan->wheelhouse == NULL || ain_env_wheelhouse_exists(plan->wheelhouse, error);
}

static gboolean asks_for(const AinEnvPlan *plan, const char *name) {
  return g_strv_contains((const char *const *)plan->names, name);
}

AinEnvInstall ain_env_plan_what(const AinEnvPlan *plan, gboolean keep, const char *wheels,
                                const char *pip_lock) {
  return (AinEnvInstall){ .requirements = plan->requirements,
                          .mirror = plan->mirror,
                          .torch_index = asks_for(plan, "torch") ? plan->torch_index : NULL,
                          .wheelhouse = wheels,
                          .pip_lock = keep || wheels != NULL ? NULL : pip_lock,
                          .keep = keep,
                          .force = keep && plan->force };
}

/* keep: what the operator has there stays; the versions of a lock would replace it. lock_fd: -1 without the
 * lock of the venv. */
static gboolean install(const AinEnvPlan *plan, const AinInterpreter *python, gboolean keep, int lock_fd,
                        GError **error) {
  g_auto(AinEnvWheelhouse) wheels = { 0 };
  g_autofree char *place = lock_fd < 0 ? NULL : g_strconcat(plan->venv, ".wheels", NULL);
  if (plan->wheelhouse != NULL && !ain_env_wheelhouse_open(plan->wheelhouse, place, python, &wheels, error)) {
    return FALSE;
  }
  g_autofree char *pip_lock = g_build_filename(plan->bootstrap, "requirements", "pip.lock", NULL);
  const AinEnvInstall what = ain_env_plan_what(plan, keep, wheels.folder, pip_lock);
  return ain_env_pip_install(python, &what, lock_fd, error);
}

AinInterpreter *ain_env_plan_install(const AinEnvPlan *plan, GError **error) {
  g_autoptr(AinInterpreter) python = ain_env_plan_probe(plan, NULL, error);
  if (python == NULL) {
    return NULL;
  }
  g_autofree char *missing = ain_env_plan_missing(plan, python);
  if (missing == NULL && !plan->force) {
    return g_steal_pointer(&python);
  }
  if (python->externally_managed) {
    g_autofree char *mend = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PACKAGES, python);
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
        "%s lacks %s and belongs to the distribution, which forbids pip to install into it; to mend it: %s; "
        "or start without -i, then AINode makes an environment of its own",
        python->executable, missing == NULL ? "nothing" : missing, mend);
    return NULL;
  }
  return install(plan, python, TRUE, -1, error) ? ain_env_plan_probe(plan, NULL, error) : NULL;
}

/* Locked. Makes what is not there. *python: the venv's interpreter. */
static gboolean make(const AinEnvPlan *plan, int lock_fd, GError **error) {
  g_autoptr(AinInterpreter) base = ain_env_find(plan->bootstrap, plan->wheelhouse != NULL, error);
  return base != NULL && check_wheelhouse(plan, error) && ain_env_venv_begin(plan->venv, error)
         && ain_env_venv_clear(plan->venv, error) && ain_env_venv_create(plan->venv, base, lock_fd, error);
}

/* A venv of ours that no longer answers can be made anew; the operator's cannot, and the error says why. */
AinInterpreter *ain_env_plan_probe_venv(const AinEnvPlan *plan, gboolean *from_cache, GError **error) {
  g_autoptr(GError) cause = NULL;
  AinInterpreter *python = ain_env_plan_probe(plan, from_cache, &cause);
  if (python == NULL && ain_env_venv_state(plan->venv) == AIN_VENV_OURS) {
    g_autofree char *program = ain_env_mend_program();
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "the environment that AINode made in %s is broken (%s); make it anew with: %s env create -r",
                plan->venv, cause->message, program);
  } else if (python == NULL) {
    g_propagate_error(error, g_steal_pointer(&cause));
  }
  return python;
}

static void set_not_made(const AinEnvPlan *plan, AinVenvState state, GError **error) {
  g_autofree char *program = ain_env_mend_program();
  if (state == AIN_VENV_FOREIGN) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "%s is not empty and not a virtual environment: move it away, or start with -i PYTHON",
                plan->venv);
    return;
  }
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
      "there is no finished virtual environment in %s, and -n forbids to make one: run: %s env create; or "
      "start with -i PYTHON",
      plan->venv, program);
}

/* Locked: nobody else changes the venv now. */
static AinInterpreter *make_ready(const AinEnvPlan *plan, int lock_fd, GError **error) {
  if (!ain_env_update_recover(plan->venv, error)) {
    return NULL;
  }
  AinVenvState state = ain_env_venv_state(plan->venv);
  gboolean operators = state == AIN_VENV_OPERATOR;
  if (state == AIN_VENV_FOREIGN) {
    set_not_made(plan, state, error);
    return NULL;
  }
  if (!operators && (plan->force || state != AIN_VENV_OURS) && !make(plan, lock_fd, error)) {
    return NULL;
  }
  g_autoptr(AinInterpreter) python = ain_env_plan_probe_venv(plan, NULL, error);
  if (python == NULL) {
    return NULL;
  }
  g_autofree char *missing = ain_env_plan_missing(plan, python);
  gboolean force = operators && plan->force;
  if (missing != NULL || force) {
    /* Half made until it is whole again, also when only something is added: pip can be cut short. */
    if ((!operators && !ain_env_venv_begin(plan->venv, error))
        || !install(plan, python, operators, lock_fd, error)) {
      return NULL;
    }
  }
  if (!operators && !ain_env_venv_finish(plan->venv, error)) {
    return NULL;
  }
  return missing != NULL || force ? ain_env_plan_probe_venv(plan, NULL, error) : g_steal_pointer(&python);
}

AinInterpreter *ain_env_plan_venv(const AinEnvPlan *plan, gboolean *from_cache, GError **error) {
  if (from_cache != NULL) {
    *from_cache = FALSE;
  }
  AinVenvState state = ain_env_venv_state(plan->venv);
  gboolean usable = state == AIN_VENV_OURS || state == AIN_VENV_OPERATOR;
  if (usable && !plan->force) {
    g_autoptr(AinInterpreter) python = ain_env_plan_probe_venv(plan, from_cache, error);
    g_autofree char *missing = python == NULL ? NULL : ain_env_plan_missing(plan, python);
    if (python == NULL || missing == NULL || plan->no_install) {
      return g_steal_pointer(&python);
    }
  }
  if (state == AIN_VENV_FOREIGN || plan->no_install) {
    set_not_made(plan, state, error);
    return NULL;
  }
  ain_fd int lock_fd = ain_env_venv_lock(plan->venv, error);
  return lock_fd < 0 ? NULL : make_ready(plan, lock_fd, error);
}

/* Nothing is named, nothing was made, and nobody asks for an installation: what is there already is used. */
static AinInterpreter *use_ready(const AinEnvPlan *plan, gboolean *from_cache) {
  if (plan->python != NULL || plan->force || plan->mirror != NULL || plan->wheelhouse != NULL
      || ain_env_venv_state(plan->venv) != AIN_VENV_ABSENT) {
    return NULL;
  }
  AinInterpreter *ready = ain_env_ready(plan, from_cache);
  if (ready != NULL) {
    g_autofree char *program = ain_env_mend_program();
    g_message(
        "no interpreter is named and %s is not made: %s (%s) has all that models need and is used as it is; "
        "-i PYTHON names another, and %s env create makes an environment",
        plan->venv, ready->executable, ready->version, program);
  }
  return ready;
}

AinInterpreter *ain_env_ensure(const AinEnvRequest *request, gboolean *from_cache, GError **error) {
  g_auto(AinEnvPlan) plan = { 0 };
  if (!ain_env_plan(request, &plan, error)) {
    return NULL;
  }
  g_autoptr(AinInterpreter) python = use_ready(&plan, from_cache);
  if (python == NULL) {
    python = plan.python != NULL ? ain_env_plan_probe(&plan, from_cache, error)
                                 : ain_env_plan_venv(&plan, from_cache, error);
  }
  if (python != NULL && python->numpy == NULL) {
    g_autoptr(GPtrArray) problems = ain_env_problems(python);
    g_ptr_array_add(problems, NULL);
    g_autofree char *text = g_strjoinv(". ", (char **)problems->pdata);
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "%s", text);
    return NULL;
  }
  return g_steal_pointer(&python);
}
