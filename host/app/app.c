/* Start, run and stop of the node: the only place that knows all modules. */
#include "app/app.h"

#include "ain-version.h"
#include "app/commands.h"
#include "app/downloads.h"
#include "app/instance.h"
#include "app/service.h"
#include "base/error.h"
#include "base/exit.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/tls.h"
#include "cluster/cluster.h"
#include "cluster/transport.h"
#include "config/config.h"
#include "env/env.h"
#include "observe/observe.h"
#include "protocol/types.h"
#include "registry/registry.h"
#include "rpc/server.h"
#include "runtime/runtime.h"
#include "schedule/scheduler.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Two may be copying models; the rest convert large requests and meet the ConfigNode. */
/* Of these, two may be busy with registrations and one with weights, for minutes when they come from the
 * network.
 */
#define HELPER_THREADS 6
#define MAX_CONNECTIONS 20000
#define UNKNOWN_MEMORY (G_GUINT64_CONSTANT(4) << 30) /* where the kernel does not tell */
#define SPARE_DESCRIPTORS 2000                       /* for everything else */
#define MAX_IN_FLIGHT 64
/* Each holds some 50 KB at most from its first byte on. */
#define MAX_HANDSHAKES 1024
#define FRAME_TIMEOUT_US (G_GINT64_CONSTANT(60) * G_USEC_PER_SEC)
/* DataNodes keep pooled connections idle for a minute, later releases forget some for ever. */
#define IDLE_TIMEOUT_US (G_GINT64_CONSTANT(600) * G_USEC_PER_SEC)
#define DRAIN_LOOK_US (G_GINT64_CONSTANT(20) * 1000)
/* So long a stopping node waits for one more heartbeat, which tells the cluster that it is going. */
#define FAREWELL_US (G_GINT64_CONSTANT(1500) * 1000)

typedef struct {
  const AinAppOptions *options;
  AinConfig *config;
  AinInstance *instance;
  AinInterpreter *interpreter;
  char *probe_cache;
  char *work_dir; /* current directory of the workers */
  AinLoop *loop;
  int signal_fd;
  AinLoopFd *signal_watch;
  AinTlsContext *tls; /* NULL without TLS */
  AinRpcServer *server;
  AinLoadMeter *meter;
  AinWatchdog *watchdog;
  AinRuntime *runtime;
  AinScheduler *scheduler;
  AinRegistry *registry;
  AinDownloads *downloads;
  AinService *service;
  AinCluster *cluster;
  GError *failure; /* why the node ends by itself */
  gboolean joined;
  gboolean stopping;
  gboolean removed; /* the cluster has forgotten this node: no farewell */
  gint64 drain_until;
  gint64 farewell_until;
  AinLoopTimer *drain_timer;
} App;

/* --- stopping --- */

/* Tests and benchmarks read this line: samples run = samples asked for, or something was cached or repeated.
 */
static void log_totals(const App *app) {
  AinSchedulerTotals totals = ain_scheduler_totals(app->scheduler);
  const AinBudget *budget = ain_runtime_budget(app->runtime);
  g_message("totals: %" G_GUINT64_FORMAT " requests answered, %" G_GUINT64_FORMAT
            " refused or failed, %" G_GUINT64_FORMAT " model runs of %" G_GUINT64_FORMAT
            " samples, %" G_GUINT64_FORMAT " input bytes copied, %" G_GUINT64_FORMAT
            " workers started, %.3f s inside models, shared memory at most %" G_GUINT64_FORMAT
            " of %" G_GUINT64_FORMAT " bytes",
            totals.requests, totals.failures, totals.jobs, totals.samples, totals.copied_bytes,
            totals.workers, (double)totals.model_ns / 1e9, ain_budget_peak(budget), ain_budget_bytes(budget));
}

static void all_ended(gpointer data) {
  App *app = data;
  log_totals(app);
  ain_loop_quit(app->loop);
}

static void look_whether_drained(gpointer data) {
  App *app = data;
  gint64 now = ain_loop_now();
  gboolean answered =
      ain_scheduler_pending(app->scheduler) == 0 && ain_rpc_server_unanswered(app->server) == 0;
  gboolean told = app->removed || !app->joined || ain_service_heartbeats_while_draining(app->service) > 0
                  || now >= app->farewell_until;
  app->drain_timer = NULL;
  if ((answered && told) || now >= app->drain_until) {
    ain_scheduler_shutdown(app->scheduler, all_ended, app);
    return;
  }
  app->drain_timer = ain_loop_timer(app->loop, now + DRAIN_LOOK_US, look_whether_drained, app);
}

