/* Loading: defaults, sources and their order, every kind of bad value with the parts its message must name.
 */
#include "base/error.h"
#include "config/load.h"
#include "config/value.h"

#include <string.h>

#define FILE_NAME "/opt/ainode/conf/iotdb-ainode.properties"

/* env and set: one entry each, or NULL. */
static AinConfig *load(const char *text, const char *env, const char *set, GError **error) {
  const char *environment[] = { env, NULL };
  const char *overrides[] = { set, NULL };
  AinConfigInput input = { .home = "/nonexistent/ainode",
                           .file = FILE_NAME,
                           .data = text,
                           .size = text != NULL ? strlen(text) : 0,
                           .environment = environment,
                           .overrides = overrides };
  return ain_config_load_input(&input, error);
}

static AinConfig *load_ok(const char *text, const char *env, const char *set) {
  g_autoptr(GError) error = NULL;
  AinConfig *config = load(text, env, set, &error);
  g_assert_no_error(error);
  return config;
}

/* The twelve keys of the V2.0.5 manual and their defaults. */
static void test_defaults(void) {
  g_autoptr(AinConfig) c = load_ok(NULL, NULL, NULL);
  g_assert_cmpstr(c->cluster_name, ==, "defaultCluster");
  g_assert_cmpuint(c->n_seeds, ==, 1);
  g_assert_cmpstr(c->seeds[0].host, ==, "127.0.0.1");
  g_assert_cmpuint(c->seeds[0].port, ==, 10710);
  g_assert_cmpstr(c->ingress_address, ==, "127.0.0.1");
  g_assert_cmpuint(c->ingress_port, ==, 6667);
  g_assert_cmpstr(c->ingress_username, ==, "root");
  g_assert_cmpstr(c->ingress_password, ==, "root");
  g_assert_cmpstr(c->ingress_time_zone, ==, "UTC+8");
  g_assert_cmpstr(c->rpc_address, ==, "127.0.0.1");
  g_assert_cmpuint(c->rpc_port, ==, 10810);
  g_assert_cmpstr(c->system_dir, ==, "/nonexistent/ainode/data/ainode/system");
  g_assert_cmpstr(c->models_dir, ==, "/nonexistent/ainode/data/ainode/models");
  g_assert_false(c->thrift_compression);
  g_assert_cmpstr(c->builtin_models_dir, ==, "/nonexistent/ainode/data/ainode/models/weights");
  g_assert_cmpstr(c->logs_dir, ==, "/nonexistent/ainode/logs");
  g_assert_cmpstr(c->cluster_version, ==, "auto");
  g_assert_cmpint(c->max_frame_bytes, ==, 536870912);
  g_assert_cmpint(c->queue_timeout_ms, ==, -1);
  g_assert_cmpint(c->orphan_grace_ms, ==, 5000);
  g_assert_null(c->ssl_cert_file);
  g_assert_false(c->internal_ssl);
  g_assert_null(c->ssl_ca_file);
  g_assert_true(c->ssl_verify_host);
}

