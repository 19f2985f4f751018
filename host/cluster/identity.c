#include "cluster/identity.h"

#include "ain-version.h"
#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_NAME "system.properties"
#define MAX_FILE 65536 /* the real one has 300 bytes */

void ain_identity_free(AinIdentity *identity) {
  if (identity != NULL) {
    g_free(identity->path);
    g_free(identity->cluster_name);
    g_free(identity->version);
    g_free(identity->build_info);
    g_free(identity->rpc_address);
    g_free(identity->rpc_port);
    g_free(identity);
  }
}

/* Undoes the escapes that a Java or jproperties writer puts before separators; any other backslash stays. */
static char *unescape(const char *text) {
  GString *out = g_string_sized_new(strlen(text));
  for (const char *at = text; *at != '\0'; at++) {
    if (at[0] == '\\' && at[1] != '\0' && strchr("=:#!\\ ", at[1]) != NULL) {
      at++;
    }
    g_string_append_c(out, *at);
  }
  return g_string_free(out, FALSE);
}

static gboolean take_id(AinIdentity *identity, const char *value, GError **error) {
  char *end = NULL;
  errno = 0;
  gint64 id = g_ascii_strtoll(value, &end, 10);
  if (errno != 0 || end == value || *end != '\0' || id < 0 || id > G_MAXINT32) {
    g_autofree char *shown = g_strndup(value, 40);
    g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL, "ainode_id is \"%s\", not a node id", shown);
    return FALSE;
  }
  if (identity->node_id >= 0 && identity->node_id != id) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL, "ainode_id stands there twice, as %d and %d",
                identity->node_id, (gint32)id);
    return FALSE;
  }
  identity->node_id = (gint32)id;
  return TRUE;
}

static gboolean take_line(AinIdentity *identity, char *line, GError **error) {
  g_strstrip(line);
  if (line[0] == '\0' || line[0] == '#' || line[0] == '!') {
    return TRUE;
  }
  char *separator = strpbrk(line, "=:");
  if (separator == NULL) {
    return TRUE; /* only ainode_id matters, and its absence is noticed */
  }
  *separator = '\0';
  const char *key = g_strchomp(line);
  g_autofree char *value = unescape(g_strchug(separator + 1));
  const struct {
    const char *key;
    char **field;
  } texts[] = {
    { "cluster_name", &identity->cluster_name }, { "iotdb_version", &identity->version },
    { "commit_id", &identity->build_info },      { "ain_rpc_address", &identity->rpc_address },
    { "ain_rpc_port", &identity->rpc_port },
  };
  if (strcmp(key, "ainode_id") == 0) {
    return take_id(identity, value, error);
  }
  for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
    if (strcmp(key, texts[i].key) == 0) {
      g_free(*texts[i].field);
      *texts[i].field = g_steal_pointer(&value);
      break;
    }
  }
  return TRUE;
}

static gboolean parse(AinIdentity *identity, GBytes *bytes, GError **error) {
  gsize size;
  const char *data = g_bytes_get_data(bytes, &size);
  if (size > 0 && memchr(data, 0, size) != NULL) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INTERNAL, "it holds binary data");
    return FALSE;
  }
  g_autofree char *text = g_utf8_make_valid(data != NULL ? data : "", (gssize)size);
  g_auto(GStrv) lines = g_strsplit_set(text, "\r\n", -1);
  for (guint i = 0; lines[i] != NULL; i++) {
    if (!take_line(identity, lines[i], error)) {
      return FALSE;
    }
  }
  if (identity->node_id < 0) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INTERNAL, "it has no ainode_id");
    return FALSE;
  }
  return TRUE;
}

