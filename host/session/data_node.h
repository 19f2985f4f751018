/* Calls of one DataNode over one connection, blocking. One thread at a time.
 *
 * Any error but a status leaves the connection unusable: drop it. Errors of every call: those of
 * ain_transport_connect/receive and ain_session_reply_check. */
#pragma once
#include "cluster/transport.h"
#include "session/session.h"

#include <glib.h>

/* A TSStatus; owned. The message is printable and bounded. */
typedef struct {
  gint32 code;
  char *message;
  gboolean need_retry;
} AinNodeStatus;
void ain_node_status_clear(AinNodeStatus *status);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinNodeStatus, ain_node_status_clear)

/* What executing or fetching brought; everything is owned. Nothing in it is checked but its structure. */
typedef struct {
  AinNodeStatus status;
  gint64 query_id; /* -1: none */
  GStrv names;     /* of the columns; NULL in a fetched page */
  GStrv types;
  gint32 *sources; /* n_sources; NULL: not sent */
  guint n_sources;
  gboolean has_times;  /* the block's time column is a column of the result */
  gboolean has_result; /* fetched pages: FALSE at the end */
  gboolean more;
  gboolean is_legacy; /* rows came in the form of older protocols, which no release sends here */
  GPtrArray *blocks;  /* of GByteArray */
} AinNodePage;
void ain_node_page_clear(AinNodePage *page);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinNodePage, ain_node_page_clear)

typedef struct AinDataNode AinDataNode;
AinDataNode *ain_data_node_connect(const AinEndpoint *peer, gboolean compact,
                                   const AinTransportLimits *limits, GError **error);
void ain_data_node_free(AinDataNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinDataNode, ain_data_node_free)
const char *ain_data_node_address(const AinDataNode *node); /* borrowed */
void ain_data_node_set_deadline(AinDataNode *node, gint64 deadline);

/* Each fills a zeroed status or page. *ticks: per second, 0 when the answer names no known precision. */
gboolean ain_data_node_open_session(AinDataNode *node, const AinSessionOptions *options,
                                    AinNodeStatus *status, gint64 *ticks, GError **error);
gboolean ain_data_node_close_session(AinDataNode *node, GError **error);
gboolean ain_data_node_execute(AinDataNode *node, const char *sql, gint32 fetch_rows, gint64 timeout_ms,
                               AinNodePage *page, GError **error);
gboolean ain_data_node_fetch(AinDataNode *node, const char *sql, gint32 fetch_rows, gint64 timeout_ms,
                             gint64 query_id, AinNodePage *page, GError **error);
gboolean ain_data_node_close_query(AinDataNode *node, gint64 query_id, GError **error);
