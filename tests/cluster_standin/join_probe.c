/* Runs host/cluster alone and prints what happens, one "key=value ..." line an event, for test_join.py. */
#include "ain-version.h"
#include "base/error.h"
#include "base/loop.h"
#include "cluster/cluster.h"

#include <stdio.h>
#include <stdlib.h>

static char *seeds_text = NULL;
static char *cluster_name = NULL;
static char *system_dir = NULL;
static char *address = NULL;
static char *version = NULL;
static char *find_text = NULL;
static int port = 10810;
static int wait_ms = 5000;
static int run_ms = 0;
static int free_after_ms = -1;
static int refresh_ms = -1;
static int evidence = 0;
static int remove_id = -2;
static gboolean compact = FALSE;
static gboolean await_release = FALSE;

static GOptionEntry entries[] = {
  { "seeds", 0, 0, G_OPTION_ARG_STRING, &seeds_text, "host:port,...", NULL },
  { "cluster-name", 0, 0, G_OPTION_ARG_STRING, &cluster_name, "", NULL },
  { "system-dir", 0, 0, G_OPTION_ARG_STRING, &system_dir, "", NULL },
  { "address", 0, 0, G_OPTION_ARG_STRING, &address, "advertised", NULL },
  { "port", 0, 0, G_OPTION_ARG_INT, &port, "advertised", NULL },
  { "version", 0, 0, G_OPTION_ARG_STRING, &version, "auto or a release", NULL },
  { "wait-ms", 0, 0, G_OPTION_ARG_INT, &wait_ms, "config_node_wait_ms", NULL },
  { "run-ms", 0, 0, G_OPTION_ARG_INT, &run_ms, "how long to stay after joining", NULL },
  { "free-after-ms", 0, 0, G_OPTION_ARG_INT, &free_after_ms, "free the cluster whatever it does", NULL },
  { "refresh-ms", 0, 0, G_OPTION_ARG_INT, &refresh_ms, "as when 50 peers come so long after joining", NULL },
  { "evidence", 0, 0, G_OPTION_ARG_INT, &evidence, "families seen", NULL },
  { "await-release", 0, 0, G_OPTION_ARG_NONE, &await_release, "end at the first change of release", NULL },
  { "compact", 0, 0, G_OPTION_ARG_NONE, &compact, "", NULL },
  { "remove", 0, 0, G_OPTION_ARG_INT, &remove_id, "remove this id (-1: own) and end", NULL },
  { "find", 0, 0, G_OPTION_ARG_STRING, &find_text, "print the id of the AINode at host:port and end", NULL },
  G_OPTION_ENTRY_NULL,
};

typedef struct {
  AinLoop *loop;
  AinCluster *cluster;
  gint64 start;
} Probe;

static double elapsed_ms(const Probe *probe) {
  return (double)(ain_loop_now() - probe->start) / 1000;
}

static void print_error(const Probe *probe, const GError *error) {
  printf("failed ms=%.1f code=%d message=%s\n", elapsed_ms(probe), error->code, error->message);
  fflush(stdout);
}

static void quit(gpointer data) {
  Probe *probe = data;
  ain_loop_quit(probe->loop);
}

static void released(AinFamily family, gpointer data) {
  Probe *probe = data;
  printf("release ms=%.1f family=%d\n", elapsed_ms(probe), (int)family);
  fflush(stdout);
  if (await_release) {
    ain_loop_quit(probe->loop);
  }
}

static void refresh(gpointer data) {
  Probe *probe = data;
  for (guint i = 0; i < 50; i++) {
    ain_cluster_refresh(probe->cluster);
  }
}

static void joined(const GError *error, gpointer data) {
  Probe *probe = data;
  if (error != NULL) {
    print_error(probe, error);
    ain_loop_quit(probe->loop);
    return;
  }
  printf("joined ms=%.1f node=%d\n", elapsed_ms(probe), ain_cluster_node_id(probe->cluster));
  fflush(stdout);
  if (evidence != 0) {
    ain_cluster_add_evidence(probe->cluster, (AinFamilies)evidence);
  }
  if (refresh_ms >= 0) {
    ain_loop_timer(probe->loop, ain_loop_now() + (gint64)refresh_ms * 1000, refresh, probe);
  }
  ain_loop_timer(probe->loop, ain_loop_now() + (gint64)run_ms * 1000, quit, probe);
}

