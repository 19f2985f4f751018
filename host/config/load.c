/* Loading: the sources in their order, each checked whole before it counts. */
#include "config/load.h"

#include "base/error.h"
#include "base/fd.h"
#include "config/properties.h"
#include "config/value.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_IN_HOME "conf/iotdb-ainode.properties"
#define UNKNOWN_NAMED 20 /* unknown keys that are warned about one by one */

/* The settings of one source; slots[i] is of row i. Two names of one row meet here. */
typedef struct {
  struct AinOrigin *slots;
  guint unknown;
} Layer;

static void origin_clear(struct AinOrigin *origin) {
  g_clear_pointer(&origin->spelled, g_free);
  g_clear_pointer(&origin->text, g_free);
  g_clear_pointer(&origin->source, g_free);
}

static void origins_free(struct AinOrigin *origins) {
  for (guint i = 0; origins != NULL && i < ain_n_keys; i++) {
    origin_clear(&origins[i]);
  }
  g_free(origins);
}

void ain_config_free(AinConfig *config) {
  if (config == NULL) {
    return;
  }
  for (guint i = 0; i < config->n_seeds; i++) {
    g_free(config->seeds[i].host);
  }
  g_free(config->seeds);
  for (guint i = 0; i < config->n_ingress_nodes; i++) {
    g_free(config->ingress_nodes[i].host);
  }
  g_free(config->ingress_nodes);
  char *const texts[] = { config->home,
                          config->config_file,
                          config->cluster_name,
                          config->cluster_version,
                          config->rpc_address,
                          config->ingress_address,
                          config->ingress_username,
                          config->ingress_password,
                          config->ingress_time_zone,
                          config->ssl_cert_file,
                          config->ssl_key_file,
                          config->ssl_ca_file,
                          config->system_dir,
                          config->models_dir,
                          config->builtin_models_dir,
                          config->logs_dir,
                          config->worker_sandbox,
                          config->worker_read_paths,
                          config->worker_sandbox_off_models,
                          config->worker_start_method,
                          config->null_policy };
  for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
    g_free(texts[i]);
  }
  origins_free(config->origins);
  g_free(config);
}

/* "source: name = value complaint; allowed: ..." */
static gboolean refuse_value(const AinKey *key, const char *spelled, const char *text, const char *source,
                             const char *complaint, GError **error) {
  g_autofree char *shown = ain_value_quote(key, text);
  g_autofree char *allowed = ain_value_allowed(key);
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s: %s = %s %s; allowed: %s", source, spelled, shown,
              complaint, allowed);
  return FALSE;
}

static gboolean refuse_contradiction(const AinKey *key, const struct AinOrigin *first, const char *spelled,
                                     const char *text, const char *source, GError **error) {
  g_autofree char *old_text = ain_value_quote(key, first->text);
  g_autofree char *new_text = ain_value_quote(key, text);
  gboolean same_name = g_str_equal(first->spelled, spelled);
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
              "%s: %s = %s contradicts %s: %s = %s; %s, so keep one of them", source, spelled, new_text,
              first->source, first->spelled, old_text,
              same_name ? "a key can have one value" : "the two names mean the same setting");
  return FALSE;
}

/* Takes over one setting of a known key. */
static gboolean layer_add(Layer *layer, const AinKey *key, const char *spelled, const char *text,
                          const char *source, GError **error) {
  g_autoptr(GError) why = NULL;
  if (!ain_value_set(key, text, NULL, &why)) {
    return refuse_value(key, spelled, text, source, why->message, error);
  }
  struct AinOrigin *slot = &layer->slots[ain_key_index(key)];
  if (slot->text != NULL) {
    if (!g_str_equal(slot->text, text)) {
      return refuse_contradiction(key, slot, spelled, text, source, error);
    }
    g_warning("%s: %s repeats %s: %s; one of them can go", source, spelled, slot->source, slot->spelled);
    return TRUE;
  }
  *slot = (struct AinOrigin){ g_strdup(spelled), g_strdup(text), g_strdup(source) };
  return TRUE;
}