static void test_every_field_is_set(void) {
  static const char text[] = "cluster_name=c2\n"
                             "ain_seed_config_node=\"a:1, [fe80::1%eth0]:2,c.d:3\"\n"
                             "ain_config_node_wait_ms=-1\n"
                             "ain_cluster_version=2.0.1-beta\n"
                             "ain_rpc_address=[::1]\n"
                             "ain_rpc_port=1\n"
                             "ain_thrift_compression_enabled=TRUE\n"
                             "ain_max_frame_bytes=1048576\n"
                             "ain_internal_ssl_enabled=true\n"
                             "ain_thrift_ssl_cert_file=conf/cert.pem\n"
                             "ain_thrift_ssl_key_file=/k.pem\n"
                             "ain_thrift_ssl_ca_file=/ca.pem\n"
                             "ain_thrift_ssl_verify_host=0\n"
                             "ain_cluster_ingress_ssl_enabled=1\n"
                             "ain_cluster_ingress_address=iotdb_datanode\n"
                             "ain_cluster_ingress_port=65535\n"
                             "ain_cluster_ingress_username=u\n"
                             "ain_cluster_ingress_password=\n"
                             "ain_cluster_ingress_time_zone=Asia/Shanghai\n"
                             "ain_system_dir=a/../sys\n"
                             "ain_models_dir=/m\n"
                             "ain_models_builtin_dir=w\n"
                             "ain_logs_dir=logs/ainode\n"
                             "ain_inference_timeout_ms=0\n"
                             "ain_queue_timeout_ms=86400000\n"
                             "ain_orphan_grace_ms=600000\n"
                             "ain_queue_max_requests=1\n"
                             "ain_queue_max_bytes=1048576\n"
                             "ain_worker_memory_bytes=268435456\n"
                             "ain_drain_ms=0\n";
  g_autoptr(AinConfig) c = load_ok(text, NULL, NULL);
  g_assert_cmpstr(c->cluster_name, ==, "c2");
  g_assert_cmpuint(c->n_seeds, ==, 3);
  g_assert_cmpstr(c->seeds[0].host, ==, "a");
  g_assert_cmpuint(c->seeds[0].port, ==, 1);
  g_assert_cmpstr(c->seeds[1].host, ==, "fe80::1%eth0");
  g_assert_cmpuint(c->seeds[1].port, ==, 2);
  g_assert_cmpstr(c->seeds[2].host, ==, "c.d");
  g_assert_cmpint(c->config_node_wait_ms, ==, -1);
  g_assert_cmpstr(c->cluster_version, ==, "2.0.1-beta");
  g_assert_cmpstr(c->rpc_address, ==, "::1");
  g_assert_cmpuint(c->rpc_port, ==, 1);
  g_assert_true(c->thrift_compression);
  g_assert_cmpint(c->max_frame_bytes, ==, 1048576);
  g_assert_cmpstr(c->ssl_cert_file, ==, "/nonexistent/ainode/conf/cert.pem");
  g_assert_cmpstr(c->ssl_key_file, ==, "/k.pem");
  g_assert_cmpstr(c->ssl_ca_file, ==, "/ca.pem");
  g_assert_true(c->internal_ssl);
  g_assert_true(c->ingress_ssl);
  g_assert_false(c->ssl_verify_host);
  g_assert_cmpstr(c->ingress_address, ==, "iotdb_datanode");
  g_assert_cmpuint(c->ingress_port, ==, 65535);
  g_assert_cmpstr(c->ingress_username, ==, "u");
  g_assert_cmpstr(c->ingress_password, ==, "");
  g_assert_cmpstr(c->ingress_time_zone, ==, "Asia/Shanghai");
  g_assert_cmpstr(c->system_dir, ==, "/nonexistent/ainode/sys");
  g_assert_cmpstr(c->models_dir, ==, "/m");
  g_assert_cmpstr(c->builtin_models_dir, ==, "/nonexistent/ainode/w");
  g_assert_cmpstr(c->logs_dir, ==, "/nonexistent/ainode/logs/ainode");
  g_assert_cmpint(c->inference_timeout_ms, ==, 0);
  g_assert_cmpint(c->queue_timeout_ms, ==, 86400000);
  g_assert_cmpint(c->orphan_grace_ms, ==, 600000);
  g_assert_cmpint(c->queue_max_requests, ==, 1);
  g_assert_cmpint(c->queue_max_bytes, ==, 1048576);
  g_assert_cmpint(c->worker_memory_bytes, ==, 268435456);
  g_assert_cmpint(c->drain_ms, ==, 0);
}

static void test_names_of_other_releases(void) {
  g_autoptr(AinConfig) c =
      load_ok("ain_inference_rpc_address=h\nain_inference_rpc_port=2\n"
              "ain_inference_batch_interval_in_ms=30\nain_inference_memory_usage_ratio=0.2\n"
              "ain_inference_extra_memory_ratio=1.2\n"
              "ain_inference_model_mem_usage_map={'sundial': 1036 * 1024 ** 2, 't': 8}\n"
              "ain_inference_max_predict_length=2880\n"
              "ain_models_builtin_dir=iotdb.ainode.core.model\n",
              NULL, NULL);
  g_assert_cmpstr(c->rpc_address, ==, "h");
  g_assert_cmpuint(c->rpc_port, ==, 2);
  g_assert_cmpstr(c->builtin_models_dir, ==, "/nonexistent/ainode/data/ainode/models/weights");
}

typedef struct {
  const char *text;
  const char *env;
  const char *set;
  guint16 port;
  const char *source; /* as `ainode config` prints it */
} Precedence;

