/* `ainode env`: the environment by hand. */
#include "base/error.h"
#include "base/exit.h"
#include "base/fd.h"
#include "env/ensure.h"
#include "env/env.h"
#include "env/update.h"

#include <string.h>

static const char description[] =
    "Actions:\n"
    "  check     say what the interpreter is and what it lacks (the default)\n"
    "  show      the same without a verdict, and the state of the venv\n"
    "  create    make or complete the venv of the installation (-r: make it anew)\n"
    "  update    bring the venv that AINode made to the versions of this release; it stays in use until that "
    "is done\n"
    "            and proved (-n: only say what would change)\n"
    "  install   install what is missing; with -i into that interpreter\n"
    "  remove    delete the venv that AINode made; one made by the operator is left alone\n\n"
    "Settings of conf/ainode-env.sh (ain_interpreter_dir, ain_force_reinstall, ain_install_offline,\n"
    "ain_torch_index) hold here too; options win. Exit codes: 0 ok, 1 failure, 2 usage, 3 settings, 4 "
    "environment.\n";

typedef struct {
  char *python;
  gboolean force;
  gboolean no_install;
  char *mirror;
  char *wheelhouse;
  char *requirements;
  char *home;
} Options;

static void options_clear(Options *options) {
  g_free(options->python);
  g_free(options->mirror);
  g_free(options->wheelhouse);
  g_free(options->requirements);
  g_free(options->home);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static int fail(const GError *error) {
  g_printerr("%s\n", error->message);
  if (g_error_matches(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT)) {
    return AIN_EXIT_ENVIRONMENT;
  }
  return g_error_matches(error, AIN_ERROR, AIN_ERROR_INVALID) ? AIN_EXIT_CONFIGURATION : AIN_EXIT_FAILURE;
}

static void print_row(const char *name, const char *value) {
  g_print("%-16s %s\n", name, value == NULL ? "absent" : value);
}

static void print_interpreter(const AinEnvPlan *plan, const AinInterpreter *python) {
  print_row("interpreter", python->executable);
  print_row("version", python->version);
  print_row("prefix", python->prefix);
  if (strcmp(python->prefix, python->base_prefix) != 0) {
    print_row("made from", python->base_prefix);
  }
  print_row("libpython", python->libpython == NULL ? "none shared: the interpreter is executed itself"
                                                   : python->libpython);
  print_row("numpy", python->numpy);
  print_row("torch", python->torch);
  print_row("pip", python->pip);
  for (char **package = python->packages; *package != NULL; package++) {
    char *equals = strstr(*package, "==");
    if (equals != NULL) {
      g_autofree char *name = g_strndup(*package, (gsize)(equals - *package));
      print_row(name, equals + 2);
    }
  }
  g_autofree char *missing = ain_env_plan_missing(plan, python);
  if (missing != NULL) {
    print_row("missing", missing);
  }
}

static int act_show(const AinEnvPlan *plan, GError **error) {
  print_row("venv", plan->venv);
  AinVenvState state = ain_env_venv_state(plan->venv);
  print_row("", ain_env_venv_state_text(state));
  if (plan->python == NULL && state != AIN_VENV_OURS && state != AIN_VENV_OPERATOR) {
    return AIN_EXIT_OK;
  }
  g_autoptr(AinInterpreter) python = ain_env_plan_probe(plan, NULL, error);
  if (python == NULL) {
    return AIN_EXIT_ENVIRONMENT;
  }
  print_interpreter(plan, python);
  return AIN_EXIT_OK;
}

static int act_check(const AinEnvPlan *plan, GError **error) {
  AinVenvState state = ain_env_venv_state(plan->venv);
  if (plan->python == NULL && state != AIN_VENV_OURS && state != AIN_VENV_OPERATOR) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "%s: %s", plan->venv,
                ain_env_venv_state_text(state));
    return AIN_EXIT_ENVIRONMENT;
  }
  g_autoptr(AinInterpreter) python = ain_env_plan_probe(plan, NULL, error);
  if (python == NULL) {
    return AIN_EXIT_ENVIRONMENT;
  }
  print_interpreter(plan, python);
  g_autoptr(GPtrArray) problems = ain_env_problems(python);
  for (guint i = 0; i < problems->len; i++) {
    g_printerr("%s\n", (const char *)g_ptr_array_index(problems, i));
  }
  g_autofree char *missing = ain_env_plan_missing(plan, python);
  if (problems->len == 0 && missing != NULL) {
    g_printerr("%s lacks %s of %s\n", python->executable, missing, plan->requirements);
  }
  return missing == NULL && problems->len == 0 ? AIN_EXIT_OK : AIN_EXIT_ENVIRONMENT;
}