/* What may have been meant; or where to look, when no known key resembles it. Owned. */
static char *advice(const char *name) {
  guint distance = 0;
  const char *nearest = ain_key_nearest(name, &distance);
  return 2 * (gsize)distance <= strlen(name) ? g_strdup_printf("the nearest known key is %s", nearest)
                                             : g_strdup("lib/ainode config prints those that are known");
}

static void warn_unknown(Layer *layer, const char *name, const char *source) {
  if (++layer->unknown > UNKNOWN_NAMED) {
    return;
  }
  g_autofree char *shown = ain_properties_quote(name);
  g_autofree char *look = advice(name);
  g_warning("%s: the key %s is unknown and ignored; %s", source, shown, look);
}

static gboolean read_file_layer(const AinConfigInput *input, Layer *layer, GError **error) {
  if (input->data == NULL) {
    return TRUE;
  }
  g_autoptr(GPtrArray) properties = ain_properties_parse(input->data, input->size, input->file, error);
  if (properties == NULL) {
    return FALSE;
  }
  for (guint i = 0; i < properties->len; i++) {
    const AinProperty *property = g_ptr_array_index(properties, i);
    g_autofree char *source = g_strdup_printf("%s:%u", input->file, property->line);
    const AinKey *key = ain_key_find(property->key);
    if (key == NULL) {
      warn_unknown(layer, property->key, source);
    } else if (!layer_add(layer, key, property->key, property->value, source, error)) {
      return FALSE;
    }
  }
  if (layer->unknown > UNKNOWN_NAMED) {
    g_warning("%s: %u more unknown keys are ignored", input->file, layer->unknown - UNKNOWN_NAMED);
  }
  return TRUE;
}

/* A variable that is no setting of ours may be anybody's: only what looks like a slip is mentioned. */
static void warn_environment(const char *name) {
  guint distance = 0;
  const char *nearest = g_str_has_prefix(name, "AIN_") ? ain_key_nearest(name, &distance) : NULL;
  if (ain_key_find(name) != NULL || (nearest != NULL && distance <= 3)) {
    g_autofree char *wanted = ain_key_environment(nearest != NULL ? nearest : name);
    g_autofree char *shown = ain_properties_quote(name);
    g_warning("the environment variable %s is not read; did you mean %s?", shown, wanted);
  }
}

static gboolean read_environment_entry(const char *entry, Layer *layer, GError **error) {
  const char *equals = strchr(entry, '=');
  if (equals == NULL || equals[1] == '\0') {
    return TRUE; /* an empty variable is how container files say "not set" */
  }
  g_autofree char *name = g_strndup(entry, (gsize)(equals - entry));
  g_autofree char *lower = g_ascii_strdown(name, -1);
  g_autofree char *upper = g_ascii_strup(name, -1);
  const AinKey *key = g_str_equal(name, upper) ? ain_key_find(lower) : NULL;
  if (key == NULL) {
    warn_environment(name);
    return TRUE;
  }
  g_autofree char *source = g_strdup_printf("environment %s", name);
  return layer_add(layer, key, lower, equals + 1, source, error);
}

static gboolean read_environment_layer(const AinConfigInput *input, Layer *layer, GError **error) {
  for (guint i = 0; input->environment != NULL && input->environment[i] != NULL; i++) {
    if (!read_environment_entry(input->environment[i], layer, error)) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean read_override(const char *override, Layer *layer, GError **error) {
  const char *equals = strchr(override, '=');
  g_autofree char *name = g_strndup(override, equals != NULL ? (gsize)(equals - override) : strlen(override));
  g_autofree char *shown = ain_properties_quote(name);
  if (equals == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "command line: %s is no setting; allowed: key=value",
                shown);
    return FALSE;
  }
  const AinKey *key = ain_key_find(name);
  if (key == NULL) {
    g_autofree char *look = advice(name);
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "command line: the key %s is unknown; %s", shown, look);
    return FALSE;
  }
  return layer_add(layer, key, name, equals + 1, "command line", error);
}