static void test_precedence(void) {
  static const Precedence cases[] = {
    { NULL, NULL, NULL, 10810, "# default\n" },
    { "\nain_inference_rpc_port=1\n", NULL, NULL, 1, "# " FILE_NAME ":2\n" },
    { "ain_rpc_port=1\n", NULL, NULL, 1, "# " FILE_NAME ":1, as ain_rpc_port\n" },
    { "ain_rpc_port=1\n", "AIN_RPC_PORT=2", NULL, 2, "# environment AIN_RPC_PORT, as ain_rpc_port\n" },
    { "ain_rpc_port=1\n", "AIN_INFERENCE_RPC_PORT=3", NULL, 3, "# environment AIN_INFERENCE_RPC_PORT\n" },
    { "ain_rpc_port=1\n", "AIN_RPC_PORT=", NULL, 1, "# " FILE_NAME ":1, as ain_rpc_port\n" },
    { "ain_rpc_port=1\n", "AIN_RPC_PORT=2", "ain_inference_rpc_port=4", 4, "# command line\n" },
    { NULL, NULL, "ain_rpc_port=5", 5, "# command line, as ain_rpc_port\n" },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    const Precedence *p = &cases[i];
    g_autoptr(AinConfig) c = load_ok(p->text, p->env, p->set);
    g_assert_cmpuint(c->rpc_port, ==, p->port);
    g_autofree char *printed = ain_config_print(c);
    const char *line = strstr(printed, "\nain_inference_rpc_port=");
    g_assert_nonnull(line);
    g_autofree char *one = g_strndup(line + 1, strcspn(line + 1, "\n") + 1);
    g_assert_true(g_str_has_suffix(one, p->source));
    g_autofree char *value = g_strdup_printf("ain_inference_rpc_port=%u ", p->port);
    g_assert_true(g_str_has_prefix(one, value));
  }
  g_autoptr(AinConfig) named = load_ok("cluster_name=a\n", "CLUSTER_NAME=b", NULL);
  g_assert_cmpstr(named->cluster_name, ==, "b");
}

typedef struct {
  const char *key;
  const char *value;
  const char *complaint;
  const char *allowed;
} BadValue;

#define PORTS "an integer from 1 to 65535"
#define SEEDS "host:port"
#define HOSTS "a host name, an IPv4 or an IPv6 address"
#define PATHS "a path, absolute or starting at the installation directory"