/* create and install differ in one thing: only install touches an interpreter that the operator names. */
static int act_install(const AinEnvPlan *plan, GError **error) {
  g_autoptr(AinInterpreter) python =
      plan->python != NULL ? ain_env_plan_install(plan, error) : ain_env_plan_venv(plan, NULL, error);
  if (python == NULL) {
    return AIN_EXIT_FAILURE;
  }
  print_interpreter(plan, python);
  g_autofree char *missing = ain_env_plan_missing(plan, python);
  return missing == NULL ? AIN_EXIT_OK : AIN_EXIT_ENVIRONMENT;
}

static int act_create(const AinEnvPlan *plan, GError **error) {
  if (plan->python != NULL) {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
        "an interpreter is named (%s, by -i or ain_interpreter_dir), so no venv is made; to install into "
        "that interpreter use: env install",
        plan->python);
    return AIN_EXIT_ENVIRONMENT;
  }
  return act_install(plan, error);
}

static int act_update(const AinEnvPlan *plan, GError **error) {
  g_autofree char *said = NULL;
  gboolean current = FALSE;
  if (!ain_env_update(plan, &said, &current, error)) {
    return AIN_EXIT_FAILURE;
  }
  g_print("%s\n", said);
  return current ? AIN_EXIT_OK : AIN_EXIT_ENVIRONMENT;
}

static int act_remove(const AinEnvPlan *plan, GError **error) {
  ain_fd int lock_fd = ain_env_venv_lock(plan->venv, error);
  if (lock_fd < 0 || !ain_env_update_recover(plan->venv, error) || !ain_env_venv_remove(plan->venv, error)) {
    return AIN_EXIT_FAILURE;
  }
  g_print("%s is removed.\n", plan->venv);
  return AIN_EXIT_OK;
}

static const struct {
  const char *name;
  int (*act)(const AinEnvPlan *plan, GError **error);
} actions[] = {
  { "check", act_check },   { "show", act_show },       { "create", act_create },
  { "update", act_update }, { "install", act_install }, { "remove", act_remove },
};

static gboolean parse(Options *options, int *argc, char ***argv, GError **error) {
  gboolean version = FALSE;
  const GOptionEntry entries[] = {
    { "interpreter", 'i', 0, G_OPTION_ARG_FILENAME, &options->python, "Use this interpreter, not the venv",
      "PYTHON" },
    { "reinstall", 'r', 0, G_OPTION_ARG_NONE, &options->force, "Make our venv anew; install again", NULL },
    { "no-install", 'n', 0, G_OPTION_ARG_NONE, &options->no_install, "Create and install nothing", NULL },
    { "mirror", 'm', 0, G_OPTION_ARG_STRING, &options->mirror, "Package index for pip", "URL" },
    { "wheelhouse", 0, 0, G_OPTION_ARG_FILENAME, &options->wheelhouse,
      "Install from this folder of wheels, or an archive of it, without a network", "DIR|ARCHIVE" },
    { "home", 0, 0, G_OPTION_ARG_FILENAME, &options->home, "Installation directory (or IOTDB_AINODE_HOME)",
      "DIR" },
    { "requirements", 0, 0, G_OPTION_ARG_FILENAME, &options->requirements,
      "What must be there (default: requirements/core.txt)", "FILE" },
    /* answered by main() wherever it stands; here for --help */
    { "version", 0, 0, G_OPTION_ARG_NONE, &version, "Print version and build", NULL },
    G_OPTION_ENTRY_NULL,
  };
  g_autoptr(GOptionContext) context = g_option_context_new("check|show|create|update|install|remove");
  g_option_context_set_description(context, description);
  g_option_context_add_main_entries(context, entries, NULL);
  return g_option_context_parse(context, argc, argv, error);
}

static int usage(const char *message) {
  g_printerr("%s; see: ainode env --help\n", message);
  return AIN_EXIT_USAGE;
}

int ain_env_command(int argc, char **argv, const char *home) {
  g_auto(Options) options = { 0 };
  g_autoptr(GError) error = NULL;
  if (!parse(&options, &argc, &argv, &error)) {
    return usage(error->message);
  }
  if (argc > 2) {
    return usage("one action at a time is allowed");
  }
  const char *name = argc == 2 ? argv[1] : actions[0].name;
  g_autofree char *named = options.home != NULL ? g_canonicalize_filename(options.home, NULL) : NULL;
  const AinEnvRequest request = { .home = named != NULL ? named : home,
                                  .python = options.python,
                                  .no_install = options.no_install,
                                  .force_reinstall = options.force,
                                  .mirror = options.mirror,
                                  .wheelhouse = options.wheelhouse,
                                  .requirements = options.requirements };
  for (gsize i = 0; i < G_N_ELEMENTS(actions); i++) {
    if (strcmp(name, actions[i].name) == 0) {
      g_auto(AinEnvPlan) plan = { 0 };
      if (!ain_env_plan(&request, &plan, &error)) {
        return fail(error);
      }
      int code = actions[i].act(&plan, &error);
      return error == NULL ? code : fail(error);
    }
  }
  g_autofree char *message = g_strdup_printf("'%s' is not an action", name);
  return usage(message);
}
