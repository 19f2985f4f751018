/* stop, remove and config. */
#include "app/commands.h"

#include "app/instance.h"
#include "base/error.h"
#include "base/exit.h"
#include "base/fd.h"
#include "cluster/cluster.h"
#include "config/config.h"

#include <string.h>
#include <unistd.h>

#define STOP_RESERVE_MS 10000
#define STOP_WITHOUT_CONFIG_MS 30000
#define IDENTITY_MAX 65536u

void ain_app_options_clear(AinAppOptions *options) {
  g_clear_pointer(&options->home, g_free);
  g_clear_pointer(&options->config_file, g_free);
  g_clear_pointer(&options->overrides, g_strfreev);
  g_clear_pointer(&options->interpreter, g_free);
  g_clear_pointer(&options->mirror, g_free);
  g_clear_pointer(&options->wheelhouse, g_free);
}

gboolean ain_app_parse(AinAppOptions *options, const GOptionEntry *entries, const char *what,
                       const char *description, int max_arguments, int *argc, char ***argv) {
  gboolean version = FALSE;
  const GOptionEntry shared[] = {
    { "home", 0, 0, G_OPTION_ARG_FILENAME, &options->home, "Installation directory (or IOTDB_AINODE_HOME)",
      "DIR" },
    { "config", 'c', 0, G_OPTION_ARG_FILENAME, &options->config_file,
      "Configuration file (default: conf/iotdb-ainode.properties)", "FILE" },
    { "define", 'D', 0, G_OPTION_ARG_STRING_ARRAY, &options->overrides, "Set a configuration key",
      "KEY=VALUE" },
    /* answered by main() wherever it stands; here for --help */
    { "version", 0, 0, G_OPTION_ARG_NONE, &version, "Print version and build", NULL },
    G_OPTION_ENTRY_NULL,
  };
  g_autoptr(GOptionContext) context = g_option_context_new(what);
  g_autoptr(GError) error = NULL;
  g_option_context_set_strict_posix(context, max_arguments < 0);
  g_option_context_set_description(context, description);
  g_option_context_add_main_entries(context, shared, NULL);
  if (entries != NULL) {
    g_option_context_add_main_entries(context, entries, NULL);
  }
  if (!g_option_context_parse(context, argc, argv, &error)) {
    g_printerr("%s; see --help\n", error->message);
    return FALSE;
  }
  if (max_arguments >= 0 && *argc > max_arguments + 1) {
    g_printerr("'%s' is not understood after %s; see --help\n", (*argv)[max_arguments + 1], (*argv)[0]);
    return FALSE;
  }
  return TRUE;
}

void ain_app_find_home(AinAppOptions *options) {
  const char *variable = g_getenv("IOTDB_AINODE_HOME");
  g_autofree char *home = g_steal_pointer(&options->home);
  if (home == NULL && variable != NULL && *variable != '\0') {
    home = g_strdup(variable);
  }
  if (home == NULL) {
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = g_path_get_dirname(self == NULL ? "./ainode" : self);
    home = g_path_get_dirname(folder);
  }
  options->home = g_canonicalize_filename(home, NULL);
}

int ain_app_exit_code(const GError *error) {
  static const struct {
    AinErrorCode code;
    AinExit exit_code;
  } map[] = {
    { AIN_ERROR_INVALID, AIN_EXIT_CONFIGURATION },   { AIN_ERROR_INVALID_CONFIG, AIN_EXIT_CONFIGURATION },
    { AIN_ERROR_ENVIRONMENT, AIN_EXIT_ENVIRONMENT }, { AIN_ERROR_BUSY, AIN_EXIT_RUNNING },
    { AIN_ERROR_REJECTED, AIN_EXIT_REJECTED },
  };
  if (error == NULL) {
    return AIN_EXIT_OK;
  }
  for (gsize i = 0; i < G_N_ELEMENTS(map); i++) {
    if (g_error_matches(error, AIN_ERROR, (int)map[i].code)) {
      return map[i].exit_code;
    }
  }
  return AIN_EXIT_FAILURE;
}