static const BadValue BAD_VALUES[] = {
  { "cluster_name", "", "is empty", "text of 1 to 255 bytes" },
  { "cluster_name", "a\\tb", "has a control character", "text of 1 to 255 bytes" },
  { "ain_inference_rpc_port", "", "is empty", PORTS },
  { "ain_inference_rpc_port", "0", "is out of range", PORTS },
  { "ain_inference_rpc_port", "65536", "is out of range", PORTS },
  { "ain_rpc_port", "-1", "is out of range", PORTS },
  { "ain_rpc_port", "99999999999999999999", "is out of range", PORTS },
  { "ain_rpc_port", "10810x", "is not an integer", PORTS },
  { "ain_rpc_port", "1e3", "is not an integer", PORTS },
  { "ain_rpc_port", "0x10", "is not an integer", PORTS },
  { "ain_cluster_ingress_port", "6667.0", "is not an integer", PORTS },
  { "ain_config_node_wait_ms", "-2", "is out of range", "an integer from -1 to 86400000 milliseconds" },
  { "ain_worker_memory_bytes", "1", "is out of range", "0, or an integer from 268435456 to" },
  { "ain_max_frame_bytes", "2147483648", "is out of range", "an integer from 1048576 to 2147483647 bytes" },
  { "ain_thrift_compression_enabled", "2", "is neither 0 nor 1", "0 or 1" },
  { "ain_thrift_compression_enabled", "yes", "is neither 0 nor 1", "0 or 1" },
  { "ain_internal_ssl_enabled", "2", "is neither 0 nor 1", "0 or 1" },
  { "ain_rpc_address", "127.0.0.256", "no valid host name", HOSTS },
  { "ain_rpc_address", "1.2.3", "no valid host name", HOSTS },
  { "ain_rpc_address", "a b", "no valid host name", HOSTS },
  { "ain_rpc_address", "-a", "no valid host name", HOSTS },
  { "ain_rpc_address", "a..b", "no valid host name", HOSTS },
  { "ain_rpc_address", "http\\://x", "no valid host name", HOSTS },
  { "ain_rpc_address", "[\\:\\:g]", "no valid host name", HOSTS },
  { "ain_rpc_address", "\\:\\:1%", "no valid host name", HOSTS },
  { "ain_seed_config_node", "", "is empty", SEEDS },
  { "ain_seed_config_node", "127.0.0.1", "address without a port", SEEDS },
  { "ain_seed_config_node", "[::1]", "address without a port", SEEDS },
  { "ain_seed_config_node", "::1:10710", "no valid host name", SEEDS },
  { "ain_seed_config_node", "a:0", "a port that is not an integer from 1 to 65535", SEEDS },
  { "ain_seed_config_node", "a:1x", "a port that is not an integer from 1 to 65535", SEEDS },
  { "ain_seed_config_node", "a:", "a port that is not an integer from 1 to 65535", SEEDS },
  { "ain_seed_config_node", ":1", "no valid host name", SEEDS },
  { "ain_seed_config_node", "a:1,", "address without a port", SEEDS },
  { "ain_seed_config_node", "a:1,,b:2", "address without a port", SEEDS },
  { "ain_seed_config_node", "a:1;b:2", "no valid host name", SEEDS },
  { "ain_system_dir", "", "is empty", PATHS },
  { "ain_models_dir", "x\\ny", "has a control character", PATHS },
  { "ain_cluster_version", "2.1.0", "is not understood", "auto, or a release" },
  { "ain_cluster_version", "2.0", "is not understood", "auto, or a release" },
  { "ain_cluster_ingress_time_zone", "UTC 8", "is not understood", "UTC+8" },
  { "ain_inference_memory_usage_ratio", "1.5", "is out of range", "a number from 0 to 1" },
  { "ain_inference_memory_usage_ratio", "nan", "is not a number", "a number from 0 to 1" },
  { "ain_inference_memory_usage_ratio", "0x1p-1", "is not a number", "a number from 0 to 1" },
  { "ain_inference_extra_memory_ratio", "1e999", "is not a number", "a number from 1 to 100" },
  { "ain_inference_model_mem_usage_map", "__import__('os')", "is not understood", "a map such as" },
  { "ain_inference_batch_interval_in_ms", "-1", "is out of range", "an integer from 0 to 600000" },
  { "ain_inference_max_output_length", "0", "is out of range", "an integer from 1" },
};

static void assert_has(const char *message, const char *part) {
  if (strstr(message, part) == NULL) {
    g_test_message("missing part: %s", part);
    g_assert_cmpstr(message, ==, part);
  }
}

