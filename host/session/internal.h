/* Between session.c (connection, login, repeating) and rows.c (pages to values). Private to this folder and
 * its tests. */
#pragma once
#include "session/data_node.h"

/* Takes the page's contents. session: borrowed, NULL for pages without a DataNode (tests). Errors: MALFORMED,
 * TOO_LARGE, UNSUPPORTED (a type not known here, a statement without columns). */
AinRows *ain_rows_new(AinSession *session, const char *sql, const AinQueryLimits *limits, AinNodePage *page,
                      GError **error);
void ain_rows_detach(AinRows *rows); /* the session is going away */

/* Fetches the next page of a query into a zeroed one. */
gboolean ain_session_fetch(AinSession *session, const char *sql, const AinQueryLimits *limits,
                           gint64 query_id, AinNodePage *page, GError **error);
/* The rows are being freed. query_id: of a query that has pages left, otherwise -1. */
void ain_session_end_query(AinSession *session, gint64 query_id);
