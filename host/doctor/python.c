/* The interpreter that runs models, or that a venv will be made with. */
#include "base/error.h"
#include "doctor/check.h"
#include "doctor/paths.h"
#include "env/find.h"
#include "env/mend.h"
#include "env/probe.h"
#include "env/ready.h"
#include "env/requirements.h"
#include "env/spawn.h"
#include "env/venv.h"
#include "env/wheelhouse.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define PROGRAM_LIMIT_US (G_GINT64_CONSTANT(10) * G_USEC_PER_SEC)
#define OUTPUT_MAX 4096u
#define OLDEST_PIP "20.3"

static char *mend_of(AinMend mend, const AinInterpreter *interpreter) {
  return ain_env_mend_command(ain_env_mend_family_here(), mend, interpreter);
}

/* A venv will be made: what is needed for that is needed. */
static gboolean makes_venv(const AinLook *look) {
  return look->facts->python == NULL && look->facts->base != NULL;
}

static const AinInterpreter *any_of(const AinLook *look) {
  return look->facts->python != NULL ? look->facts->python : look->facts->base;
}

static gboolean no_python(AinLook *look) {
  if (any_of(look) == NULL) {
    ain_look_skip(look, "there is no usable interpreter");
    return TRUE;
  }
  return FALSE;
}

/* --- variables -------------------------------------------------------------------------------------------
 */

void ain_check_environment(AinLook *look) {
  static const struct {
    const char *name;
    const char *effect;
  } odd[] = {
    { "PYTHONHOME", "breaks every interpreter but one; the node unsets it for its own" },
    { "PYTHONPATH", "puts packages of other projects before those of the interpreter" },
    { "PYTHONSTARTUP", "is not used" },
    { "LD_PRELOAD", "loads a library into every process, workers too" },
    { "LD_LIBRARY_PATH", "may bring other libraries than those that NumPy and PyTorch were built with" },
  };
  for (gsize i = 0; i < G_N_ELEMENTS(odd); i++) {
    const char *value = g_getenv(odd[i].name);
    if (value != NULL && *value != '\0' && strcmp(odd[i].name, "PYTHONSTARTUP") != 0) {
      g_autofree char *mend = g_strdup_printf("unset %s before the start", odd[i].name);
      ain_look_warn(look, mend, "%s=%s is set: it %s", odd[i].name, value, odd[i].effect);
    }
  }
  if (look->findings->len == 0) {
    ain_look_ok(look, "no variable that misleads interpreters is set");
  }
}

/* --- which one -------------------------------------------------------------------------------------------
 */

static void look_probed(AinLook *look, const AinEnvPlan *plan, const char *asked) {
  g_autoptr(GError) error = NULL;
  g_autofree char *file = g_build_filename(plan->bootstrap, "requirements", "builtins.txt", NULL);
  g_auto(GStrv) packages = ain_env_requirements_read(file, NULL);
  const AinEnvProbing probing = { .bootstrap_dir = plan->bootstrap,
                                  .packages = (const char *const *)packages,
                                  .limit_us = ain_look_limit(look, PROGRAM_LIMIT_US) };
  look->found.python = ain_env_probe_with(asked, &probing, NULL, &error);
  const AinInterpreter *python = look->found.python;
  if (python == NULL) {
    gboolean ours = plan->python == NULL && ain_env_venv_state(plan->venv) == AIN_VENV_OURS;
    ain_look_error(look, ours ? "lib/ainode env create -r" : NULL, "%s", error->message);
    return;
  }
  ain_look_ok(look, "CPython %s, %s%s%s%s", python->version, python->executable,
              strcmp(python->prefix, python->base_prefix) != 0 ? ", a virtual environment of " : "",
              strcmp(python->prefix, python->base_prefix) != 0 ? python->base_prefix : "",
              plan->python != NULL ? ", as named" : "");
}

/* There is no venv and none was named: a start would make one. */
static void look_for_base(AinLook *look, const AinEnvPlan *plan) {
  g_autoptr(GError) error = NULL;
  g_autoptr(AinInterpreter) ready =
      plan->wheelhouse == NULL && ain_env_venv_state(plan->venv) == AIN_VENV_ABSENT
          ? ain_env_ready(plan, NULL)
          : NULL;
  if (ready != NULL) {
    look_probed(look, plan, ready->executable);
    ain_look_ok(
        look,
        "none is named (-i, ain_interpreter_dir): the start uses this one, which has all that models need");
    return;
  }
  look->found.base = ain_env_find(plan->bootstrap, plan->wheelhouse != NULL, &error);
  if (look->found.base == NULL) {
    ain_look_error(look, NULL, "%s", error->message);
    return;
  }
  ain_look_ok(look, "none is named (-i, ain_interpreter_dir): the start will make %s with CPython %s, %s",
              plan->venv, look->found.base->version, look->found.base->executable);
}

