/* The uri of CREATE MODEL: see uri.h. */
#include "registry/uri.h"

#include "base/error.h"
#include "registry/registry.h"
#include "registry/text.h"

#include <limits.h>
#include <string.h>

#define FORM "write file:/// and the absolute path of a folder that holds model.pt and config.yaml"
/* "file://localhost" before the path. */
#define PREFIX_BYTES 32

G_GNUC_PRINTF(4, 5)
static gboolean refuse(GError **error, AinErrorCode code, const char *uri, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *reason = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_autofree char *shown = ain_registry_show(uri, -1);
  g_set_error(error, AIN_ERROR, (int)code, "the uri \"%s\" %s", shown, reason);
  return FALSE;
}

static gboolean check_text(const char *uri, gsize size, GError **error) {
  if (size == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "the uri is empty; " FORM);
    return FALSE;
  }
  if (size >= PATH_MAX + PREFIX_BYTES) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI,
                "the uri has %" G_GSIZE_FORMAT " bytes, more than the %d of the longest path", size,
                PATH_MAX);
    return FALSE;
  }
  if (memchr(uri, 0, size) != NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_URI, "the uri contains a NUL byte; " FORM);
    return FALSE;
  }
  return TRUE;
}

static gboolean has_prefix(const char *text, const char *prefix) {
  return g_ascii_strncasecmp(text, prefix, strlen(prefix)) == 0;
}

/* The text before the first ':' when it has the form of a scheme, else NULL. Owned. */
static char *scheme_of(const char *uri) {
  gsize length = strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
  return length > 0 && uri[length] == ':' ? g_ascii_strdown(uri, (gssize)length) : NULL;
}

gboolean ain_registry_uri_is_remote(const char *uri) {
  return has_prefix(uri, "http://") || has_prefix(uri, "https://") || has_prefix(uri, "repo://");
}

/* Where the path starts, or NULL with the reason why there is none. */
static const char *path_of(const char *uri, GError **error) {
  g_autofree char *scheme = scheme_of(uri);
  if (scheme == NULL) {
    return uri;
  }
  if (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0 || strcmp(scheme, "repo") == 0) {
    refuse(error, AIN_ERROR_UNSUPPORTED, uri,
           "asks for a download, which this AINode does not do; download model.pt and config.yaml into a "
           "folder on the machine of the AINode and register that folder as file:///<folder>");
    return NULL;
  }
  if (strcmp(scheme, "file") != 0) {
    refuse(error, AIN_ERROR_INVALID_URI, uri, "has the scheme \"%s\", which is not known; " FORM, scheme);
    return NULL;
  }
  const char *rest = uri + strlen("file:");
  if (!g_str_has_prefix(rest, "//")) {
    return rest;
  }
  rest += 2;
  return has_prefix(rest, "localhost/") ? rest + strlen("localhost") : rest;
}

/* Owned absolute path, or NULL. */
static char *absolute(const char *uri, const char *path, GError **error) {
  if (path[0] == '/') {
    return g_strdup(path);
  }
  if (path[0] == '~' && (path[1] == '/' || path[1] == 0)) {
    const char *home = g_get_home_dir();
    if (home == NULL || home[0] != '/') {
      refuse(error, AIN_ERROR_INVALID_URI, uri, "starts at ~, but the user of the AINode has no home folder");
      return NULL;
    }
    return g_strconcat(home, path + 1, NULL);
  }
  if (path[0] == '~') {
    refuse(error, AIN_ERROR_INVALID_URI, uri,
           "names the home folder of a user; only ~/ is understood; " FORM);
  } else if (path == uri) {
    refuse(error, AIN_ERROR_INVALID_URI, uri, "is a relative path; " FORM);
  } else {
    refuse(error, AIN_ERROR_INVALID_URI, uri, "names a relative path or another machine; " FORM);
  }
  return NULL;
}

/* Owned decoded path; NULL when there is nothing to decode. *has_nul tells of %00. */
static char *percent_decode(const char *path, gboolean *has_nul) {
  *has_nul = FALSE;
  if (strchr(path, '%') == NULL) {
    return NULL;
  }
  GString *decoded = g_string_sized_new(strlen(path));
  for (const char *at = path; *at != 0; at++) {
    if (at[0] != '%' || !g_ascii_isxdigit(at[1]) || !g_ascii_isxdigit(at[2])) {
      g_string_append_c(decoded, *at);
      continue;
    }
    int byte = g_ascii_xdigit_value(at[1]) * 16 + g_ascii_xdigit_value(at[2]);
    *has_nul |= byte == 0;
    g_string_append_c(decoded, (char)byte);
    at += 2;
  }
  gboolean same = strcmp(decoded->str, path) == 0;
  return g_string_free(decoded, same);
}

gboolean ain_registry_parse_uri(const char *uri, gsize size, char **literal, char **decoded, GError **error) {
  if (!check_text(uri, size, error)) {
    return FALSE;
  }
  g_autofree char *text = g_strndup(uri, size);
  const char *path = path_of(text, error);
  g_autofree char *plain = path == NULL ? NULL : absolute(text, path, error);
  if (plain == NULL) {
    return FALSE;
  }
  if (strlen(plain) >= PATH_MAX) {
    return refuse(error, AIN_ERROR_INVALID_URI, text, "is longer than the %d bytes of the longest path",
                  PATH_MAX);
  }
  gboolean has_nul = FALSE;
  g_autofree char *other = percent_decode(plain, &has_nul);
  if (has_nul) {
    return refuse(error, AIN_ERROR_INVALID_URI, text, "contains a NUL byte (%%00); " FORM);
  }
  *literal = g_steal_pointer(&plain);
  *decoded = g_steal_pointer(&other);
  return TRUE;
}

/* Printable ASCII: what else there may be, the fetcher says. */
static gboolean check_remote(const char *uri, gsize size, GError **error) {
  for (gsize i = 0; i < size; i++) {
    if (uri[i] <= ' ' || uri[i] >= 0x7f) {
      g_autofree char *text = g_strndup(uri, size);
      return refuse(error, AIN_ERROR_INVALID_URI, text,
                    "holds a character that a URL cannot hold; write it with percent escapes");
    }
  }
  return TRUE;
}

gboolean ain_registry_check_uri(const char *uri, gsize size, GError **error) {
  g_autofree char *text = g_strndup(uri, size);
  if (check_text(uri, size, NULL) && ain_registry_uri_is_remote(text)) {
    return check_remote(uri, size, error);
  }
  g_autofree char *literal = NULL;
  g_autofree char *decoded = NULL;
  return ain_registry_parse_uri(uri, size, &literal, &decoded, error);
}