static void begin_stop(App *app, const char *why) {
  if (app->stopping) {
    app->drain_until = 0; /* asked twice: at once */
    return;
  }
  app->stopping = TRUE;
  g_message("%s: the AINode is stopping; %u requests are still running", why,
            ain_scheduler_pending(app->scheduler));
  ain_observe_notify("STOPPING=1");
  ain_service_drain(app->service, "the AINode is stopping");
  gint64 now = ain_loop_now();
  app->drain_until = now + MAX(app->config->drain_ms * 1000, 0);
  app->farewell_until = MIN(now + FAREWELL_US, app->drain_until);
  look_whether_drained(app);
}

static void removed_by_cluster(gpointer data) {
  App *app = data;
  app->removed = TRUE;
  begin_stop(app, "REMOVE AINODE");
}

static void signalled(guint32 events, gpointer data) {
  (void)events;
  App *app = data;
  struct signalfd_siginfo info;
  while (read(app->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
    if (info.ssi_signo == SIGHUP) {
      ain_observe_log_reopen();
    } else {
      begin_stop(app, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    }
  }
}

static void give_up(App *app, const GError *error) {
  if (app->failure == NULL) {
    app->failure = g_error_copy(error);
  }
  begin_stop(app, "start failed");
}

/* --- starting --- */

static void joined(const GError *error, gpointer data) {
  App *app = data;
  if (error != NULL) {
    give_up(app, error);
    return;
  }
  app->joined = TRUE;
  g_autofree char *sentence = g_strdup_printf(
      "AINode %s (%s) has successfully started: node id %d, serving on %s:%u, %s %s", AIN_VERSION,
      AIN_BUILD_INFO, ain_cluster_node_id(app->cluster), app->config->rpc_address,
      ain_rpc_server_port(app->server), app->interpreter->executable, app->interpreter->version);
  g_message("%s", sentence);
  ain_observe_notify("READY=1");
  if (app->options->ready != NULL) {
    app->options->ready(sentence, app->options->ready_data);
  }
}

/* A DataNode waits 60 s for an answer. Up to 2.0.5 it then tells the user so; later ones ask again, three
 * times in all, and five times from 2.0.8 on. The limit ends just before the last one gives up, so that the
 * user reads the reason. */
static gint64 limit_us(gint64 configured_ms, AinFamily family) {
  if (configured_ms >= 0) {
    return configured_ms * 1000;
  }
  gint64 seconds = family >= AIN_FAMILY_G ? 295 : family == AIN_FAMILY_F ? 175 : 55;
  return seconds * G_USEC_PER_SEC;
}

static void release_learnt(AinFamily family, gpointer data) {
  App *app = data;
  ain_scheduler_limit(app->scheduler, limit_us(app->config->inference_timeout_ms, family),
                      limit_us(app->config->queue_timeout_ms, family));
  ain_rpc_server_set_release(app->server, family);
}

static void evidence_seen(AinFamilies seen, gpointer data) {
  App *app = data;
  ain_cluster_add_evidence(app->cluster, seen);
}

static void peer_came(gpointer data) {
  App *app = data;
  ain_cluster_refresh(app->cluster);
}

static void model_retired(AinModel *model, gpointer data) {
  App *app = data;
  ain_scheduler_retire(app->scheduler, model);
}

static void model_comes(AinModel *model, void (*done)(gpointer done_data), gpointer done_data,
                        gpointer data) {
  App *app = data;
  ain_scheduler_warm(app->scheduler, model, done, done_data);
}

static void handle_call(AinCall *call, gpointer data) {
  App *app = data;
  ain_service_handle(call, app->service);
}

static gboolean catch_signals(App *app, GError **error) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGHUP);
  int failed = pthread_sigmask(SIG_BLOCK, &wanted, NULL); /* before any thread starts: they inherit it */
  app->signal_fd = failed == 0 ? signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
  if (app->signal_fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot receive signals");
    return FALSE;
  }
  struct sigaction ignore = { .sa_handler = SIG_IGN };
  sigaction(SIGPIPE, &ignore, NULL);
  sigaction(SIGXFSZ, &ignore, NULL); /* a file over the limit is a write error with a sentence, not a death */
  return TRUE;
}

/* A connection is a descriptor, and shells give 1,024: what the administrator allows is taken. */
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return;
  }
  rlim_t wanted = MIN(limit.rlim_max, MAX_CONNECTIONS + SPARE_DESCRIPTORS);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
}

