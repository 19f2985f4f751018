/* Values by type; see value.h. */
#include "config/value.h"

#include "base/error.h"
#include "config/properties.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <string.h>

#define HIDDEN "********"
#define HOST_MAX 253
#define PATH_MAX_BYTES 4000 /* Linux allows 4096; what is put below must fit too */
#define SEEDS_MAX 32
/* What the newest official file has as ain_models_builtin_dir: a module, not a directory. */
#define OFFICIAL_BUILTIN_MODULE "iotdb.ainode.core.model"

G_GNUC_PRINTF(2, 3)
static gboolean refuse(GError **error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INVALID, text);
  return FALSE;
}

static char *allowed_integer(const AinKey *key) {
  return g_strdup_printf("%san integer from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT "%s%s",
                         (key->flags & AIN_KEY_ZERO_IS_OFF) != 0 ? "0, or " : "", key->min, key->max,
                         key->unit != NULL ? " " : "", key->unit != NULL ? key->unit : "");
}

char *ain_value_allowed(const AinKey *key) {
  switch (key->type) {
  case AIN_VALUE_TEXT:
    return g_strdup_printf("text of %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " bytes", key->min, key->max);
  case AIN_VALUE_INTEGER:
  case AIN_VALUE_PORT:
    return allowed_integer(key);
  case AIN_VALUE_BOOLEAN:
    return g_strdup("0 or 1 (or false, true)");
  case AIN_VALUE_DECIMAL:
    return g_strdup_printf("a number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, key->min, key->max);
  case AIN_VALUE_HOST:
    return g_strdup("a host name, an IPv4 or an IPv6 address");
  case AIN_VALUE_SEEDS:
    return g_strdup_printf("host:port, up to %d of them separated by commas, an IPv6 address in brackets "
                           "([::1]:10710)",
                           SEEDS_MAX);
  case AIN_VALUE_PATH:
    return g_strdup_printf("%sa path, absolute or starting at the installation directory",
                           key->min == 0 ? "empty, or " : "");
  case AIN_VALUE_RELEASE:
    return g_strdup("auto, or a release such as 2.0.5 or 2.0.1-beta");
  case AIN_VALUE_TIME_ZONE:
    return g_strdup("a time zone such as UTC+8, +08:00 or Asia/Shanghai");
  case AIN_VALUE_CHOICE: {
    g_auto(GStrv) words = g_strsplit(key->choices, "|", -1);
    return g_strjoinv(" or ", words);
  }
  case AIN_VALUE_SIZE_MAP:
  default:
    return g_strdup("a map such as {'sundial': 1086324736}");
  }
}

char *ain_value_quote(const AinKey *key, const char *text) {
  return (key->flags & AIN_KEY_SECRET) != 0 ? g_strdup("(hidden)") : ain_properties_quote(text);
}

static gpointer field_of(const AinKey *key, AinConfig *config) {
  gboolean stored = config != NULL && key->offset != AIN_KEY_NO_FIELD;
  return stored ? (char *)config + key->offset : NULL;
}

static void store_text(char **field, const char *text) {
  if (field != NULL) {
    g_free(*field);
    *field = g_strdup(text);
  }
}

static gboolean set_integer(const AinKey *key, const char *text, gpointer field, GError **error) {
  gint64 value = 0;
  g_autoptr(GError) why = NULL;
  if (!g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &value, &why)) {
    gboolean huge = g_error_matches(why, G_NUMBER_PARSER_ERROR, G_NUMBER_PARSER_ERROR_OUT_OF_BOUNDS);
    return refuse(error, huge ? "is out of range" : "is not an integer");
  }
  gboolean off = value == 0 && (key->flags & AIN_KEY_ZERO_IS_OFF) != 0;
  if (!off && (value < key->min || value > key->max)) {
    return refuse(error, "is out of range");
  }
  if (field != NULL && key->type == AIN_VALUE_PORT) {
    *(guint16 *)field = (guint16)value;
  } else if (field != NULL) {
    *(gint64 *)field = value;
  }
  return TRUE;
}

static gboolean set_boolean(const char *text, gpointer field, GError **error) {
  gboolean on = g_str_equal(text, "1") || g_ascii_strcasecmp(text, "true") == 0;
  if (!on && !g_str_equal(text, "0") && g_ascii_strcasecmp(text, "false") != 0) {
    return refuse(error, "is neither 0 nor 1");
  }
  if (field != NULL) {
    *(gboolean *)field = on;
  }
  return TRUE;
}

static gboolean check_decimal(const AinKey *key, const char *text, GError **error) {
  char *end = NULL;
  double value = g_ascii_strtod(text, &end);
  gboolean plain = strspn(text, "0123456789.eE+-") == strlen(text);
  if (!plain || end == text || *end != '\0' || !isfinite(value)) {
    return refuse(error, "is not a number");
  }
  if (value < (double)key->min || value > (double)key->max) {
    return refuse(error, "is out of range");
  }
  return TRUE;
}

static gboolean is_host_name(const char *host) {
  gsize label = 0;
  for (const char *p = host; *p != '\0'; p++) {
    if (*p == '.') {
      if (label == 0 || p[-1] == '-') {
        return FALSE;
      }
      label = 0;
      continue;
    }
    /* '_' is no letter of host names, but container platforms make names with it */
    if ((!g_ascii_isalnum(*p) && *p != '_' && (*p != '-' || label == 0)) || ++label > 63) {
      return FALSE;
    }
  }
  return *host != '\0' && strlen(host) <= HOST_MAX;
}

static gboolean is_ipv6(const char *host) {
  struct in6_addr address;
  const char *scope = strchr(host, '%');
  g_autofree char *bare = scope != NULL ? g_strndup(host, (gsize)(scope - host)) : g_strdup(host);
  if (inet_pton(AF_INET6, bare, &address) != 1) {
    return FALSE;
  }
  return scope == NULL || (strlen(scope) <= 16 && is_host_name(scope + 1)); /* an interface's name */
}

/* Owned host without brackets; in_seed: an IPv6 address must stand in brackets. */
static char *parse_host(const char *text, gboolean in_seed, GError **error) {
  gsize size = strlen(text);
  gboolean bracketed = size > 2 && text[0] == '[' && text[size - 1] == ']';
  g_autofree char *host = bracketed ? g_strndup(text + 1, size - 2) : g_strdup(text);
  struct in_addr v4;
  gboolean good = FALSE;
  if (bracketed || strchr(host, ':') != NULL) {
    good = (bracketed || !in_seed) && is_ipv6(host);
  } else if (strspn(host, "0123456789.") == strlen(host)) {
    good = inet_pton(AF_INET, host, &v4) == 1;
  } else {
    good = is_host_name(host);
  }
  if (!good) {
    g_autofree char *shown = ain_properties_quote(text);
    refuse(error, "has no valid host name or address (%s)", shown);
    return NULL;
  }
  return g_steal_pointer(&host);
}

static gboolean set_host(const char *text, char **field, GError **error) {
  g_autofree char *host = parse_host(text, FALSE, error);
  if (host == NULL) {
    return FALSE;
  }
  store_text(field, host);
  return TRUE;
}

static gboolean parse_endpoint(const char *text, AinEndpoint *endpoint, GError **error) {
  const char *colon = strrchr(text, ':');
  const char *bracket = strrchr(text, ']');
  g_autofree char *shown = ain_properties_quote(text);
  if (colon == NULL || (bracket != NULL && bracket > colon)) {
    return refuse(error, "has an address without a port (%s)", shown);
  }
  guint64 port = 0;
  if (!g_ascii_string_to_unsigned(colon + 1, 10, 1, G_MAXUINT16, &port, NULL)) {
    return refuse(error, "has a port that is not an integer from 1 to 65535 (%s)", shown);
  }
  g_autofree char *before = g_strndup(text, (gsize)(colon - text));
  endpoint->host = parse_host(before, TRUE, error);
  endpoint->port = (guint16)port;
  return endpoint->host != NULL;
}

static void free_endpoints(AinEndpoint *endpoints, guint count) {
  for (guint i = 0; i < count; i++) {
    g_free(endpoints[i].host);
  }
  g_free(endpoints);
}

/* The list that a key of type SEEDS fills. */
static void find_list(const AinKey *key, AinConfig *config, AinEndpoint ***list, guint **count) {
  gboolean is_ingress = key->offset == G_STRUCT_OFFSET(AinConfig, ingress_nodes);
  *list = is_ingress ? &config->ingress_nodes : &config->seeds;
  *count = is_ingress ? &config->n_ingress_nodes : &config->n_seeds;
}

static gboolean set_seeds(const AinKey *key, const char *text, AinConfig *config, GError **error) {
  g_auto(GStrv) parts = g_strsplit(text, ",", SEEDS_MAX + 1);
  guint count = g_strv_length(parts);
  if (count > SEEDS_MAX) {
    return refuse(error, "names too many nodes");
  }
  AinEndpoint *nodes = g_new0(AinEndpoint, MAX(count, 1));
  for (guint i = 0; i < count; i++) {
    if (!parse_endpoint(g_strstrip(parts[i]), &nodes[i], error)) {
      free_endpoints(nodes, i);
      return FALSE;
    }
  }
  if (config == NULL) {
    free_endpoints(nodes, count);
    return TRUE;
  }
  AinEndpoint **list;
  guint *length;
  find_list(key, config, &list, &length);
  free_endpoints(*list, *length);
  *list = nodes;
  *length = count;
  return TRUE;
}

static gboolean set_path(const AinKey *key, const char *text, AinConfig *config, GError **error) {
  if (strlen(text) > PATH_MAX_BYTES) {
    return refuse(error, "is longer than %d bytes", PATH_MAX_BYTES);
  }
  char **field = field_of(key, config);
  gboolean module =
      key->offset == offsetof(AinConfig, builtin_models_dir) && g_str_equal(text, OFFICIAL_BUILTIN_MODULE);
  if (*text == '\0' || module) {
    store_text(field, NULL);
  } else if (field != NULL) {
    g_autofree char *absolute = g_canonicalize_filename(text, config->home);
    store_text(field, absolute);
  }
  return TRUE;
}

/* Pattern for the types whose values are short words. */
static gboolean set_word(const char *pattern, const char *text, char **field, GError **error) {
  if (!g_regex_match_simple(pattern, text, G_REGEX_DOLLAR_ENDONLY, 0)) {
    return refuse(error, "is not understood");
  }
  store_text(field, text);
  return TRUE;
}

static gboolean check_text(const AinKey *key, const char *text, GError **error) {
  if (!g_utf8_validate(text, -1, NULL)) {
    return refuse(error, "is not UTF-8 text");
  }
  for (const char *p = text; *p != '\0'; p++) {
    if (g_ascii_iscntrl(*p)) {
      return refuse(error, "has a control character");
    }
  }
  gboolean may_be_empty = key->min == 0 && (key->type == AIN_VALUE_TEXT || key->type == AIN_VALUE_PATH);
  may_be_empty = may_be_empty || (key->type == AIN_VALUE_SEEDS && *key->initial == '\0');
  if (*text == '\0' && !may_be_empty) {
    return refuse(error, "is empty");
  }
  return TRUE;
}

static gboolean set_text(const AinKey *key, const char *text, char **field, GError **error) {
  gsize size = strlen(text);
  if (size < (gsize)key->min || size > (gsize)key->max) {
    return refuse(error, "has %" G_GSIZE_FORMAT " bytes", size);
  }
  store_text(field, text);
  return TRUE;
}

gboolean ain_value_set(const AinKey *key, const char *text, AinConfig *config, GError **error) {
  if (!check_text(key, text, error)) {
    return FALSE;
  }
  gpointer field = field_of(key, config);
  switch (key->type) {
  case AIN_VALUE_TEXT:
    return set_text(key, text, field, error);
  case AIN_VALUE_INTEGER:
  case AIN_VALUE_PORT:
    return set_integer(key, text, field, error);
  case AIN_VALUE_BOOLEAN:
    return set_boolean(text, field, error);
  case AIN_VALUE_DECIMAL:
    return check_decimal(key, text, error);
  case AIN_VALUE_HOST:
    return set_host(text, field, error);
  case AIN_VALUE_SEEDS:
    return set_seeds(key, text, config, error);
  case AIN_VALUE_PATH:
    return set_path(key, text, config, error);
  case AIN_VALUE_RELEASE:
    return set_word("^(auto|2\\.0\\.[0-9]{1,3}(\\.[0-9]{1,3})?(-[A-Za-z0-9]{1,16})?)$", text, field, error);
  case AIN_VALUE_TIME_ZONE:
    return set_word("^[A-Za-z0-9+:/_-]{1,64}$", text, field, error);
  case AIN_VALUE_CHOICE: {
    g_autofree char *pattern = g_strdup_printf("^(%s)$", key->choices);
    return set_word(pattern, text, field, error);
  }
  case AIN_VALUE_SIZE_MAP:
  default:
    return set_word("^\\{[A-Za-z0-9_'\": ,.*+-]{0,4094}\\}$", text, field, error);
  }
}

static char *show_seeds(const AinKey *key, const AinConfig *config) {
  g_autoptr(GString) out = g_string_new(NULL);
  AinEndpoint **list;
  guint *length;
  find_list(key, (AinConfig *)config, &list, &length);
  for (guint i = 0; i < *length; i++) {
    const AinEndpoint *seed = &(*list)[i];
    gboolean v6 = strchr(seed->host, ':') != NULL;
    g_string_append_printf(out, "%s%s%s%s:%u", i > 0 ? "," : "", v6 ? "[" : "", seed->host, v6 ? "]" : "",
                           seed->port);
  }
  return g_string_free(g_steal_pointer(&out), FALSE);
}

char *ain_value_show(const AinKey *key, const AinConfig *config, const char *text) {
  if ((key->flags & AIN_KEY_SECRET) != 0) {
    return g_strdup(HIDDEN);
  }
  if (key->offset == AIN_KEY_NO_FIELD) {
    return g_strdup(text);
  }
  gconstpointer field = (const char *)config + key->offset;
  switch (key->type) {
  case AIN_VALUE_INTEGER:
    return g_strdup_printf("%" G_GINT64_FORMAT, *(const gint64 *)field);
  case AIN_VALUE_PORT:
    return g_strdup_printf("%u", *(const guint16 *)field);
  case AIN_VALUE_BOOLEAN:
    return g_strdup(*(const gboolean *)field ? "1" : "0");
  case AIN_VALUE_SEEDS:
    return show_seeds(key, config);
  default:
    return g_strdup(*(char *const *)field != NULL ? *(char *const *)field : "");
  }
}
