/* Configuration: one table (config/table.c) that validates, prints, documents and generates the shipped file.
 *
 * Sources, weakest first: default, conf/iotdb-ainode.properties, environment (AIN_..., CLUSTER_NAME), command
 * line. Relative paths start at the installation directory. Immutable after load: any thread may read. */
#pragma once
#include <glib.h>

typedef struct {
  char *host; /* without brackets for IPv6 */
  guint16 port;
} AinEndpoint;

typedef struct {
  /* identity and cluster */
  char *home;        /* absolute installation directory */
  char *config_file; /* absolute; the file need not exist */
  char *cluster_name;
  AinEndpoint *seeds;
  guint n_seeds;
  gint64 config_node_wait_ms; /* how long to wait for a ConfigNode at start; 0 = one try, -1 = for ever */
  char *cluster_version;      /* "auto" or a release */
  /* service */
  char *rpc_address; /* bound and advertised */
  guint16 rpc_port;
  gboolean thrift_compression; /* compact protocol towards the ConfigNode */
  gint64 max_frame_bytes;
  /* data session (training, covariates) */
  char *ingress_address;
  guint16 ingress_port;
  AinEndpoint *ingress_nodes; /* further ones, asked in turn */
  guint n_ingress_nodes;
  char *ingress_username;
  char *ingress_password;
  char *ingress_time_zone;
  gboolean ingress_ssl;
  /* TLS; paths are absolute, or NULL */
  gboolean internal_ssl;
  char *ssl_cert_file;
  char *ssl_key_file;
  char *ssl_ca_file;
  gboolean ssl_verify_host;
  /* directories, absolute */
  char *system_dir;
  char *models_dir;
  char *builtin_models_dir; /* weights of built-ins, one folder a model; <models_dir>/weights unless given */
  char *logs_dir;
  /* inference */
  gint64 inference_timeout_ms; /* 0 = none, -1 = by the cluster's release */
  gint64 queue_timeout_ms;     /* the same */
  gint64 orphan_grace_ms;
  gint64 queue_max_requests;  /* per model */
  gint64 queue_max_bytes;     /* per model */
  gint64 worker_memory_bytes; /* 0 = no limit */
  gint64 model_memory_bytes;  /* 0 = half of the machine's */
  gint64 shared_memory_bytes; /* 0 = a quarter of the machine's */
  gint64 drain_ms;
  gint64 max_batch_delay_us;
  gint64 model_replicas;     /* per device */
  gboolean batching;         /* requests that wait may run together */
  char *null_policy;         /* "zero", "interpolate" or "error" */
  gboolean official_numbers; /* built-ins answer as the official releases do where ours are right */
  gint64 prototype_idle_s;   /* 0 = it stays */
  gint64 model_fetch_max_bytes;
  gint64 model_fetch_timeout_s;
  gboolean model_fetch_private_addresses;
  gboolean weights_download;       /* at the start */
  char *worker_sandbox;            /* "on" or "off" */
  char *worker_read_paths;         /* separated by ':', or "" */
  char *worker_sandbox_off_models; /* ids separated by ',', or "" */
  char *worker_start_method;       /* "fork" or "spawn" */
  struct AinOrigin *origins;       /* private: where each value came from; NULL in a struct made by hand */
} AinConfig;

/* home: absolute, or NULL for IOTDB_AINODE_HOME or else the folder above the executable's. file: NULL for
 * <home>/conf/iotdb-ainode.properties (absent: a warning and the defaults). overrides: "key=value" texts of
 * the command line, NULL-terminated, or NULL. Errors: INVALID; the message names file, line, key, value and
 * what is allowed. Warnings (unknown key and the one that it resembles) go to the log. */
AinConfig *ain_config_load(const char *home, const char *file, const char *const *overrides, GError **error);
void ain_config_free(AinConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinConfig, ain_config_free)

/* Makes the system, models and logs directories where they are absent and writes a test file into each.
 * Blocks; call it at start, before anything is opened. Errors: INVALID; the message names source, key, value
 * and the reason. */
gboolean ain_config_prepare_directories(const AinConfig *config, GError **error);

/* `ainode config`: every key with value and source ("default", "file:line", "environment NAME"), secrets
 * masked. */
char *ain_config_print(const AinConfig *config);
/* The shipped conf/iotdb-ainode.properties and docs/CONFIGURATION.md, from the same table. Owned. */
char *ain_config_properties_template(void);
char *ain_config_markdown(void);
char *ain_config_man(void); /* roff */