/* Each bad value, given in the file, the environment and on the command line. */
static void test_bad_values(void) {
  for (guint i = 0; i < G_N_ELEMENTS(BAD_VALUES); i++) {
    const BadValue *bad = &BAD_VALUES[i];
    g_autofree char *text = g_strdup_printf("# first line\n\n%s=%s\n", bad->key, bad->value);
    g_autoptr(GError) error = NULL;
    g_assert_null(load(text, NULL, NULL, &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    g_autofree char *place = g_strdup_printf(FILE_NAME ":3: %s = \"", bad->key);
    assert_has(error->message, place);
    assert_has(error->message, bad->complaint);
    g_autofree char *allowed = g_strdup_printf("; allowed: %s", bad->allowed);
    if (strstr(error->message, allowed) == NULL) {
      assert_has(error->message, "; allowed: ");
      assert_has(error->message, bad->allowed);
    }
    if (strchr(bad->value, '\\') == NULL) {
      g_autofree char *shown = g_strdup_printf("\"%s\"", bad->value);
      assert_has(error->message, shown);
    }
  }
}

static void test_bad_values_elsewhere(void) {
  g_autoptr(GError) error = NULL;
  g_assert_null(load(NULL, "AIN_RPC_PORT=x", NULL, &error));
  assert_has(error->message,
             "environment AIN_RPC_PORT: ain_rpc_port = \"x\" is not an integer; allowed: " PORTS);
  g_clear_error(&error);
  g_assert_null(load(NULL, "CLUSTER_NAME=\xFF", NULL, &error));
  assert_has(error->message, "environment CLUSTER_NAME: cluster_name = \"\\377\" is not UTF-8 text");
  g_clear_error(&error);
  g_assert_null(load(NULL, NULL, "ain_rpc_port=0", &error));
  assert_has(error->message, "command line: ain_rpc_port = \"0\" is out of range");
  g_clear_error(&error);
  g_assert_null(load(NULL, NULL, "ain_rpc_port", &error));
  assert_has(error->message, "command line: \"ain_rpc_port\" is no setting; allowed: key=value");
  g_clear_error(&error);
  g_assert_null(load(NULL, NULL, "ain_rcp_port=1", &error));
  assert_has(error->message,
             "command line: the key \"ain_rcp_port\" is unknown; the nearest known key is ain_rpc_port");
  g_clear_error(&error);
  g_assert_null(load(NULL, NULL, "nosuch=1", &error));
  assert_has(error->message, "the key \"nosuch\" is unknown; lib/ainode config prints those that are known");
  g_clear_error(&error);
  /* a bad value in the file counts also where the environment overrides it */
  g_assert_null(load("ain_rpc_port=x\n", "AIN_RPC_PORT=1", NULL, &error));
  assert_has(error->message, FILE_NAME ":1: ain_rpc_port = \"x\"");
}

static void test_too_many_seeds(void) {
  g_autoptr(GString) text = g_string_new("ain_seed_config_node=a:1");
  for (guint i = 1; i < 32; i++) {
    g_string_append(text, ",a:1");
  }
  g_autoptr(AinConfig) most = load_ok(text->str, NULL, NULL);
  g_assert_cmpuint(most->n_seeds, ==, 32);
  g_string_append(text, ",a:1");
  g_autoptr(GError) error = NULL;
  g_assert_null(load(text->str, NULL, NULL, &error));
  assert_has(error->message, "names too many nodes");
  assert_has(error->message, "up to 32");
}

/* The further DataNodes are a list of their own, which may be empty. */
static void test_ingress_nodes(void) {
  g_autoptr(AinConfig) none = load_ok("ain_cluster_ingress_nodes=\n", NULL, NULL);
  g_assert_cmpuint(none->n_ingress_nodes, ==, 0);
  g_autoptr(AinConfig) two = load_ok("ain_cluster_ingress_nodes=a:1, [::1]:2\n", NULL, NULL);
  g_assert_cmpuint(two->n_ingress_nodes, ==, 2);
  g_assert_cmpstr(two->ingress_nodes[1].host, ==, "::1");
  g_assert_cmpuint(two->ingress_nodes[1].port, ==, 2);
  g_assert_cmpuint(two->n_seeds, ==, 1);
  g_autofree char *printed = ain_config_print(two);
  g_assert_nonnull(strstr(printed, "ain_cluster_ingress_nodes=a:1,[::1]:2"));
  g_autoptr(GError) error = NULL;
  g_assert_null(load("ain_cluster_ingress_nodes=a\n", NULL, NULL, &error));
  assert_has(error->message, "has an address without a port");
  g_clear_error(&error);
  g_assert_null(load("ain_seed_config_node=\n", NULL, NULL, &error));
  assert_has(error->message, "is empty");
}

static void test_too_long(void) {
  g_autofree char *name = g_strnfill(256, 'c');
  g_autofree char *text = g_strdup_printf("cluster_name=%s\n", name);
  g_autoptr(GError) error = NULL;
  g_assert_null(load(text, NULL, NULL, &error));
  assert_has(error->message, "has 256 bytes; allowed: text of 1 to 255 bytes");
  g_clear_error(&error);
  g_autofree char *path = g_strnfill(4001, 'p');
  g_autofree char *paths = g_strdup_printf("ain_logs_dir=%s\n", path);
  g_assert_null(load(paths, NULL, NULL, &error));
  assert_has(error->message, "is longer than 4000 bytes; allowed: a path");
}

static void test_contradictions(void) {
  g_autoptr(GError) error = NULL;
  g_assert_null(load("ain_rpc_port=1\n\nain_rpc_port=2\n", NULL, NULL, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  assert_has(error->message,
             FILE_NAME ":3: ain_rpc_port = \"2\" contradicts " FILE_NAME ":1: ain_rpc_port = \"1\"");
  assert_has(error->message, "a key can have one value");
  g_clear_error(&error);
  g_assert_null(load("ain_rpc_port=1\nain_inference_rpc_port=2\n", NULL, NULL, &error));
  assert_has(error->message, FILE_NAME ":2: ain_inference_rpc_port = \"2\" contradicts " FILE_NAME
                                       ":1: ain_rpc_port = \"1\"");
  assert_has(error->message, "the two names mean the same setting");
  g_clear_error(&error);
  g_assert_null(load("ain_inference_rpc_address=a\nain_rpc_address=b\n", NULL, NULL, &error));
  assert_has(error->message, ":2: ain_rpc_address = \"b\" contradicts");
  assert_has(error->message, ":1: ain_inference_rpc_address = \"a\"");
  g_clear_error(&error);
  g_assert_null(
      load("ain_cluster_ingress_password=s3cret\nain_cluster_ingress_password=0ther\n", NULL, NULL, &error));
  assert_has(error->message, "contradicts");
  g_assert_null(strstr(error->message, "s3cret"));
  g_assert_null(strstr(error->message, "0ther"));
}

static void test_contradicting_environment(void) {
  const char *environment[] = { "AIN_RPC_PORT=1", "AIN_INFERENCE_RPC_PORT=2", NULL };
  AinConfigInput input = { .home = "/nonexistent", .file = FILE_NAME, .environment = environment };
  g_autoptr(GError) error = NULL;
  g_assert_null(ain_config_load_input(&input, &error));
  assert_has(error->message, "environment AIN_INFERENCE_RPC_PORT: ain_inference_rpc_port = \"2\" contradicts "
                             "environment AIN_RPC_PORT: ain_rpc_port = \"1\"");
}

static void test_same_value_twice_is_a_warning(void) {
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                        FILE_NAME ":2: ain_inference_rpc_port repeats " FILE_NAME ":1: ain_rpc_port*");
  g_autoptr(AinConfig) c = load_ok("ain_rpc_port=7\nain_inference_rpc_port=7\n", NULL, NULL);
  g_test_assert_expected_messages();
  g_assert_cmpuint(c->rpc_port, ==, 7);
}

typedef struct {
  const char *unknown;
  const char *nearest;
} Nearest;

static void test_unknown_keys(void) {
  static const Nearest cases[] = {
    { "ain_sead_config_node", "ain_seed_config_node" },
    { "AIN_RPC_PORT", "ain_rpc_port" },
    { "clustername", "cluster_name" },
    { "ain_model_dir", "ain_models_dir" },
    { "ain_inference_rpc_prot", "ain_inference_rpc_port" },
    { "cn_seed_config_node", "ain_seed_config_node" },
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autofree char *text = g_strdup_printf("\n%s=1\n", cases[i].unknown);
    g_autofree char *pattern = g_strdup_printf(FILE_NAME ":2: the key \"%s\" is unknown and ignored; "
                                                         "the nearest known key is %s",
                                               cases[i].unknown, cases[i].nearest);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, pattern);
    g_autoptr(AinConfig) c = load_ok(text, NULL, NULL);
    g_test_assert_expected_messages();
  }
}

static void test_many_unknown_keys(void) {
  g_autoptr(GString) text = g_string_new(NULL);
  for (guint i = 0; i < 1000; i++) {
    g_string_append(text, "x=1\n");
  }
  for (guint i = 0; i < 20; i++) {
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*the key \"x\" is unknown*");
  }
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*980 more unknown keys are ignored");
  g_autoptr(AinConfig) c = load_ok(text->str, NULL, NULL);
  g_test_assert_expected_messages();
}

static void test_environment_slips(void) {
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                        "*\"AIN_RCP_PORT\" is not read; did you mean AIN_RPC_PORT?");
  g_autoptr(AinConfig) slip = load_ok(NULL, "AIN_RCP_PORT=1", NULL);
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                        "*\"ain_rpc_port\" is not read; did you mean AIN_RPC_PORT?");
  g_autoptr(AinConfig) lower = load_ok(NULL, "ain_rpc_port=1", NULL);
  g_test_assert_expected_messages();
  g_assert_cmpuint(lower->rpc_port, ==, 10810);
  g_autoptr(AinConfig) foreign = load_ok(NULL, "AIN_SOMETHING_ELSE_ENTIRELY=1", NULL); /* no warning */
  g_assert_cmpuint(foreign->rpc_port, ==, 10810);
  g_autoptr(AinConfig) odd = load_ok(NULL, "=C:=x", NULL);
  g_assert_cmpuint(odd->rpc_port, ==, 10810);
}

