/* The configuration table: a new setting is one row here and one field in config.h. */
#include "config/table.h"

#include <string.h>

#define FIELD(name) offsetof(AinConfig, name)
#define MIB (G_GINT64_CONSTANT(1024) * 1024)
#define GIB (1024 * MIB)
#define DAY_MS (G_GINT64_CONSTANT(24) * 3600 * 1000)
#define OURS "this project"

/* clang-format off: one row, one setting; the columns read better as a list */
const AinKey ain_keys[] = {
  { .name = "cluster_name",
    .type = AIN_VALUE_TEXT,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_CLUSTER,
    .initial = "defaultCluster",
    .min = 1,
    .max = 255,
    .since = "2.0.1",
    .offset = FIELD(cluster_name),
    .doc = "Name of the cluster this node joins. The ConfigNode refuses a node that gives another name." },
  { .name = "ain_seed_config_node",
    .type = AIN_VALUE_SEEDS,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_CLUSTER,
    .initial = "127.0.0.1:10710",
    .since = "2.0.1",
    .offset = FIELD(seeds),
    .doc = "ConfigNodes to register with. One is enough: it names the leader. Several are tried in turn." },
  { .name = "ain_config_node_wait_ms",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_CLUSTER,
    .initial = "300000",
    .min = -1,
    .max = DAY_MS,
    .unit = "milliseconds",
    .since = OURS,
    .offset = FIELD(config_node_wait_ms),
    .doc =
        "How long the start waits for a ConfigNode that is not up or not ready. 0: one try; -1: for ever." },
  { .name = "ain_cluster_version",
    .type = AIN_VALUE_RELEASE,
    .section = AIN_SECTION_CLUSTER,
    .initial = "auto",
    .since = OURS,
    .offset = FIELD(cluster_version),
    .doc = "Release of the cluster, which decides on status numbers and spellings. auto finds it out." },

  { .name = "ain_inference_rpc_address",
    .alias = "ain_rpc_address",
    .type = AIN_VALUE_HOST,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_SERVICE,
    .initial = "127.0.0.1",
    .since = "2.0.1",
    .offset = FIELD(rpc_address),
    .doc = "Address this node listens on and tells the cluster; ConfigNode and DataNodes must reach it." },
  { .name = "ain_inference_rpc_port",
    .alias = "ain_rpc_port",
    .type = AIN_VALUE_PORT,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_SERVICE,
    .initial = "10810",
    .min = 1,
    .max = 65535,
    .since = "2.0.1",
    .offset = FIELD(rpc_port),
    .doc = "Port this node listens on and tells the cluster." },
  { .name = "ain_thrift_compression_enabled",
    .type = AIN_VALUE_BOOLEAN,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_SERVICE,
    .initial = "0",
    .max = 1,
    .since = "2.0.1",
    .offset = FIELD(thrift_compression),
    .doc = "1: the compact Thrift protocol toward the ConfigNode; set it as the cluster is set. Requests of "
           "both protocols are understood in any case." },
  { .name = "ain_max_frame_bytes",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_SERVICE,
    .initial = "536870912",
    .min = MIB,
    .max = 2 * GIB - 1,
    .unit = "bytes",
    .since = OURS,
    .offset = FIELD(max_frame_bytes),
    .doc = "Longest request that is read; the connection of a longer one is closed. The default is IoTDB's "
           "own limit." },
  { .name = "ain_internal_ssl_enabled",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_SERVICE,
    .initial = "0",
    .max = 1,
    .since = "2.0.6",
    .offset = FIELD(internal_ssl),
    .doc = "1: TLS 1.2 or later on this node's port and toward the ConfigNode; both sides must be set alike. "
           "Needs the certificate and key below." },
  { .name = "ain_thrift_ssl_cert_file",
    .type = AIN_VALUE_PATH,
    .section = AIN_SECTION_SERVICE,
    .initial = "",
    .since = "2.0.6",
    .offset = FIELD(ssl_cert_file),
    .doc = "PEM file with this node's certificate, then those between it and its CA; read only when TLS is "
           "on. Without ain_thrift_ssl_ca_file, the certificates that are believed of others, too." },
  { .name = "ain_thrift_ssl_key_file",
    .type = AIN_VALUE_PATH,
    .section = AIN_SECTION_SERVICE,
    .initial = "",
    .since = "2.0.6",
    .offset = FIELD(ssl_key_file),
    .doc = "PEM file with the private key of that certificate, without a passphrase." },
  { .name = "ain_thrift_ssl_ca_file",
    .type = AIN_VALUE_PATH,
    .section = AIN_SECTION_SERVICE,
    .initial = "",
    .since = OURS,
    .offset = FIELD(ssl_ca_file),
    .doc = "PEM file with the certificates of the CA whose nodes are believed. Named, callers must show a "
           "certificate of that CA, too; empty, callers are not asked for one." },
  { .name = "ain_thrift_ssl_verify_host",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_SERVICE,
    .initial = "1",
    .max = 1,
    .since = OURS,
    .offset = FIELD(ssl_verify_host),
    .doc =
        "1: with ain_thrift_ssl_ca_file, the certificate of a ConfigNode or DataNode must bear the name or "
        "address that this node dials. 0: any certificate of that CA will do." },

  { .name = "ain_cluster_ingress_address",
    .type = AIN_VALUE_HOST,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_DATA,
    .initial = "127.0.0.1",
    .since = "2.0.5",
    .offset = FIELD(ingress_address),
    .doc = "Address of a DataNode from which this node pulls data (training)." },
  { .name = "ain_cluster_ingress_port",
    .type = AIN_VALUE_PORT,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_DATA,
    .initial = "6667",
    .min = 1,
    .max = 65535,
    .since = "2.0.5",
    .offset = FIELD(ingress_port),
    .doc = "Client port of that DataNode." },
  { .name = "ain_cluster_ingress_nodes",
    .type = AIN_VALUE_SEEDS,
    .section = AIN_SECTION_DATA,
    .initial = "",
    .since = OURS,
    .offset = FIELD(ingress_nodes),
    .doc = "Client addresses of further DataNodes, asked in turn when that one is not there." },
  { .name = "ain_cluster_ingress_username",
    .type = AIN_VALUE_TEXT,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_DATA,
    .initial = "root",
    .min = 1,
    .max = 255,
    .since = "2.0.5",
    .offset = FIELD(ingress_username),
    .doc = "User name for pulling data." },
  { .name = "ain_cluster_ingress_password",
    .type = AIN_VALUE_TEXT,
    .flags = AIN_KEY_SHIPPED | AIN_KEY_SECRET,
    .section = AIN_SECTION_DATA,
    .initial = "root",
    .min = 0,
    .max = 1024,
    .since = "2.0.5",
    .offset = FIELD(ingress_password),
    .doc = "Password of that user. The environment keeps it out of this file." },
  { .name = "ain_cluster_ingress_time_zone",
    .type = AIN_VALUE_TIME_ZONE,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_DATA,
    .initial = "UTC+8",
    .min = 1,
    .max = 64,
    .since = "2.0.5",
    .offset = FIELD(ingress_time_zone),
    .doc = "Time zone of that session." },
  { .name = "ain_cluster_ingress_ssl_enabled",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_DATA,
    .initial = "0",
    .max = 1,
    .since = "2.0.6",
    .offset = FIELD(ingress_ssl),
    .doc = "1: TLS 1.2 or later for that session; the DataNode has enable_thrift_ssl=true. Its certificate "
           "must come from ain_thrift_ssl_ca_file, or be in ain_thrift_ssl_cert_file." },

  { .name = "ain_system_dir",
    .type = AIN_VALUE_PATH,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_DIRECTORIES,
    .initial = "data/ainode/system",
    .min = 1,
    .since = "2.0.1",
    .offset = FIELD(system_dir),
    .doc = "Directory of this node's identity (system.properties). Left as it is, data/AINode is used where "
           "that alone exists." },
  { .name = "ain_models_dir",
    .type = AIN_VALUE_PATH,
    .flags = AIN_KEY_SHIPPED,
    .section = AIN_SECTION_DIRECTORIES,
    .initial = "data/ainode/models",
    .min = 1,
    .since = "2.0.1",
    .offset = FIELD(models_dir),
    .doc = "Directory of the models. Left as it is, data/AINode is used where that alone exists." },
  { .name = "ain_models_builtin_dir",
    .type = AIN_VALUE_PATH,
    .section = AIN_SECTION_DIRECTORIES,
    .initial = "",
    .since = "2.0.10",
    .offset = FIELD(builtin_models_dir),
    .doc = "Directory of the built-in models' weights, one folder a model. Empty: weights in ain_models_dir. "
           "The module name iotdb.ainode.core.model, which other releases have here, counts as empty." },
  { .name = "ain_logs_dir",
    .type = AIN_VALUE_PATH,
    .section = AIN_SECTION_DIRECTORIES,
    .initial = "logs",
    .min = 1,
    .since = "2.0.1",
    .offset = FIELD(logs_dir),
    .doc = "Directory of the log files." },

  { .name = "ain_inference_timeout_ms",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "-1",
    .min = -1,
    .max = DAY_MS,
    .unit = "milliseconds",
    .since = OURS,
    .offset = FIELD(inference_timeout_ms),
    .doc = "Longest run of one request. -1: just less than the DataNodes of the cluster's release listen, so "
           "that the user reads the reason: 55 s up to 2.0.5, whose DataNodes ask once and wait 60 s; 175 s "
           "for 2.0.6 and 2.0.7, which ask three times; 295 s from 2.0.8 on, which ask five times. 0: no "
           "limit." },
  { .name = "ain_queue_timeout_ms",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "-1",
    .min = -1,
    .max = DAY_MS,
    .unit = "milliseconds",
    .since = OURS,
    .offset = FIELD(queue_timeout_ms),
    .doc = "Longest wait of one request for its turn, behind others or for a process that loads the model. "
           "-1: just less than the DataNodes of the cluster's release listen, as for "
           "ain_inference_timeout_ms. 0: no limit." },
  { .name = "ain_orphan_grace_ms",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "5000",
    .min = 0,
    .max = 600000,
    .unit = "milliseconds",
    .since = OURS,
    .offset = FIELD(orphan_grace_ms),
    .doc = "How long a running request goes on after its client left; DataNodes since 2.0.6 send it again." },
  { .name = "ain_queue_max_requests",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "1024",
    .min = 1,
    .max = 1000000,
    .unit = "requests",
    .since = OURS,
    .offset = FIELD(queue_max_requests),
    .doc = "Requests that may wait for one model; the next one is answered with an error at once." },
  { .name = "ain_queue_max_bytes",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "1073741824",
    .min = MIB,
    .max = 1024 * GIB,
    .unit = "bytes",
    .since = OURS,
    .offset = FIELD(queue_max_bytes),
    .doc = "Bytes of requests that may wait for one model." },
  { .name = "ain_worker_memory_bytes",
    .type = AIN_VALUE_INTEGER,
    .flags = AIN_KEY_ZERO_IS_OFF,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .min = 256 * MIB,
    .max = 1024 * GIB,
    .unit = "bytes",
    .since = OURS,
    .offset = FIELD(worker_memory_bytes),
    .doc = "Data memory one worker process may take. 0: no limit." },
  { .name = "ain_model_memory_bytes",
    .type = AIN_VALUE_INTEGER,
    .flags = AIN_KEY_ZERO_IS_OFF,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .min = 64 * MIB,
    .max = 1024 * GIB,
    .unit = "bytes",
    .since = OURS,
    .offset = FIELD(model_memory_bytes),
    .doc =
        "Memory of the processes of loaded models together, each with its share of what they share. Over "
        "it, the models that nobody asked for with LOAD MODEL are unloaded, the longest unused first, and "
        "loaded again by their next request. 0: half of the memory of the machine or of its control group." },
  { .name = "ain_shared_memory_bytes",
    .type = AIN_VALUE_INTEGER,
    .flags = AIN_KEY_ZERO_IS_OFF,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .min = 16 * MIB,
    .max = 1024 * GIB,
    .unit = "bytes",
    .since = OURS,
    .offset = FIELD(shared_memory_bytes),
    .doc =
        "Shared memory for the arrays of all requests and results that are being computed. What finds no "
        "room waits; one request, and one result, may have three eighths of it. 0: a quarter of the memory "
        "of the machine or of its control group." },
  { .name = "ain_batching",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_INFERENCE,
    .initial = "1",
    .max = 1,
    .since = OURS,
    .offset = FIELD(batching),
    .doc = "1: requests that wait while a model is busy run together, for models that were proven to answer "
           "the same "
           "then (to about 1e-4). 0: every request runs alone, answers are equal to the last bit." },
  { .name = "ain_model_fetch_max_bytes",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "17179869184",
    .min = MIB,
    .max = 1024 * GIB,
    .unit = "bytes",
    .since = OURS,
    .offset = FIELD(model_fetch_max_bytes),
    .doc =
        "Bytes that CREATE MODEL may fetch from http://, https:// or repo://, and the hub for the weights of "
        "one model." },
  { .name = "ain_model_fetch_timeout_s",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "1800",
    .min = 1,
    .max = 86400,
    .unit = "seconds",
    .since = OURS,
    .offset = FIELD(model_fetch_timeout_s),
    .doc = "How long that may take." },
  { .name = "ain_model_fetch_private_addresses",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .max = 1,
    .since = OURS,
    .offset = FIELD(model_fetch_private_addresses),
    .doc = "1: http:// and https:// of CREATE MODEL may lead to private, loopback and link-local addresses, "
           "such "
           "as a server of one's own; 0: to public ones only." },
  { .name = "ain_weights_download",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .max = 1,
    .since = OURS,
    .offset = FIELD(weights_download),
    .doc =
        "1: weights of timer_xl and sundial that are missing at the start are fetched from the hub, in the "
        "background, by the Python package huggingface_hub, which has to be installed, with its own "
        "environment variables (HF_ENDPOINT, HF_TOKEN, ...)." },
  { .name = "ain_official_numbers",
    .type = AIN_VALUE_BOOLEAN,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .max = 1,
    .since = OURS,
    .offset = FIELD(official_numbers),
    .doc =
        "1: the statistical built-in models give the numbers of the official releases where those are off: "
        "forecasts that begin with the fitted value of the last input row, holtwinters without a trend. "
        "0: right ones (docs/COMPATIBILITY.md)." },
  { .name = "ain_null_policy",
    .type = AIN_VALUE_CHOICE,
    .choices = "zero|interpolate|error",
    .section = AIN_SECTION_INFERENCE,
    .initial = "zero",
    .since = OURS,
    .offset = FIELD(null_policy),
    .doc =
        "What a null in the input becomes. zero: 0, as DataNodes make of most nulls themselves; interpolate: "
        "the value on the line between its neighbours; error: the request is refused. The attribute or "
        "option "
        "nulls of a request goes before." },
  { .name = "ain_max_batch_delay_us",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .min = 0,
    .max = 1000000,
    .unit = "microseconds",
    .since = OURS,
    .offset = FIELD(max_batch_delay_us),
    .doc = "How long a request may wait for others to run with, even when the model is idle. 0: it never "
           "waits." },
  { .name = "ain_model_replicas",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "1",
    .min = 1,
    .max = 64,
    .since = OURS,
    .offset = FIELD(model_replicas),
    .doc = "Most processes that serve one model on one device; further ones start while requests wait." },
  { .name = "ain_worker_start_method",
    .type = AIN_VALUE_CHOICE,
    .choices = "fork|spawn",
    .section = AIN_SECTION_INFERENCE,
    .initial = "fork",
    .since = OURS,
    .offset = FIELD(worker_start_method),
    .doc = "How a process that runs a model is made: fork, in milliseconds, from one that has imported "
           "PyTorch; or "
           "spawn, a fresh interpreter each, for libraries that do not survive a fork." },
  { .name = "ain_prototype_idle_s",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "0",
    .min = 0,
    .max = 31536000,
    .unit = "seconds",
    .since = OURS,
    .offset = FIELD(prototype_idle_s),
    .doc = "The process that holds the imported PyTorch ends after so long without a loaded model, and "
           "starts again (2 s) "
           "with the next request. 0: it stays." },
  { .name = "ain_worker_sandbox",
    .type = AIN_VALUE_CHOICE,
    .choices = "on|off",
    .section = AIN_SECTION_INFERENCE,
    .initial = "on",
    .since = OURS,
    .offset = FIELD(worker_sandbox),
    .doc = "on: a process that runs a model reads only its model and the Python environment, writes only a "
           "private "
           "folder, opens no network, starts no program and cannot reach other processes, as far as the "
           "kernel can "
           "enforce it. off: it may do what the AINode may do." },
  { .name = "ain_worker_read_paths",
    .type = AIN_VALUE_TEXT,
    .section = AIN_SECTION_INFERENCE,
    .initial = "",
    .min = 0,
    .max = 4096,
    .since = OURS,
    .offset = FIELD(worker_read_paths),
    .doc = "Further folders that a process in the sandbox may read: absolute paths separated by ':'." },
  { .name = "ain_worker_sandbox_off_models",
    .type = AIN_VALUE_TEXT,
    .section = AIN_SECTION_INFERENCE,
    .initial = "",
    .min = 0,
    .max = 4096,
    .since = OURS,
    .offset = FIELD(worker_sandbox_off_models),
    .doc = "Ids of models that run without the sandbox, separated by ','. Whoever may create a model of such "
           "an id may do what the AINode may do." },
  { .name = "ain_drain_ms",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_INFERENCE,
    .initial = "20000",
    .min = 0,
    .max = 600000,
    .unit = "milliseconds",
    .since = OURS,
    .offset = FIELD(drain_ms),
    .doc = "How long a stop waits for the requests that are running." },

  { .name = "ain_inference_batch_interval_in_ms",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_COMPATIBILITY,
    .initial = "15",
    .min = 0,
    .max = 600000,
    .unit = "milliseconds",
    .since = "2.0.5",
    .offset = AIN_KEY_NO_FIELD,
    .doc = "Without effect: workers are woken by each request and do not poll." },
  { .name = "ain_inference_memory_usage_ratio",
    .type = AIN_VALUE_DECIMAL,
    .section = AIN_SECTION_COMPATIBILITY,
    .initial = "0.4",
    .min = 0,
    .max = 1,
    .since = "2.0.6",
    .offset = AIN_KEY_NO_FIELD,
    .doc = "Without effect: it sized pools of model instances, and models are loaded here when they are "
           "asked for." },
  { .name = "ain_inference_extra_memory_ratio",
    .type = AIN_VALUE_DECIMAL,
    .section = AIN_SECTION_COMPATIBILITY,
    .initial = "1.2",
    .min = 1,
    .max = 100,
    .since = "2.0.6",
    .offset = AIN_KEY_NO_FIELD,
    .doc = "Without effect: it sized pools of model instances." },
  { .name = "ain_inference_model_mem_usage_map",
    .type = AIN_VALUE_SIZE_MAP,
    .section = AIN_SECTION_COMPATIBILITY,
    .initial = "{}",
    .min = 2,
    .max = 4096,
    .since = "2.0.6",
    .offset = AIN_KEY_NO_FIELD,
    .doc = "Without effect: it guessed the memory of a model instance; the text is checked, never run." },
  { .name = "ain_inference_max_output_length",
    .alias = "ain_inference_max_predict_length",
    .type = AIN_VALUE_INTEGER,
    .section = AIN_SECTION_COMPATIBILITY,
    .initial = "2880",
    .min = 1,
    .max = 1000000,
    .unit = "rows",
    .since = "2.0.6",
    .offset = AIN_KEY_NO_FIELD,
    .doc = "Without effect, as in the other releases, where the limit is a constant that no file changes." },
};
/* clang-format on */
const guint ain_n_keys = G_N_ELEMENTS(ain_keys);