static int fail(const GError *error) {
  g_printerr("%s\n", error->message);
  return ain_app_exit_code(error);
}

static AinConfig *load_config(AinAppOptions *options, GError **error) {
  ain_app_find_home(options);
  return ain_config_load(options->home, options->config_file, (const char *const *)options->overrides, error);
}

static int stop_process(pid_t pid, gint64 wait_ms) {
  g_autoptr(GError) error = NULL;
  g_print("Stopping the AINode (process %d); requests that run have up to %.0f s ...\n", (int)pid,
          (double)wait_ms / 1000);
  if (!ain_instance_stop(pid, wait_ms * 1000, &error)) {
    g_printerr("%s\n", error->message);
    return AIN_EXIT_FAILURE;
  }
  g_print("The AINode (process %d) has stopped.\n", (int)pid);
  return AIN_EXIT_OK;
}

/* The configuration is not needed to find it, so a broken one does not keep anybody from stopping. */
static int stop_at(AinAppOptions *options, const char *target) {
  g_autoptr(GError) error = NULL;
  pid_t pid = ain_instance_listener(target, &error);
  if (pid == 0) {
    g_printerr("%s\n", error->message);
    return AIN_EXIT_FAILURE;
  }
  if (!ain_instance_is_ainode(pid)) {
    g_printerr("Process %d listens on %s and is not an AINode; it is left alone.\n", (int)pid, target);
    return AIN_EXIT_FAILURE;
  }
  g_autoptr(AinConfig) config = load_config(options, NULL);
  return stop_process(pid, config == NULL ? STOP_WITHOUT_CONFIG_MS : config->drain_ms + STOP_RESERVE_MS);
}

int ain_app_stop_command(AinAppOptions *options, int argc, char **argv) {
  g_autofree char *target = NULL;
  const GOptionEntry entries[] = {
    { "target", 't', 0, G_OPTION_ARG_STRING, &target, "The AINode that listens there", "ADDRESS:PORT" },
    G_OPTION_ENTRY_NULL,
  };
  if (!ain_app_parse(options, entries, NULL, NULL, 0, &argc, &argv)) {
    return AIN_EXIT_USAGE;
  }
  if (target != NULL) {
    return stop_at(options, target);
  }
  g_autoptr(GError) error = NULL;
  g_autoptr(AinConfig) config = load_config(options, &error);
  if (config == NULL) {
    return fail(error);
  }
  pid_t pid = ain_instance_holder(config->system_dir);
  if (pid == 0) {
    g_printerr("No AINode to stop: none runs on %s.\n", config->system_dir);
    return AIN_EXIT_FAILURE;
  }
  return stop_process(pid, config->drain_ms + STOP_RESERVE_MS);
}

/* The id that this installation was given by the cluster, or -1. */
static gint32 own_id(const char *identity_file) {
  g_autoptr(GBytes) bytes = ain_file_read(identity_file, IDENTITY_MAX, NULL);
  g_auto(GStrv) lines = g_strsplit(bytes == NULL ? "" : g_bytes_get_data(bytes, NULL), "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    gint64 id = -1;
    if (g_str_has_prefix(*line, "ainode_id=")
        && g_ascii_string_to_signed(g_strchomp(*line + strlen("ainode_id=")), 10, 0, G_MAXINT32, &id, NULL)) {
      return (gint32)id;
    }
  }
  return -1;
}