static void test_wildcard_address_is_a_warning(void) {
  g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*0.0.0.0*ain_inference_rpc_address*");
  g_autoptr(AinConfig) c = load_ok("ain_rpc_address=0.0.0.0\n", NULL, NULL);
  g_test_assert_expected_messages();
  g_assert_cmpstr(c->rpc_address, ==, "0.0.0.0");
}

static void test_print(void) {
  g_autoptr(AinConfig) c = load_ok("ain_cluster_ingress_password=s3cret\nain_seed_config_node=[::1]:5,a:6\n"
                                   "ain_inference_batch_interval_in_ms=30\nain_system_dir=x\n",
                                   NULL, NULL);
  g_autofree char *printed = ain_config_print(c);
  g_assert_null(strstr(printed, "s3cret"));
  assert_has(printed, "# installation directory: /nonexistent/ainode\n");
  assert_has(printed, "\nain_cluster_ingress_password=******** ");
  assert_has(printed, "\nain_seed_config_node=[::1]:5,a:6 ");
  assert_has(printed, "\nain_inference_batch_interval_in_ms=30 ");
  assert_has(printed, "\nain_system_dir=/nonexistent/ainode/x ");
  for (guint i = 0; i < ain_n_keys; i++) {
    g_autofree char *line = g_strdup_printf("\n%s=", ain_keys[i].name);
    assert_has(printed, line);
  }
}