const char *ain_section_title(AinSection section) {
  static const char *const titles[AIN_SECTION_COUNT] = {
    [AIN_SECTION_CLUSTER] = "The cluster",
    [AIN_SECTION_SERVICE] = "This node's service",
    [AIN_SECTION_DATA] = "Data session with a DataNode",
    [AIN_SECTION_DIRECTORIES] = "Directories",
    [AIN_SECTION_INFERENCE] = "Inference",
    [AIN_SECTION_COMPATIBILITY] = "Names of other releases, accepted without effect",
  };
  return titles[section];
}

const AinKey *ain_key_find(const char *name) {
  for (guint i = 0; i < ain_n_keys; i++) {
    if (g_str_equal(ain_keys[i].name, name) || g_strcmp0(ain_keys[i].alias, name) == 0) {
      return &ain_keys[i];
    }
  }
  return NULL;
}

#define NAME_MAX_COMPARED 64

/* Levenshtein distance; letters compare without case. */
static guint edit_distance(const char *a, const char *b) {
  guint row[NAME_MAX_COMPARED + 1];
  gsize width = MIN(strlen(b), NAME_MAX_COMPARED);
  for (guint j = 0; j <= width; j++) {
    row[j] = j;
  }
  for (gsize i = 0; a[i] != '\0' && i < NAME_MAX_COMPARED; i++) {
    guint diagonal = row[0];
    row[0] = (guint)i + 1;
    for (gsize j = 0; j < width; j++) {
      guint above = row[j + 1];
      guint replaced = diagonal + (g_ascii_tolower(a[i]) != g_ascii_tolower(b[j]));
      row[j + 1] = MIN(MIN(above + 1, row[j] + 1), replaced);
      diagonal = above;
    }
  }
  return row[width];
}

const char *ain_key_nearest(const char *name, guint *distance) {
  const char *best = NULL;
  *distance = G_MAXUINT;
  for (guint i = 0; i < ain_n_keys; i++) {
    const char *candidates[] = { ain_keys[i].name, ain_keys[i].alias };
    for (guint j = 0; j < G_N_ELEMENTS(candidates); j++) {
      guint d = candidates[j] != NULL ? edit_distance(name, candidates[j]) : G_MAXUINT;
      if (d < *distance) {
        *distance = d;
        best = candidates[j];
      }
    }
  }
  return best;
}

char *ain_key_environment(const char *name) {
  return g_ascii_strup(name, -1);
}