static gboolean is_absent(const char *path) {
  GStatBuf info;
  return g_lstat(path, &info) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

static gboolean fill(AinIdentity *identity, GError **error) {
  g_autoptr(GBytes) bytes = ain_file_read(identity->path, MAX_FILE, error);
  return bytes != NULL && parse(identity, bytes, error);
}

AinIdentity *ain_identity_load(const char *system_dir, GError **error) {
  AinIdentity *identity = g_new0(AinIdentity, 1);
  identity->path = g_build_filename(system_dir, FILE_NAME, NULL);
  identity->node_id = -1;
  g_autoptr(GError) cause = NULL;
  if (is_absent(identity->path) || fill(identity, &cause)) {
    return identity;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL,
              "the identity file %s cannot be used: %s; restore it, or delete it if this node was never "
              "registered",
              identity->path, cause->message);
  ain_identity_free(identity);
  return NULL;
}

gboolean ain_identity_prepare(const char *system_dir, GError **error) {
  g_autoptr(GError) cause = NULL;
  if (!ain_file_make_directory(system_dir, &cause)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL, "%s (key ain_system_dir)", cause->message);
    return FALSE;
  }
  g_autofree char *probe = g_build_filename(system_dir, ".probe.XXXXXX", NULL);
  ain_fd int fd = g_mkstemp(probe);
  if (fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno,
                        "cannot write into %s (key ain_system_dir), where this node must keep its id",
                        system_dir);
    return FALSE;
  }
  (void)unlink(probe);
  return TRUE;
}

/* A line break in a value would start another key. */
static void append(GString *out, const char *key, const char *value) {
  g_autofree char *line = g_strdup(value);
  g_string_append_printf(out, "%s=%s\n", key, g_strdelimit(line, "\r\n", ' '));
}

static char *seeds_text(const AinConfig *config) {
  GString *out = g_string_new(NULL);
  for (guint i = 0; i < config->n_seeds; i++) {
    g_string_append_printf(out, "%sTEndPoint(ip='%s', port=%u)", i > 0 ? ", " : "", config->seeds[i].host,
                           config->seeds[i].port);
  }
  if (config->n_seeds > 1) {
    g_string_prepend_c(out, '[');
    g_string_append_c(out, ']');
  }
  return g_string_free(out, FALSE);
}

gboolean ain_identity_store(const AinConfig *config, gint32 node_id, GError **error) {
  g_autofree char *path = g_build_filename(config->system_dir, FILE_NAME, NULL);
  g_autoptr(GDateTime) now = g_date_time_new_now_local();
  g_autofree char *time = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");
  g_autofree char *seeds = seeds_text(config);
  g_autofree char *id = g_strdup_printf("%d", node_id);
  g_autofree char *port = g_strdup_printf("%u", config->rpc_port);
  g_autoptr(GString) out = g_string_new(NULL);
  g_string_append_printf(out, "#%s.%06d\n", time, g_date_time_get_microsecond(now));
  append(out, "ainode_id", id);
  append(out, "cluster_name", config->cluster_name);
  append(out, "iotdb_version", AIN_VERSION);
  append(out, "commit_id", AIN_BUILD_INFO);
  append(out, "ain_rpc_address", config->rpc_address);
  append(out, "ain_rpc_port", port);
  append(out, "config_node_list", seeds);
  return ain_file_replace(path, out->str, out->len, 0644, error);
}

/* A file without the key says nothing. */
static gboolean differs(const char *stored, const char *configured) {
  if (stored == NULL) {
    return FALSE;
  }
  g_autofree char *unescaped = unescape(configured); /* the file may hold backslashes as they were */
  return strcmp(stored, configured) != 0 && strcmp(stored, unescaped) != 0;
}

GPtrArray *ain_identity_notes(const AinIdentity *identity, const AinConfig *config) {
  GPtrArray *notes = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *port = g_strdup_printf("%u", config->rpc_port);
  if (differs(identity->cluster_name, config->cluster_name)) {
    g_ptr_array_add(notes,
                    g_strdup_printf("cluster_name is \"%s\", but this node was registered in \"%s\" (%s)",
                                    config->cluster_name, identity->cluster_name, identity->path));
  }
  if (differs(identity->rpc_address, config->rpc_address) || differs(identity->rpc_port, port)) {
    g_ptr_array_add(
        notes,
        g_strdup_printf("the address of node %d changes from %s:%s to %s:%s; DataNodes up to 2.0.7 may keep "
                        "dialling the old one until they restart",
                        identity->node_id, identity->rpc_address != NULL ? identity->rpc_address : "?",
                        identity->rpc_port != NULL ? identity->rpc_port : "?", config->rpc_address, port));
  }
  return notes;
}

gboolean ain_identity_is_stale(const AinIdentity *identity, const AinConfig *config) {
  g_autoptr(GPtrArray) notes = ain_identity_notes(identity, config);
  return notes->len > 0 || differs(identity->version, AIN_VERSION)
         || differs(identity->build_info, AIN_BUILD_INFO);
}