static AinEndpoint parse_endpoint(const char *text) {
  const char *colon = strrchr(text, ':');
  g_autofree char *host = g_strndup(text, (gsize)(colon - text));
  gboolean bracketed = host[0] == '[';
  AinEndpoint endpoint = { g_strndup(host + bracketed, strlen(host) - 2 * (gsize)bracketed),
                           (guint16)strtoul(colon + 1, NULL, 10) };
  return endpoint;
}

static void fill_config(AinConfig *config) {
  g_auto(GStrv) seeds = g_strsplit(seeds_text != NULL ? seeds_text : "", ",", -1);
  config->seeds = g_new0(AinEndpoint, g_strv_length(seeds) + 1);
  for (guint i = 0; seeds[i] != NULL; i++) {
    config->seeds[config->n_seeds++] = parse_endpoint(seeds[i]);
  }
  config->cluster_name = cluster_name != NULL ? cluster_name : g_strdup("defaultCluster");
  config->cluster_version = version != NULL ? version : g_strdup("auto");
  config->rpc_address = address != NULL ? address : g_strdup("127.0.0.1");
  config->system_dir = system_dir != NULL ? system_dir : g_strdup(".");
  config->rpc_port = (guint16)port;
  config->config_node_wait_ms = wait_ms;
  config->thrift_compression = compact;
}

static void clear_config(AinConfig *config) {
  for (guint i = 0; i < config->n_seeds; i++) {
    g_free(config->seeds[i].host);
  }
  g_free(config->seeds);
  g_free(config->cluster_name);
  g_free(config->cluster_version);
  g_free(config->rpc_address);
  g_free(config->system_dir);
}

static int run_by_hand(const AinConfig *config) {
  Probe probe = { .start = ain_loop_now() };
  g_autoptr(GError) error = NULL;
  gint32 id = remove_id;
  gboolean ok = TRUE;
  if (find_text != NULL) {
    AinEndpoint endpoint = parse_endpoint(find_text);
    ok = ain_cluster_find(config, &endpoint, &id, &error);
    g_free(endpoint.host);
  } else {
    ok = ain_cluster_remove(config, id, &error);
  }
  if (!ok) {
    print_error(&probe, error);
    return 1;
  }
  printf("done ms=%.1f node=%d\n", elapsed_ms(&probe), id);
  return 0;
}

static int run_join(const AinConfig *config) {
  g_autoptr(GError) error = NULL;
  Probe probe = { .start = ain_loop_now() };
  probe.loop = ain_loop_new(1, &error);
  g_assert_no_error(error);
  probe.cluster = ain_cluster_new(probe.loop, config);
  printf("start node=%d family=%d version=%s build=%s\n", ain_cluster_node_id(probe.cluster),
         (int)ain_cluster_release(probe.cluster), AIN_VERSION, AIN_BUILD_INFO);
  ain_cluster_on_release(probe.cluster, released, &probe);
  ain_cluster_join(probe.cluster, joined, &probe);
  if (free_after_ms >= 0) {
    ain_loop_timer(probe.loop, ain_loop_now() + (gint64)free_after_ms * 1000, quit, &probe);
  }
  ain_loop_run(probe.loop);
  gint64 before = ain_loop_now();
  ain_cluster_free(probe.cluster);
  printf("freed took_ms=%.1f\n", (double)(ain_loop_now() - before) / 1000);
  ain_loop_free(probe.loop);
  return 0;
}

int main(int argc, char **argv) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GOptionContext) context = g_option_context_new(NULL);
  g_option_context_add_main_entries(context, entries, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error)) {
    fprintf(stderr, "%s\n", error->message);
    return 2;
  }
  AinConfig config = { 0 };
  fill_config(&config);
  int result = remove_id >= -1 || find_text != NULL ? run_by_hand(&config) : run_join(&config);
  clear_config(&config);
  g_free(find_text);
  g_free(seeds_text);
  return result;
}
