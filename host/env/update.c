/* See update.h. A venv holds absolute paths in its scripts only, and those are rewritten for the final place;
 * the interpreter finds itself by pyvenv.cfg beside it. */
#include "env/update.h"

#include "base/error.h"
#include "base/fd.h"
#include "env/mend.h"
#include "env/probe.h"
#include "env/record.h"
#include "env/requirements.h"
#include "env/spawn.h"
#include "env/wheelhouse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SCRIPT_MAX 65536u
#define OUTPUT_MAX 65536u
#define LIMIT_US                                                                                             \
  (G_GINT64_CONSTANT(1800) * G_USEC_PER_SEC) /* gigabytes may be copied where links are not possible */
#define SETS_MAX 16u

/* Beside the folder that the venv really is, which may be a link's target. */
typedef struct {
  char *real;
  char *fresh; /* the copy at work; after an exchange, what was used before */
  char *aside; /* between two renames, what was used before */
} Places;

static void places_clear(Places *places) {
  g_free(places->real);
  g_free(places->fresh);
  g_free(places->aside);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Places, places_clear)

static void find_places(const char *venv, Places *places) {
  char *real = realpath(venv, NULL);
  places->real = g_strdup(real != NULL ? real : venv);
  free(real); /* not GLib's */
  places->fresh = g_strconcat(places->real, ".ainode-new", NULL);
  places->aside = g_strconcat(places->real, ".ainode-old", NULL);
}

gboolean ain_env_update_recover(const char *venv, GError **error) {
  g_auto(Places) places = { 0 };
  find_places(venv, &places);
  if (ain_env_venv_state(places.real) == AIN_VENV_ABSENT && ain_env_venv_state(places.aside) == AIN_VENV_OURS
      && rename(places.aside, places.real) != 0) {
    ain_error_set_errno(error, AIN_ERROR_ENVIRONMENT, errno, "cannot put %s back to %s", places.aside,
                        places.real);
    return FALSE;
  }
  return ain_env_venv_remove(places.fresh, error) && ain_env_venv_remove(places.aside, error);
}

/* --- asking the venv's interpreter -----------------------------------------------------------------------
 */

/* Runs a program of the bootstrap folder and returns the row `key` of its answer. words: NULL-terminated. */
static char *ask(const AinEnvPlan *plan, const char *python, const char *program, const char *const *words,
                 const char *key, GError **error) {
  g_autofree char *file = g_build_filename(plan->bootstrap, program, NULL);
  g_autoptr(GBytes) text = ain_file_read(file, SCRIPT_MAX, error);
  if (text == NULL) {
    return NULL;
  }
  g_autofree char *word = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
  g_autoptr(GPtrArray) argv = g_ptr_array_new();
  const void *const first[] = { python, "-I", "-c", g_bytes_get_data(text, NULL), word };
  for (gsize i = 0; i < G_N_ELEMENTS(first); i++) {
    g_ptr_array_add(argv, (gpointer)first[i]);
  }
  for (const char *const *one = words; *one != NULL; one++) {
    g_ptr_array_add(argv, (gpointer)*one);
  }
  g_ptr_array_add(argv, NULL);
  g_auto(GStrv) environment = ain_env_spawn_environment();
  g_auto(AinEnvCapture) capture = { 0 };
  if (!ain_env_spawn_capture((char **)argv->pdata, environment, LIMIT_US, OUTPUT_MAX, &capture, error)) {
    return NULL;
  }
  g_autofree char *record = ain_env_record_find(capture.output->str, capture.output->len, word);
  char *value = record == NULL ? NULL : ain_env_record_value(record, key);
  if (value == NULL) {
    g_autofree char *said = record == NULL ? NULL : ain_env_record_value(record, "error");
    g_autofree char *ended = WIFSIGNALED(capture.status)
                                 ? g_strdup_printf("ended by signal %d", WTERMSIG(capture.status))
                                 : g_strdup("no answer");
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "%s %s with %s: %s", program, words[0], python,
                said != NULL ? said : ended);
  }
  return value;
}

/* One of the commands of update.py with up to two arguments. */
static char *ask_update(const AinEnvPlan *plan, const char *python, const char *command, const char *from,
                        const char *to, GError **error) {
  const char *const words[] = { command, from, to, NULL };
  return ask(plan, python, "update.py", words, "text", error);
}

static char *differences(const AinEnvPlan *plan, const char *python, char **files, GError **error) {
  g_autoptr(GPtrArray) words = g_ptr_array_new();
  g_ptr_array_add(words, (gpointer) "differences");
  for (char **file = files; *file != NULL; file++) {
    g_ptr_array_add(words, *file);
  }
  g_ptr_array_add(words, NULL);
  return ask(plan, python, "update.py", (const char *const *)words->pdata, "text", error);
}

/* --- which sets ------------------------------------------------------------------------------------------
 */