static gboolean read_override_layer(const AinConfigInput *input, Layer *layer, GError **error) {
  for (guint i = 0; input->overrides != NULL && input->overrides[i] != NULL; i++) {
    if (!read_override(input->overrides[i], layer, error)) {
      return FALSE;
    }
  }
  return TRUE;
}

/* Stores a value that has been checked and remembers where it came from; takes what origin holds. */
static void take(AinConfig *config, const AinKey *key, struct AinOrigin *origin) {
  g_autoptr(GError) error = NULL;
  if (!ain_value_set(key, origin->text, config, &error)) {
    g_error("the table's row %s refuses a value that passed: %s", key->name, error->message);
  }
  struct AinOrigin *place = &config->origins[ain_key_index(key)];
  origin_clear(place);
  *place = *origin;
  *origin = (struct AinOrigin){ 0 };
}

static void take_defaults(AinConfig *config) {
  for (guint i = 0; i < ain_n_keys; i++) {
    struct AinOrigin origin = { g_strdup(ain_keys[i].name), g_strdup(ain_keys[i].initial),
                                g_strdup("default") };
    take(config, &ain_keys[i], &origin);
  }
}

static void take_layer(AinConfig *config, Layer *layer) {
  for (guint i = 0; i < ain_n_keys; i++) {
    if (layer->slots[i].text != NULL) {
      take(config, &ain_keys[i], &layer->slots[i]);
    }
  }
}

/* Left alone, or given just as the shipped file gives it. */
static gboolean is_default(const AinConfig *config, const AinKey *key) {
  return g_str_equal(config->origins[ain_key_index(key)].text, key->initial);
}

static void use_manual_spelling(AinConfig *config, const AinKey *key) {
  const char *below = key->initial + strlen("data/ainode/");
  struct AinOrigin origin = { g_strdup(key->name), g_strconcat("data/AINode/", below, NULL),
                              g_strdup("default, in data/AINode since that alone exists") };
  take(config, key, &origin);
}

/* The manual prints data/AINode, real installations have data/ainode. Guessing wrong would hide a node's
 * identity and its models, so both at once are refused. */
static gboolean settle_data_directories(AinConfig *config, GError **error) {
  const AinKey *keys[] = { ain_key_find("ain_system_dir"), ain_key_find("ain_models_dir") };
  if (!is_default(config, keys[0]) && !is_default(config, keys[1])) {
    return TRUE;
  }
  g_autofree char *real = g_build_filename(config->home, "data", "ainode", NULL);
  g_autofree char *manual = g_build_filename(config->home, "data", "AINode", NULL);
  struct stat real_info;
  struct stat manual_info;
  gboolean has_real = stat(real, &real_info) == 0 && S_ISDIR(real_info.st_mode);
  gboolean has_manual = stat(manual, &manual_info) == 0 && S_ISDIR(manual_info.st_mode);
  if (has_real && has_manual
      && (real_info.st_dev != manual_info.st_dev || real_info.st_ino != manual_info.st_ino)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "both %s and %s exist, and ain_system_dir and ain_models_dir do not say which one holds this "
                "node's identity and models; remove the one that is not wanted, or give both keys as "
                "absolute paths",
                real, manual);
    return FALSE;
  }
  for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
    if (has_manual && !has_real && is_default(config, keys[i])) {
      use_manual_spelling(config, keys[i]);
    }
  }
  return TRUE;
}

static void settle_rest(AinConfig *config) {
  if (config->builtin_models_dir == NULL) {
    config->builtin_models_dir = g_build_filename(config->models_dir, "weights", NULL);
  }
  if (g_str_equal(config->rpc_address, "0.0.0.0") || g_str_equal(config->rpc_address, "::")) {
    g_warning("the node will tell the cluster %s as its address, which other machines cannot reach; set "
              "ain_inference_rpc_address to an address of this machine",
              config->rpc_address);
  }
}