/* "3", or the address and port that this installation is configured with; -1 stands for its own id. */
static gboolean parse_target(const AinConfig *config, const char *target, gint32 *id, GError **error) {
  gint64 number = -1;
  *id = -1;
  if (target == NULL) {
    return TRUE;
  }
  if (g_ascii_string_to_signed(target, 10, 0, G_MAXINT32, &number, NULL)) {
    *id = (gint32)number;
    return TRUE;
  }
  g_autofree char *own = g_strdup_printf("%s:%d", config->rpc_address, config->rpc_port);
  g_autofree char *own_v6 = g_strdup_printf("[%s]:%d", config->rpc_address, config->rpc_port);
  if (strcmp(target, own) == 0 || strcmp(target, own_v6) == 0) {
    return TRUE;
  }
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_INVALID,
      "'%s' is neither a node id nor the address of this AINode (%s): give the NodeID that SHOW CLUSTER "
      "prints",
      target, own);
  return FALSE;
}

/* What was removed from the cluster must not come back under the old id. */
static int forget(const AinConfig *config, const char *identity_file) {
  g_autoptr(GError) error = NULL;
  pid_t pid = ain_instance_holder(config->system_dir);
  if (pid != 0) {
    int code = stop_process(pid, config->drain_ms + STOP_RESERVE_MS);
    if (code != AIN_EXIT_OK) {
      return code;
    }
  }
  if (!ain_file_remove_tree(identity_file, &error)) {
    return fail(error);
  }
  g_print("The AINode is removed from the cluster; its models stay in %s.\n", config->models_dir);
  return AIN_EXIT_OK;
}

int ain_app_remove_command(AinAppOptions *options, int argc, char **argv) {
  g_autofree char *target = NULL;
  g_autofree char *python = NULL;
  const GOptionEntry entries[] = {
    { "target", 't', 0, G_OPTION_ARG_STRING, &target, "The node to remove (default: this one)",
      "ID|ADDRESS:PORT" },
    { "interpreter", 'i', G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &python, "Not needed", "PYTHON" },
    G_OPTION_ENTRY_NULL,
  };
  if (!ain_app_parse(options, entries, "[ID]", NULL, 1, &argc, &argv)) {
    return AIN_EXIT_USAGE;
  }
  g_autoptr(GError) error = NULL;
  g_autoptr(AinConfig) config = load_config(options, &error);
  gint32 id = -1;
  if (config == NULL || !parse_target(config, argc == 2 ? argv[1] : target, &id, &error)) {
    return fail(error);
  }
  g_autofree char *identity_file = g_build_filename(config->system_dir, "system.properties", NULL);
  gboolean own = id < 0 || id == own_id(identity_file);
  if (!ain_cluster_remove(config, id, &error)) {
    if (own && g_error_matches(error, AIN_ERROR, AIN_ERROR_REJECTED)) {
      /* Not done for the operator: the configuration may name the wrong cluster. */
      g_prefix_error(&error, "if this node was removed by SQL, delete %s and the next start registers anew: ",
                     identity_file);
    }
    return fail(error);
  }
  if (own) {
    return forget(config, identity_file);
  }
  g_print("Node %d is removed from the cluster.\n", (int)id);
  return AIN_EXIT_OK;
}

int ain_app_config_command(AinAppOptions *options, int argc, char **argv) {
  gboolean template = FALSE;
  gboolean markdown = FALSE;
  const GOptionEntry entries[] = {
    { "template", 0, 0, G_OPTION_ARG_NONE, &template, "Print the shipped configuration file instead", NULL },
    { "markdown", 0, 0, G_OPTION_ARG_NONE, &markdown, "Print the configuration page instead", NULL },
    G_OPTION_ENTRY_NULL,
  };
  if (!ain_app_parse(options, entries, NULL, NULL, 0, &argc, &argv)) {
    return AIN_EXIT_USAGE;
  }
  g_autofree char *text = NULL;
  if (template || markdown) {
    text = template ? ain_config_properties_template() : ain_config_markdown();
  } else {
    g_autoptr(GError) error = NULL;
    g_autoptr(AinConfig) config = load_config(options, &error);
    if (config == NULL) {
      return fail(error);
    }
    text = ain_config_print(config);
  }
  g_print("%s", text);
  return AIN_EXIT_OK;
}