/* Whether everything that the file names is in the venv. A file that cannot be read is not ours to judge. */
static gboolean has_all(const AinEnvPlan *plan, const char *python, const char *file) {
  AinEnvPlan other = *plan;
  g_auto(GStrv) names = ain_env_requirements_read(file, NULL);
  if (names == NULL) {
    return FALSE;
  }
  const AinEnvProbing probing = { .bootstrap_dir = plan->bootstrap, .packages = (const char *const *)names };
  g_autoptr(AinInterpreter) found = ain_env_probe_with(python, &probing, NULL, NULL);
  other.names = names;
  g_autofree char *missing = found == NULL ? NULL : ain_env_plan_missing(&other, found);
  return found != NULL && missing == NULL;
}

/* The further sets that the venv has, besides core: NULL-terminated, may be empty. pip's own is left to the
 * installation, which renews it where it must. */
static char **further_sets(const AinEnvPlan *plan, const char *python) {
  GPtrArray *sets = g_ptr_array_new();
  g_autofree char *folder = g_path_get_dirname(plan->requirements);
  g_autofree char *own = g_path_get_basename(plan->requirements);
  g_autoptr(GDir) directory = strcmp(own, "core.txt") == 0 ? g_dir_open(folder, 0, NULL) : NULL;
  const char *name;
  while (directory != NULL && sets->len < SETS_MAX && (name = g_dir_read_name(directory)) != NULL) {
    g_autofree char *file = g_build_filename(folder, name, NULL);
    if (g_str_has_suffix(name, ".txt") && strcmp(name, own) != 0 && strcmp(name, "pip.txt") != 0
        && has_all(plan, python, file)) {
      g_ptr_array_add(sets, g_steal_pointer(&file));
    }
  }
  g_ptr_array_add(sets, NULL);
  return (char **)g_ptr_array_free(sets, FALSE);
}

/* --- the work --------------------------------------------------------------------------------------------
 */

typedef struct {
  const AinEnvPlan *plan;
  const AinEnvInstall *what;
  const Places *places;
  char **files; /* the locks or ranges that count */
  int lock_fd;
  gboolean keep_fresh; /* what lies there is the venv that was in use: do not delete it */
} Update;

