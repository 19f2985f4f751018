/* Stand-ins for the neighbours of the command line: a node that answers as its overrides say, a configuration
 * that is only directories, a cluster that knows node 7. */
#include "app/app.h"
#include "base/error.h"
#include "base/exit.h"
#include "cluster/cluster.h"
#include "config/config.h"

#include "app/commands.h"
#include "app/instance.h"
#include "app/query.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *override_of(const AinAppOptions *options, const char *key) {
  gsize size = strlen(key);
  for (char **one = options->overrides; one != NULL && *one != NULL; one++) {
    if (strncmp(*one, key, size) == 0 && (*one)[size] == '=') {
      return *one + size + 1;
    }
  }
  return NULL;
}

int ain_app_query_command(AinAppOptions *options, int argc, char **argv) {
  g_print("query home=%s sql=%s\n", options->home, argc == 2 ? argv[1] : "");
  return AIN_EXIT_OK;
}

/* -D outcome=ready|fail|busy|rejected|crash|hang; ready waits for SIGTERM. */
int ain_app_run(const AinAppOptions *options, GError **error) {
  const char *outcome = override_of(options, "outcome");
  g_print("home=%s python=%s mirror=%s flags=%d%d%d\n", options->home, options->interpreter, options->mirror,
          options->no_install, options->force, options->debug);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  g_autofree char *system_dir = g_build_filename(options->home, "data", NULL);
  g_autoptr(AinInstance) instance = ain_instance_acquire(system_dir, error);
  int signal_number = 0;
  if (instance == NULL) {
    return AIN_EXIT_RUNNING;
  }
  if (g_strcmp0(outcome, "ready") == 0 || g_strcmp0(outcome, "hang") == 0) {
    if (options->ready != NULL && g_strcmp0(outcome, "ready") == 0) {
      g_autofree char *text = g_strdup_printf("AINode runs as process %d.", (int)getpid());
      options->ready(text, options->ready_data);
    }
    sigwait(&set, &signal_number);
    return ain_app_exit_code(NULL); /* as the node does */
  }
  if (g_strcmp0(outcome, "crash") == 0) {
    _exit(9);
  }
  if (g_strcmp0(outcome, "rejected") == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_REJECTED, "the cluster has another name");
    return ain_app_exit_code(*error);
  }
  if (g_strcmp0(outcome, "fail") == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "no ConfigNode answers");
    return ain_app_exit_code(*error);
  }
  return ain_app_exit_code(NULL);
}

AinConfig *ain_config_load(const char *home, const char *file, const char *const *overrides, GError **error) {
  if (file != NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s, line 1: nonsense", file);
    return NULL;
  }
  AinConfig *config = g_new0(AinConfig, 1);
  config->home = g_strdup(home);
  config->system_dir = g_build_filename(home, "data", NULL);
  config->models_dir = g_build_filename(home, "models", NULL);
  config->rpc_address = g_strdup("127.0.0.1");
  config->rpc_port = 10810;
  config->drain_ms = overrides == NULL ? 0 : 1000;
  return config;
}

void ain_config_free(AinConfig *config) {
  g_free(config->home);
  g_free(config->system_dir);
  g_free(config->models_dir);
  g_free(config->rpc_address);
  g_free(config);
}

char *ain_config_print(const AinConfig *config) {
  return g_strdup_printf("system_dir=%s\n", config->system_dir);
}
char *ain_config_properties_template(void) {
  return g_strdup("# template\n");
}
char *ain_config_markdown(void) {
  return g_strdup("# page\n");
}

int ain_app_doctor_command(AinAppOptions *options, int argc, char **argv) {
  g_print("doctor of %s with %d arguments, first %s\n", options->home, argc, argv[0]);
  return AIN_EXIT_WARNINGS;
}

void ain_app_explain_failure(const AinAppOptions *options, int exit_code, const char *sentence) {
  if (exit_code != AIN_EXIT_OK) {
    g_printerr("doctor of %s after code %d: %s\n", options->home, exit_code, sentence);
  }
}

gboolean ain_cluster_remove(const AinConfig *config, gint32 id, GError **error) {
  if (id != -1 && id != 7) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_REJECTED, "there is no node %d in %s", id, config->home);
    return FALSE;
  }
  return TRUE;
}