void ain_check_interpreter(AinLook *look) {
  g_autoptr(GError) error = NULL;
  const AinEnvRequest request = { .home = look->request->home,
                                  .python = look->request->python,
                                  .no_install = TRUE };
  AinEnvPlan *plan = g_new0(AinEnvPlan, 1);
  if (!ain_env_plan(&request, plan, &error)) {
    g_free(plan);
    ain_look_error(look, NULL, "%s", error->message);
    return;
  }
  look->found.plan = plan;
  AinVenvState state = ain_env_venv_state(plan->venv);
  if (plan->python != NULL) {
    look_probed(look, plan, plan->python);
  } else if (state == AIN_VENV_OURS || state == AIN_VENV_OPERATOR) {
    g_autofree char *inside = g_build_filename(plan->venv, "bin", "python3", NULL);
    look_probed(look, plan, inside);
  } else {
    look_for_base(look, plan);
  }
}

/* --- what it lacks ---------------------------------------------------------------------------------------
 */

static void look_at_state(AinLook *look, const AinEnvPlan *plan) {
  AinVenvState state = ain_env_venv_state(plan->venv);
  g_autofree char *quoted = ain_env_mend_quote(plan->venv);
  g_autofree char *mend = g_strdup_printf("mv %s %s.old, or start with -i PYTHON", quoted, quoted);
  if (plan->python != NULL) {
    ain_look_ok(look, "not used, since an interpreter is named");
  } else if (state == AIN_VENV_FOREIGN) {
    ain_look_error(look, mend, "%s is not empty and not a virtual environment", plan->venv);
  } else if (state == AIN_VENV_HALF) {
    ain_look_warn(look, "lib/ainode env create",
                  "%s was begun and not finished: the next start makes it anew", plan->venv);
  } else {
    ain_look_ok(look, "%s: %s", plan->venv, ain_env_venv_state_text(state));
  }
}

void ain_check_venv(AinLook *look) {
  const AinEnvPlan *plan = look->facts->plan;
  const AinInterpreter *python = any_of(look);
  if (plan != NULL) {
    look_at_state(look, plan);
  }
  if (plan != NULL && plan->wheelhouse != NULL && makes_venv(look)
      && !ain_env_wheelhouse_exists(plan->wheelhouse, NULL)) {
    ain_look_error(
        look,
        "on a connected machine: bash lib/venv-bootstrap/make-wheelhouse.sh; and copy the archive there",
        "packages are to be installed offline, but there is no folder or archive %s", plan->wheelhouse);
  }
  if (python == NULL) {
    ain_look_skip(look, "there is no usable interpreter");
    return;
  }
  const char *lacks = !python->has_venv ? "venv" : !python->has_ensurepip ? "ensurepip" : NULL;
  g_autofree char *mend = mend_of(AIN_MEND_VENV, python);
  if (lacks == NULL) {
    ain_look_ok(look, "%s has the modules venv and ensurepip", python->executable);
  } else if (makes_venv(look)) {
    ain_look_error(look, mend, "%s lacks the %s module, so that no virtual environment can be made",
                   python->executable, lacks);
  } else {
    ain_look_ok(look, "%s lacks the %s module, which only making environments needs (%s)", python->executable,
                lacks, mend);
  }
}

/* Runs python with one line of code. Owned output, or NULL with *failed set to what it said. */
static char *ask(const AinLook *look, const AinInterpreter *python, const char *code, char **failed) {
  g_autoptr(GError) error = NULL;
  g_auto(AinEnvCapture) capture = { 0 };
  g_auto(GStrv) environment = ain_env_spawn_environment();
  char *argv[] = { python->executable, (char *)"-c", (char *)code, NULL };
  if (!ain_env_spawn_capture(argv, environment, ain_look_limit(look, PROGRAM_LIMIT_US), OUTPUT_MAX, &capture,
                             &error)) {
    *failed = g_strdup(error->message);
    return NULL;
  }
  if (capture.timed_out) {
    *failed = g_strdup("it did not end in time");
    return NULL;
  }
  if (!WIFEXITED(capture.status) || WEXITSTATUS(capture.status) != 0) {
    g_strchomp(capture.errors->str);
    const char *last = strrchr(capture.errors->str, '\n');
    *failed = g_strdup(last != NULL ? last + 1 : capture.errors->str);
    return NULL;
  }
  return g_strchomp(g_strndup(capture.output->str, capture.output->len));
}

void ain_check_ssl(AinLook *look) {
  if (no_python(look)) {
    return;
  }
  const AinInterpreter *python = any_of(look);
  g_autofree char *mend = mend_of(AIN_MEND_SSL, python);
  g_autofree char *failed = NULL;
  g_autofree char *library =
      python->has_ssl ? ask(look, python, "import ssl; print(ssl.OPENSSL_VERSION)", &failed) : NULL;
  gboolean offline = look->facts->plan != NULL && look->facts->plan->wheelhouse != NULL;
  if (library != NULL) {
    ain_look_ok(look, "%s", library);
  } else if (makes_venv(look) && !offline) {
    ain_look_error(look, mend, "%s has no usable ssl module (%s): pip cannot download", python->executable,
                   failed != NULL ? failed : "it is not there");
  } else {
    ain_look_warn(look, mend,
                  "%s has no usable ssl module (%s): pip cannot download into it, models run without",
                  python->executable, failed != NULL ? failed : "it is not there");
  }
}

