/* Reads the text of a .properties file as the official node does: key=value lines, '#' and '!' comments,
 * surrounding double quotes stripped, Java escapes undone, UTF-8 with or without a byte order mark, LF or
 * CRLF. Unlike there, a line that breaks the rules is an error that names it. Pure function of its bytes: no
 * files, no globals, any thread. */
#pragma once
#include <glib.h>

/* Bounds of a hostile file: bytes of the whole and of one line. */
#define AIN_PROPERTIES_MAX_FILE ((gsize)1024 * 1024)
#define AIN_PROPERTIES_MAX_LINE 8192

typedef struct {
  char *key;
  char *value;
  guint line; /* from 1 */
} AinProperty;

/* Owned array of AinProperty in file order; a key may stand in it twice. name is what messages call the file.
 * Errors: INVALID, TOO_LARGE ("name:line: ..."). */
GPtrArray *ain_properties_parse(const char *data, gsize size, const char *name, GError **error);

/* A value for a message: control characters escaped, cut after about a line. Owned. */
char *ain_properties_quote(const char *value);