/* Where even that is little, half of it is for models: peers that only connect must not keep them from
 * starting. The server makes room for new connections at the cost of silent ones. */
static guint most_connections(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return MAX_CONNECTIONS;
  }
  rlim_t room = limit.rlim_cur - MIN(limit.rlim_cur / 2, SPARE_DESCRIPTORS);
  return (guint)MIN(room, MAX_CONNECTIONS);
}

static gboolean find_interpreter(App *app, GError **error) {
  const AinAppOptions *options = app->options;
  app->probe_cache = g_build_filename(app->config->system_dir, "interpreter.probe", NULL);
  AinEnvRequest request = {
    .home = app->config->home,
    .python = options->interpreter,
    .no_install = options->no_install,
    .force_reinstall = options->force,
    .mirror = options->mirror,
    .wheelhouse = options->wheelhouse,
    .cache_file = app->probe_cache,
  };
  gboolean from_cache = FALSE;
  app->interpreter = ain_env_ensure(&request, &from_cache, error);
  if (app->interpreter == NULL) {
    return FALSE;
  }
  const AinInterpreter *found = app->interpreter;
  g_message("Python %s at %s (prefix %s, %s%s, numpy %s, torch %s)%s", found->version, found->executable,
            found->prefix, found->libpython != NULL ? "embedding " : "executed",
            found->libpython != NULL ? found->libpython : "", found->numpy != NULL ? found->numpy : "absent",
            found->torch != NULL ? found->torch : "absent", from_cache ? ", known from the last start" : "");
  g_autoptr(GPtrArray) problems = ain_env_problems(found);
  for (guint i = 0; i < problems->len; i++) {
    g_warning("%s", (const char *)g_ptr_array_index(problems, i));
  }
  return TRUE;
}

static gboolean prepare_tls(App *app, GError **error) {
  const AinConfig *config = app->config;
  AinTlsFiles files = { .cert_file = config->ssl_cert_file,
                        .key_file = config->ssl_key_file,
                        .ca_file = config->ssl_ca_file };
  if (!config->internal_ssl) {
    /* Not made yet, but a fault in its files is to be seen now. */
    g_autoptr(AinTlsContext) outgoing = config->ingress_ssl ? ain_transport_tls(config, error) : NULL;
    return !config->ingress_ssl || outgoing != NULL;
  }
  app->tls = ain_tls_server_new(&files, error);
  if (app->tls == NULL) {
    return FALSE;
  }
  g_message("TLS on the port and toward ConfigNodes: certificate %s; %s", config->ssl_cert_file,
            config->ssl_ca_file != NULL
                ? "callers must show a certificate"
                : "callers are not asked for a certificate (ain_thrift_ssl_ca_file is not set)");
  return TRUE;
}

static gboolean listen_for_calls(App *app, GError **error) {
  AinRpcServerConfig config = {
    .address = app->config->rpc_address,
    .port = app->config->rpc_port,
    .max_frame = (gsize)app->config->max_frame_bytes,
    .frame_timeout_us = FRAME_TIMEOUT_US,
    .idle_timeout_us = IDLE_TIMEOUT_US,
    .max_connections = most_connections(),
    .max_in_flight = MAX_IN_FLIGHT,
    .tls = app->tls,
    .max_handshakes = MAX_HANDSHAKES,
  };
  g_autoptr(GError) failure = NULL;
  app->server = ain_rpc_server_new(app->loop, &config, handle_call, app, &failure);
  if (app->server == NULL) {
    if (g_error_matches(failure, AIN_ERROR, AIN_ERROR_ENVIRONMENT)) {
      failure->code =
          AIN_ERROR_BUSY; /* the port belongs to another process: "already running" for the operator */
    }
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
  }
  return TRUE;
}

/* What is configured, or that part of the memory there is. */
static guint64 memory_share(gint64 configured, guint64 part) {
  guint64 limit = ain_observe_memory_limit();
  if (configured > 0) {
    return (guint64)configured;
  }
  return (limit > 0 ? limit : UNKNOWN_MEMORY) / part;
}

static char *environment_state(gpointer data) {
  const App *app = data;
  return ain_env_state(app->interpreter);
}