static int compare_versions(const char *a, const char *b) {
  char *rest_a = NULL;
  char *rest_b = NULL;
  long major = strtol(a, &rest_a, 10) - strtol(b, &rest_b, 10);
  long minor = (*rest_a == '.' ? strtol(rest_a + 1, NULL, 10) : 0)
               - (*rest_b == '.' ? strtol(rest_b + 1, NULL, 10) : 0);
  return major != 0 ? (int)major : (int)minor;
}

void ain_check_pip(AinLook *look) {
  if (no_python(look)) {
    return;
  }
  const AinInterpreter *python = any_of(look);
  if (makes_venv(look)) {
    ain_look_ok(look, "the virtual environment brings its own");
  } else if (python->pip == NULL) {
    g_autofree char *mend = mend_of(AIN_MEND_PIP, python);
    gboolean needed = python->numpy == NULL || python->torch == NULL;
    if (needed) {
      ain_look_warn(look, mend, "%s has no pip, and packages are to be installed", python->executable);
    } else {
      ain_look_ok(look, "absent, and not needed: the packages are there");
    }
  } else if (compare_versions(python->pip, OLDEST_PIP) < 0) {
    g_autofree char *mend = mend_of(AIN_MEND_OLD_PIP, python);
    ain_look_warn(look, mend, "pip %s is too old for today's packages (%s is needed): it would compile them",
                  python->pip, OLDEST_PIP);
  } else {
    ain_look_ok(look, "pip %s%s", python->pip,
                python->externally_managed ? ", which the distribution forbids to install here" : "");
  }
}

/* Loads it as the runtime will, all symbols at once. */
void ain_check_libpython(AinLook *look) {
  static const char code[] = "import ctypes, os, sys; "
                             "ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW | os.RTLD_GLOBAL)";
  if (look->facts->python == NULL) {
    ain_look_skip(look, look->facts->base != NULL ? "the virtual environment is not made yet"
                                                  : "there is no usable interpreter");
    return;
  }
  const AinInterpreter *python = look->facts->python;
  if (python->libpython == NULL) {
    ain_look_ok(look, "%s has no shared libpython: the interpreter itself is executed, which works as well",
                python->executable);
    return;
  }
  g_autoptr(GError) error = NULL;
  g_auto(AinEnvCapture) capture = { 0 };
  g_auto(GStrv) environment = ain_env_spawn_environment();
  char *argv[] = { python->executable, (char *)"-c", (char *)code, python->libpython, NULL };
  if (!ain_env_spawn_capture(argv, environment, ain_look_limit(look, PROGRAM_LIMIT_US), OUTPUT_MAX, &capture,
                             &error)) {
    ain_look_skip(look, "%s", error->message);
    return;
  }
  const char *said = strrchr(g_strchomp(capture.errors->str), '\n');
  said = said != NULL ? said + 1 : capture.errors->str;
  /* An interpreter without ctypes says nothing about the library. */
  if (!capture.timed_out && WIFEXITED(capture.status)
      && (WEXITSTATUS(capture.status) == 0 || strstr(said, "ctypes") != NULL)) {
    ain_look_ok(look, "%s can be embedded", python->libpython);
  } else {
    g_autofree char *mend = mend_of(AIN_MEND_PYTHON, NULL);
    ain_look_error(look, mend, "%s cannot be loaded (%s): the interpreter is damaged", python->libpython,
                   capture.timed_out ? "it hangs" : said);
  }
}

void ain_check_python_mounts(AinLook *look) {
  const AinInterpreter *python = any_of(look);
  if (no_python(look)) {
    return;
  }
  g_autoptr(GPtrArray) folders = g_ptr_array_new();
  g_ptr_array_add(folders, python->prefix);
  g_ptr_array_add(folders, python->base_prefix);
  for (char **path = python->paths; *path != NULL; path++) {
    g_ptr_array_add(folders, *path);
  }
  if (makes_venv(look)) {
    g_ptr_array_add(folders, (gpointer)look->request->home);
  }
  for (guint i = 0; i < folders->len; i++) {
    const char *folder = g_ptr_array_index(folders, i);
    g_autofree char *mount = ain_path_mount(folder);
    if (ain_path_is_noexec(folder)) {
      g_autofree char *mend = g_strdup_printf("mount -o remount,exec %s, or use an environment elsewhere",
                                              mount != NULL ? mount : folder);
      ain_look_error(look, mend,
                     "%s lies on %s, which is mounted noexec: libraries of packages cannot be loaded from it",
                     folder, mount != NULL ? mount : "a file system");
      return;
    }
  }
  ain_look_ok(look, "libraries may be loaded from where the interpreter and its packages lie");
}
