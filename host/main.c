/* The ainode program: options, the choice of a command, exit codes. */
#include "app/app.h"
#include "app/commands.h"
#include "app/daemon.h"
#include "app/query.h"
#include "base/exit.h"
#include "env/env.h"

#include "ain-version.h"
#include <locale.h>
#include <malloc.h>
#include <string.h>

static const char description[] =
    "Commands:\n"
    "  start             run the node (-d: in the background)\n"
    "  stop              stop the node of this installation (-t: the one at an address)\n"
    "  remove [ID]       remove this node, or node ID, from the cluster\n"
    "  config            print every configuration key, its value and where it comes from\n"
    "  query [SQL]       ask the DataNode that this node reads from, or check that it accepts the login\n"
    "  doctor            say what is wrong with this installation, machine or cluster, and what mends it\n"
    "  env ACTION        check, show, create, update, install, remove the Python environment\n"
    "Each has its own --help.\n\n"
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 configuration, 4 environment, 5 already running, 6 rejected by\n"
    "the cluster, 7 (doctor) warnings.\n";

static void tell_ready(const char *sentence, gpointer data) {
  ain_daemon_tell(data, AIN_EXIT_OK, sentence);
}

static int run(AinAppOptions *options) {
  /* The helpers share one heap beside the loop's: a heap for each would keep what its busiest moment took, so
   * that memory went on growing for as long as each had not yet met its largest piece of work. */
  (void)mallopt(M_ARENA_MAX, 2); /* NOLINT(concurrency-mt-unsafe): there is one thread */
  g_autoptr(GError) error = NULL;
  g_autoptr(AinDaemon) daemon = NULL;
  if (options->daemon) {
    g_autofree char *sentence = NULL;
    int outcome = ain_daemon_enter(&daemon, &sentence);
    if (outcome >= 0) { /* we are the one who waited */
      ain_app_explain_failure(options, outcome, sentence);
      return outcome;
    }
    options->ready = tell_ready;
    options->ready_data = daemon;
  } else {
    ain_daemon_lead_group();
  }
  int code = ain_app_run(options, &error);
  if (error != NULL && daemon != NULL) {
    ain_daemon_tell(daemon, code, error->message);
  } else if (error != NULL) {
    g_printerr("%s\n", error->message);
    ain_app_explain_failure(options, code, error->message);
  }
  return code;
}

static int start(AinAppOptions *options, int argc, char **argv) {
  g_autofree char *ignored = NULL;
  const GOptionEntry entries[] = {
    { "interpreter", 'i', 0, G_OPTION_ARG_FILENAME, &options->interpreter,
      "Run models with this Python; nothing is installed into it", "PYTHON" },
    { "daemon", 'd', 0, G_OPTION_ARG_NONE, &options->daemon, "Run in the background", NULL },
    { "reinstall", 'r', 0, G_OPTION_ARG_NONE, &options->force, "Make the venv of the installation anew",
      NULL },
    { "no-install", 'n', 0, G_OPTION_ARG_NONE, &options->no_install, "Create and install nothing", NULL },
    { "mirror", 'm', 0, G_OPTION_ARG_STRING, &options->mirror, "Package index for pip", "URL" },
    { "wheelhouse", 0, 0, G_OPTION_ARG_FILENAME, &options->wheelhouse,
      "Install from this folder of wheels, or an archive of it, without a network", "DIR|ARCHIVE" },
    { "verbose", 'v', 0, G_OPTION_ARG_NONE, &options->debug, "Log more", NULL },
    { "target", 't', G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &ignored, "Taken and ignored, as ever",
      "ANY" },
    G_OPTION_ENTRY_NULL,
  };
  if (!ain_app_parse(options, entries, NULL, NULL, 0, &argc, &argv)) {
    return AIN_EXIT_USAGE;
  }
  ain_app_find_home(options);
  return run(options);
}

static int environment(AinAppOptions *options, int argc, char **argv) {
  ain_app_find_home(options);
  return ain_env_command(argc, argv, options->home);
}

static const struct {
  const char *name;
  int (*run)(AinAppOptions *options, int argc, char **argv);
  gboolean logs; /* it says itself where warnings go */
} commands[] = {
  { "start", start, TRUE },
  { "stop", ain_app_stop_command, FALSE },
  { "remove", ain_app_remove_command, FALSE },
  { "config", ain_app_config_command, FALSE },
  { "query", ain_app_query_command, FALSE },
  { "doctor", ain_app_doctor_command, TRUE },
  { "env", environment, FALSE },
};

/* What a command warns of while it works stands beside what it says, without GLib's frame. */
static void tell_plainly(const char *domain, GLogLevelFlags level, const char *message, gpointer data) {
  (void)domain;
  (void)data;
  if ((level & (G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG)) == 0) {
    g_printerr("%s\n", message);
  }
}

static int dispatch(AinAppOptions *options, int argc, char **argv) {
  /* With every command, before anything else: scripts pass it on to theirs. */
  if (g_strv_contains((const char *const *)argv, "--version")) {
    g_print("AINode %s (%s)\n", AIN_VERSION, AIN_BUILD_INFO);
    return AIN_EXIT_OK;
  }
  if (!ain_app_parse(options, NULL, "COMMAND ...", description, -1, &argc, &argv)) {
    return AIN_EXIT_USAGE;
  }
  for (gsize i = 0; argc > 1 && i < G_N_ELEMENTS(commands); i++) {
    if (strcmp(argv[1], commands[i].name) == 0) {
      g_autofree char *name = g_strconcat("ainode ", commands[i].name, NULL);
      g_set_prgname(name);
      if (!commands[i].logs) {
        g_log_set_default_handler(tell_plainly, NULL);
      }
      return commands[i].run(options, argc - 1, argv + 1);
    }
  }
  if (argc > 1) {
    g_printerr("'%s' is not a command; see: ainode --help\n", argv[1]);
  } else {
    g_printerr(
        "a command is missing: start, stop, remove, config, query, doctor or env; see: ainode --help\n");
  }
  return AIN_EXIT_USAGE;
}

int main(int argc, char **argv) {
  ain_daemon_open_standard_fds();
  /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
  (void)setlocale(LC_CTYPE, ""); /* before any thread: messages and paths in the operator's encoding */
  AinAppOptions options = { 0 };
  int code = dispatch(&options, argc, argv);
  ain_app_options_clear(&options);
  return code;
}