static gboolean start_runtime(App *app, GError **error) {
  g_autofree char *lib_dir = g_build_filename(app->config->home, "lib", NULL);
  app->work_dir = g_build_filename(app->config->system_dir, "workers", NULL);
  if (!ain_file_remove_tree(app->work_dir, error) || !ain_file_make_directory(app->work_dir, error)) {
    return FALSE;
  }
  AinRuntimeConfig config = {
    .lib_dir = lib_dir,
    .work_dir = app->work_dir,
    .python = app->interpreter->executable,
    .libpython = app->interpreter->libpython,
    .fork = g_str_equal(app->config->worker_start_method, "fork"),
    .prototype_idle_us = app->config->prototype_idle_s * G_USEC_PER_SEC,
    .sandbox = g_str_equal(app->config->worker_sandbox, "on"),
    .read_paths = app->config->worker_read_paths,
    .shared_memory = memory_share(app->config->shared_memory_bytes, 4),
    .sandbox_off = app->config->worker_sandbox_off_models,
    .environment = environment_state,
    .environment_data = app,
  };
  app->runtime = ain_runtime_new(app->loop, &config, error);
  if (app->runtime == NULL) {
    return FALSE;
  }
  ain_runtime_start(app->runtime);
  return TRUE;
}

/* Where 2.0.5 and where later releases keep them, unless the configuration names another folder first. */
static void watch_weights(App *app) {
  const char *given = app->config->builtin_models_dir;
  g_autofree char *early = g_build_filename(app->config->models_dir, "weights", NULL);
  g_autofree char *later = g_build_filename(app->config->models_dir, "builtin", NULL);
  const char *directories[4] = { given };
  guint n = 1;
  if (!g_str_equal(early, given)) {
    directories[n++] = early;
  }
  if (!g_str_equal(later, given)) {
    directories[n++] = later;
  }
  ain_registry_watch_weights(app->registry, directories);
  ain_downloads_weights(app->downloads, directories);
}

static AinNullPolicy null_policy(const char *name) {
  return g_str_equal(name, "interpolate") ? AIN_NULLS_INTERPOLATE
         : g_str_equal(name, "error")     ? AIN_NULLS_ERROR
                                          : AIN_NULLS_ZERO;
}

static gboolean start_models(App *app, GError **error) {
  AinSchedulerConfig config = {
    .queue_max_requests = (guint)app->config->queue_max_requests,
    .queue_max_bytes = (guint64)app->config->queue_max_bytes,
    .orphan_grace_us = app->config->orphan_grace_ms * 1000,
    .worker_memory_bytes = app->config->worker_memory_bytes,
    .nulls = null_policy(app->config->null_policy),
    .model_memory_bytes = memory_share(app->config->model_memory_bytes, 2),
    .official_numbers = app->config->official_numbers,
    .batching = app->config->batching,
    .replicas = (guint)app->config->model_replicas,
    .max_batch_delay_us = app->config->max_batch_delay_us,
    .drain_us = app->config->drain_ms * 1000,
    .max_array_bytes = 2 * (guint64)app->config->max_frame_bytes, /* twice: float32 may widen to float64 */
  };
  app->scheduler = ain_scheduler_new(app->loop, app->runtime, &config);
  app->registry =
      ain_registry_new(app->loop, app->config->models_dir, ain_scheduler_prover(app->scheduler), error);
  if (app->registry == NULL) {
    return FALSE;
  }
  app->downloads = ain_downloads_new(app->loop, app->config, app->interpreter->executable);
  ain_registry_set_fetcher(app->registry, ain_downloads_fetcher(app->downloads));
  ain_registry_on_retire(app->registry, model_retired, app);
  ain_registry_on_publish(app->registry, model_comes, app);
  ain_registry_add_builtins(app->registry);
  watch_weights(app);
  return TRUE;
}

static void connect_parts(App *app) {
  AinServiceParts parts = {
    .registry = app->registry,
    .scheduler = app->scheduler,
    .runtime = app->runtime,
    .meter = app->meter,
    .stop = removed_by_cluster,
    .data = app,
  };
  app->service = ain_service_new(&parts);
  ain_service_set_server(app->service, app->server);
  app->cluster = ain_cluster_new(app->loop, app->config);
  ain_cluster_on_release(app->cluster, release_learnt, app);
  release_learnt(ain_cluster_release(app->cluster), app);
  ain_rpc_server_on_evidence(app->server, evidence_seen, app);
  ain_rpc_server_on_peer(app->server, peer_came, app);
  ain_cluster_join(app->cluster, joined, app);
}

/* A probe from the cache is repeated while the node already registers. */
typedef struct {
  App *app;
  AinInterpreter *seen;
  GError *error;
  gboolean changed;
} Reprobe;