/* A struct made by hand, as tests of other folders do, can be printed and freed. */
static void test_handmade(void) {
  g_autoptr(AinConfig) c = g_new0(AinConfig, 1);
  c->home = g_strdup("/h");
  c->cluster_name = g_strdup("mine");
  g_autofree char *printed = ain_config_print(c);
  assert_has(printed, "\ncluster_name=mine ");
  ain_config_free(NULL);
}

static void test_table_is_sound(void) {
  g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
  guint shipped = 0;
  for (guint i = 0; i < ain_n_keys; i++) {
    const AinKey *key = &ain_keys[i];
    g_assert_true(g_hash_table_add(names, (gpointer)key->name));
    g_assert_true(key->alias == NULL || g_hash_table_add(names, (gpointer)key->alias));
    g_assert_true(g_str_has_prefix(key->name, "ain_") || g_str_equal(key->name, "cluster_name"));
    g_assert_true(g_str_has_suffix(key->doc, "."));
    g_assert_nonnull(key->since);
    g_autoptr(GError) error = NULL;
    g_assert_true(ain_value_set(key, key->initial, NULL, &error));
    g_assert_cmpint(key->offset == AIN_KEY_NO_FIELD, ==, key->section == AIN_SECTION_COMPATIBILITY);
    g_assert_cmpint(key->offset == AIN_KEY_NO_FIELD, ==, g_str_has_prefix(key->doc, "Without effect"));
    shipped += (key->flags & AIN_KEY_SHIPPED) != 0;
    guint distance = 1;
    g_assert_cmpstr(ain_key_nearest(key->name, &distance), ==, key->name);
    g_assert_cmpuint(distance, ==, 0);
  }
  g_assert_cmpuint(shipped, ==, 12);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/config/table", test_table_is_sound);
  g_test_add_func("/config/defaults", test_defaults);
  g_test_add_func("/config/every-field", test_every_field_is_set);
  g_test_add_func("/config/names-of-other-releases", test_names_of_other_releases);
  g_test_add_func("/config/precedence", test_precedence);
  g_test_add_func("/config/bad-values", test_bad_values);
  g_test_add_func("/config/bad-values-elsewhere", test_bad_values_elsewhere);
  g_test_add_func("/config/too-many-seeds", test_too_many_seeds);
  g_test_add_func("/config/load/ingress-nodes", test_ingress_nodes);
  g_test_add_func("/config/too-long", test_too_long);
  g_test_add_func("/config/contradictions", test_contradictions);
  g_test_add_func("/config/contradicting-environment", test_contradicting_environment);
  g_test_add_func("/config/same-value-twice", test_same_value_twice_is_a_warning);
  g_test_add_func("/config/unknown-keys", test_unknown_keys);
  g_test_add_func("/config/many-unknown-keys", test_many_unknown_keys);
  g_test_add_func("/config/environment-slips", test_environment_slips);
  g_test_add_func("/config/wildcard-address", test_wildcard_address_is_a_warning);
  g_test_add_func("/config/print", test_print);
  g_test_add_func("/config/handmade", test_handmade);
  return g_test_run();
}
