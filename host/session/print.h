/* Rows as text, for an operator's eyes or as CSV. Stateless; the thread of the rows. */
#pragma once
#include "session/session.h"

#include <glib.h>

typedef struct {
  gboolean csv; /* RFC 4180: a header line, CRLF; nulls are empty, empty texts are "" */
  gint64 ticks; /* ain_session_ticks_per_second(): timestamps are printed as UTC, 2024-01-31T12:00:00.000Z */
  guint64 max_rows; /* 0: all */
} AinPrintOptions;

/* Takes a piece of text; FALSE with an error to stop. */
typedef gboolean (*AinPrintSink)(const char *text, gsize size, gpointer data, GError **error);

/* *printed: rows given to the sink. *cut: max_rows were printed and there are more. In a table, what could
 * move a terminal's cursor is escaped, and the columns' widths are those of the first rows. BLOB is 0x and
 * hex. Errors: those of ain_rows_next() and the sink's. */
gboolean ain_rows_print(AinRows *rows, const AinPrintOptions *options, AinPrintSink sink, gpointer data,
                        guint64 *printed, gboolean *cut, GError **error);