static void reprobe_work(gpointer data) {
  Reprobe *reprobe = data;
  g_autofree char *bootstrap = ain_env_bootstrap_dir(reprobe->app->config->home);
  reprobe->seen = ain_env_reprobe(reprobe->app->interpreter, bootstrap, reprobe->app->probe_cache,
                                  &reprobe->changed, &reprobe->error);
}

static void reprobe_done(gpointer data) {
  Reprobe *reprobe = data;
  if (reprobe->error != NULL) {
    g_warning("the Python environment has changed since the last start: %s", reprobe->error->message);
  } else if (reprobe->changed) {
    g_warning(
        "the Python environment has changed since the last start: restart the AINode to use it as it is now");
  }
  ain_interpreter_free(reprobe->seen);
  g_clear_error(&reprobe->error);
  g_free(reprobe);
}

static void repeat_probe(App *app) {
  Reprobe *reprobe = g_new0(Reprobe, 1);
  reprobe->app = app;
  ain_loop_offload(app->loop, reprobe_work, reprobe_done, reprobe);
}

static gboolean start(App *app, GError **error) {
  const AinAppOptions *options = app->options;
  if (!ain_observe_log_open(NULL, options->debug,
                            error)) { /* so that what the configuration warns about is seen */
    return FALSE;
  }
  app->config =
      ain_config_load(options->home, options->config_file, (const char *const *)options->overrides, error);
  if (app->config == NULL || !ain_config_prepare_directories(app->config, error)
      || !ain_observe_log_open(app->config->logs_dir, options->debug, error)) {
    return FALSE;
  }
  app->instance = ain_instance_acquire(app->config->system_dir, error);
  if (app->instance == NULL || !find_interpreter(app, error) || !catch_signals(app, error)) {
    return FALSE;
  }
  raise_descriptor_limit();
  ain_protocol_register_types(); /* GLib's tables grow by it, under locks that race detectors do not see */
  app->loop = ain_loop_new(HELPER_THREADS, error);
  if (app->loop == NULL || !prepare_tls(app, error) || !listen_for_calls(app, error)) {
    return FALSE;
  }
  app->signal_watch = ain_loop_watch(app->loop, app->signal_fd, EPOLLIN, signalled, app);
  app->watchdog = ain_observe_watchdog_new(app->loop);
  app->meter = ain_observe_load_new(app->loop, app->config->models_dir);
  if (!start_runtime(app, error) || !start_models(app, error)) {
    return FALSE;
  }
  connect_parts(app);
  repeat_probe(app);
  return TRUE;
}

/* Everything in the reverse order; also after a start that failed half way. */
static void tear_down(App *app) {
  ain_cluster_free(app->cluster);
  ain_rpc_server_free(app->server);
  ain_service_free(app->service);
  ain_registry_free(app->registry);
  ain_downloads_cancel(app->downloads);
  ain_scheduler_free(app->scheduler);
  ain_runtime_free(app->runtime);
  if (app->work_dir != NULL) {
    (void)ain_file_remove_tree(app->work_dir, NULL); /* what workers left; the next start removes the rest */
    g_free(app->work_dir);
  }
  ain_observe_watchdog_free(app->watchdog);
  ain_observe_load_free(app->meter);
  if (app->loop != NULL) {
    ain_loop_timer_stop(app->drain_timer);
    ain_loop_unwatch(app->signal_watch);
  }
  ain_loop_free(app->loop);
  ain_tls_context_free(app->tls);
  ain_downloads_free(app->downloads);
  ain_fd_close(&app->signal_fd);
  ain_interpreter_free(app->interpreter);
  g_free(app->probe_cache);
  ain_instance_free(app->instance);
  ain_config_free(app->config);
}

int ain_app_run(const AinAppOptions *options, GError **error) {
  App app = { .options = options, .signal_fd = -1 };
  g_autoptr(GError) failure = NULL;
  if (start(&app, &failure)) {
    ain_loop_run(app.loop);
    failure = g_steal_pointer(&app.failure);
  }
  if (failure != NULL) {
    /* Whoever called prints it on the terminal. */
    ain_observe_log_to_stderr(FALSE);
    g_warning("%s", failure->message);
    ain_observe_log_to_stderr(TRUE);
  } else {
    g_message("the AINode has successfully stopped");
  }
  tear_down(&app);
  ain_observe_log_close();
  int code = failure != NULL ? ain_app_exit_code(failure) : AIN_EXIT_OK;
  if (failure != NULL) {
    g_propagate_error(error, g_steal_pointer(&failure));
  }
  return code;
}