enum { LAYER_FILE, LAYER_ENVIRONMENT, LAYER_OVERRIDES, LAYER_COUNT }; /* weakest first */

static AinConfig *combine(const AinConfigInput *input, Layer *layers, GError **error) {
  if (!read_file_layer(input, &layers[LAYER_FILE], error)
      || !read_environment_layer(input, &layers[LAYER_ENVIRONMENT], error)
      || !read_override_layer(input, &layers[LAYER_OVERRIDES], error)) {
    return NULL;
  }
  g_autoptr(AinConfig) config = g_new0(AinConfig, 1);
  config->home = g_strdup(input->home);
  config->config_file = g_strdup(input->file);
  config->origins = g_new0(struct AinOrigin, ain_n_keys);
  take_defaults(config);
  for (guint i = 0; i < LAYER_COUNT; i++) {
    take_layer(config, &layers[i]);
  }
  if (!settle_data_directories(config, error)) {
    return NULL;
  }
  settle_rest(config);
  return g_steal_pointer(&config);
}

AinConfig *ain_config_load_input(const AinConfigInput *input, GError **error) {
  Layer layers[LAYER_COUNT];
  for (guint i = 0; i < LAYER_COUNT; i++) {
    layers[i] = (Layer){ .slots = g_new0(struct AinOrigin, ain_n_keys) };
  }
  AinConfig *config = combine(input, layers, error);
  for (guint i = 0; i < LAYER_COUNT; i++) {
    origins_free(layers[i].slots);
  }
  return config;
}

/* Owned absolute directory; *source for messages. */
static char *find_home(const char *asked, const char **source, GError **error) {
  const char *variable = g_getenv("IOTDB_AINODE_HOME");
  if (asked != NULL) {
    *source = "the caller";
    return g_canonicalize_filename(asked, NULL);
  }
  if (variable != NULL && *variable != '\0') {
    *source = "environment IOTDB_AINODE_HOME";
    return g_canonicalize_filename(variable, NULL);
  }
  *source = "the place of the executable";
  g_autofree char *executable = g_file_read_link("/proc/self/exe", NULL);
  if (executable == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL,
                "/proc/self/exe does not tell where the program is; set IOTDB_AINODE_HOME");
    return NULL;
  }
  g_autofree char *folder = g_path_get_dirname(executable);
  return g_path_get_dirname(folder);
}

static gboolean check_home(const char *home, const char *source, GError **error) {
  if (!g_file_test(home, G_FILE_TEST_IS_DIR)) {
    g_autofree char *shown = ain_properties_quote(home);
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "the installation directory %s (from %s) is not a directory; set IOTDB_AINODE_HOME to the "
                "folder that has lib, sbin and conf",
                shown, source);
    return FALSE;
  }
  return TRUE;
}

AinConfig *ain_config_load(const char *home, const char *file, const char *const *overrides, GError **error) {
  const char *home_source = NULL;
  g_autofree char *absolute = find_home(home, &home_source, error);
  if (absolute == NULL || !check_home(absolute, home_source, error)) {
    return NULL;
  }
  g_autofree char *path =
      file != NULL ? g_canonicalize_filename(file, NULL) : g_build_filename(absolute, FILE_IN_HOME, NULL);
  g_autoptr(GBytes) bytes = NULL;
  struct stat info;
  if (file == NULL && stat(path, &info) != 0 && errno == ENOENT) {
    g_warning("%s does not exist; every key has its default or what the environment says", path);
  } else {
    bytes = ain_file_read(path, AIN_PROPERTIES_MAX_FILE, error);
    if (bytes == NULL) {
      return NULL;
    }
  }
  g_auto(GStrv) environment = g_get_environ();
  gsize size = 0;
  const char *data = bytes != NULL ? g_bytes_get_data(bytes, &size) : NULL;
  AinConfigInput input = { .home = absolute,
                           .file = path,
                           .data = bytes != NULL && data == NULL ? "" : data,
                           .size = size,
                           .environment = (const char *const *)environment,
                           .overrides = overrides };
  return ain_config_load_input(&input, error);
}
