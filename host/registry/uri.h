/* The uri of CREATE MODEL: text only, the file system is not looked at. Any thread. */
#pragma once
#include <glib.h>

/* TRUE for http://, https:// and repo://, which a fetcher has to get first. */
gboolean ain_registry_uri_is_remote(const char *uri);

/* The folder that uri names: *literal as written, and *decoded with percent escapes undone, or NULL when
 * there are none (callers try the literal one first). Both owned and absolute. Errors: INVALID_URI,
 * UNSUPPORTED (http, https, repo). */
gboolean ain_registry_parse_uri(const char *uri, gsize size, char **literal, char **decoded, GError **error);