/* numpy and torch are imported and used, where the plan asks for them. */
static gboolean imports(const Update *update, const char *python, GError **error) {
  static const char *const proved[] = { "numpy", "torch", NULL };
  for (const char *const *name = proved; *name != NULL; name++) {
    if (!g_strv_contains((const char *const *)update->plan->names, *name)) {
      continue;
    }
    const char *const words[] = { *name, NULL };
    g_autofree char *version = ask(update->plan, python, "imports.py", words, "version", error);
    if (version == NULL) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean prove(const Update *update, const char *python, GError **error) {
  g_autofree char *left = differences(update->plan, python, update->files, error);
  if (left != NULL && *left != '\0') {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "after the installation %s", left);
    return FALSE;
  }
  return left != NULL && imports(update, python, error);
}

/* The copy, changed and proved; it has the mark of a whole venv then. */
static gboolean make_fresh(const Update *update, const AinInterpreter *used, GError **error) {
  const Places *places = update->places;
  g_autofree char *python = g_build_filename(places->fresh, "bin", "python3", NULL);
  const AinEnvProbing probing = { .bootstrap_dir = update->plan->bootstrap };
  if (!ain_env_venv_begin(places->fresh, error)) {
    return FALSE;
  }
  g_autofree char *copied =
      ask_update(update->plan, used->executable, "copy", places->real, places->fresh, error);
  g_autoptr(AinInterpreter) fresh = copied == NULL ? NULL : ain_env_probe_with(python, &probing, NULL, error);
  if (fresh == NULL || !ain_env_pip_install(fresh, update->what, update->lock_fd, error)
      || !prove(update, python, error)) {
    return FALSE;
  }
  g_autofree char *settled =
      ask_update(update->plan, python, "settle", places->fresh, update->plan->venv, error);
  return settled != NULL && ain_env_venv_finish(places->fresh, error);
}

/* The two folders change places: at once, or by two renames where the file system cannot do that. */
static gboolean exchange(const Places *places, GError **error) {
  if (renameat2(AT_FDCWD, places->fresh, AT_FDCWD, places->real, RENAME_EXCHANGE) == 0) {
    return TRUE;
  }
  if ((errno == EINVAL || errno == ENOSYS) && rename(places->real, places->aside) == 0) {
    if (rename(places->fresh, places->real) == 0) {
      (void)rename(places->aside, places->fresh); /* else the next update clears it away */
      return TRUE;
    }
    int code = errno;
    (void)rename(places->aside, places->real);
    errno = code;
  }
  ain_error_set_errno(error, AIN_ERROR_ENVIRONMENT, errno, "cannot put %s into the place of %s",
                      places->fresh, places->real);
  return FALSE;
}

/* After this the plan's venv is the new one, or as it was. */
static gboolean replace(Update *update, GError **error) {
  if (!exchange(update->places, error)) {
    return FALSE;
  }
  g_autoptr(AinInterpreter) python = ain_env_plan_probe(update->plan, NULL, error);
  if (python != NULL) {
    return TRUE;
  }
  g_autoptr(GError) second = NULL;
  if (!exchange(update->places, &second)) {
    update->keep_fresh = TRUE;
    g_prefix_error(error, "the old environment is in %s (%s): ", update->places->fresh, second->message);
  }
  return FALSE;
}

static gboolean run(Update *update, const AinInterpreter *used, char **said, GError **error) {
  const Places *places = update->places;
  if (!make_fresh(update, used, error)) {
    return FALSE;
  }
  g_autofree char *python = g_build_filename(places->fresh, "bin", "python3", NULL);
  g_autofree char *changes = ask_update(update->plan, python, "changes", places->real, places->fresh, error);
  if (changes == NULL || !replace(update, error)) {
    return FALSE;
  }
  *said = g_strdup_printf("%s is updated: %s", update->plan->venv,
                          *changes == '\0' ? "everything was installed again" : changes);
  return TRUE;
}

/* Locked. */
static gboolean bring_up(const AinEnvPlan *plan, const AinInterpreter *used, int lock_fd, char **said,
                         gboolean *current, GError **error) {
  g_auto(AinEnvWheelhouse) wheels = { 0 };
  g_autofree char *place = g_strconcat(plan->venv, ".wheels", NULL);
  if (plan->wheelhouse != NULL && !ain_env_wheelhouse_open(plan->wheelhouse, place, used, &wheels, error)) {
    return FALSE;
  }
  g_auto(GStrv) sets = further_sets(plan, used->executable);
  g_autofree char *pip_lock = g_build_filename(plan->bootstrap, "requirements", "pip.lock", NULL);
  AinEnvInstall what = ain_env_plan_what(plan, FALSE, wheels.folder, pip_lock);
  what.more = (const char *const *)sets;
  what.force = plan->force;
  what.renew = TRUE;
  g_autofree char *why = NULL;
  g_auto(GStrv) files = ain_env_pip_files(used, &what, &why);
  g_autofree char *differs = differences(plan, used->executable, files, error);
  if (differs == NULL) {
    return FALSE;
  }
  *current = *differs == '\0' && (!plan->force || plan->no_install);
  if (*current || plan->no_install) {
    *said = *differs == '\0'
                ? g_strdup_printf("%s has what this release asks for; nothing had to be changed", plan->venv)
                : g_strdup_printf("%s is to be updated: %s", plan->venv, differs);
    return TRUE;
  }
  g_auto(Places) places = { 0 };
  find_places(plan->venv, &places);
  Update update = { .plan = plan, .what = &what, .places = &places, .files = files, .lock_fd = lock_fd };
  *current = run(&update, used, said, error);
  if (!*current) {
    g_prefix_error(error, "%s stays as it was: ", plan->venv);
  }
  g_autoptr(GError) left = NULL;
  if (!update.keep_fresh && !ain_env_venv_remove(places.fresh, &left)) {
    g_warning("%s stays behind: %s", places.fresh, left->message);
  }
  return *current;
}

/* Only a venv that we made, and finished, is changed. */
static gboolean may_update(const AinEnvPlan *plan, GError **error) {
  AinVenvState state = ain_env_venv_state(plan->venv);
  if (plan->python != NULL) {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_INVALID,
        "an interpreter is named (%s, by -i or ain_interpreter_dir), and update changes only the venv that "
        "AINode made; to install what that interpreter lacks use: env install",
        plan->python);
  } else if (state == AIN_VENV_OPERATOR) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "%s was made by you, so AINode replaces no version in it: update it with its own pip "
                "(bin/pip install -U -r %s), or delete it and run: env create",
                plan->venv, plan->requirements);
  } else if (state != AIN_VENV_OURS) {
    g_autofree char *program = ain_env_mend_program();
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "%s is %s, so there is nothing to update; to make it: %s env create", plan->venv,
                state == AIN_VENV_HALF      ? "not finished"
                : state == AIN_VENV_FOREIGN ? "no virtual environment"
                                            : "absent",
                program);
  } else {
    return TRUE;
  }
  return FALSE;
}

gboolean ain_env_update(const AinEnvPlan *plan, char **said, gboolean *current, GError **error) {
  *current = FALSE;
  if (plan->python != NULL) {
    return may_update(plan, error);
  }
  ain_fd int lock_fd = ain_env_venv_lock(plan->venv, error);
  if (lock_fd < 0 || !ain_env_update_recover(plan->venv, error) || !may_update(plan, error)) {
    return FALSE;
  }
  g_autoptr(AinInterpreter) used = ain_env_plan_probe_venv(plan, NULL, error);
  return used != NULL && bring_up(plan, used, lock_fd, said, current, error);
}
