#include "session/session.h"

#include "base/error.h"
#include "base/loop.h"
#include "cluster/reply_check.h"
#include "cluster/resolve.h"
#include "session/internal.h"
#include "session/status.h"

#include <string.h>

#define MILLISECOND ((gint64)1000)
#define SECOND (1000 * MILLISECOND)
#define CONNECT_TIMEOUT (5 * SECOND)
#define REPLY_TIMEOUT (60 * SECOND)
#define LOGOUT_TIMEOUT (1 * SECOND)
#define MAX_PAGE ((gsize)64 << 20)
#define FETCH_ROWS 10000U
#define MAX_REPEATS 3
#define FIRST_BACK_OFF (200 * MILLISECOND)
#define LAST_BACK_OFF (2 * SECOND)

struct AinSession {
  AinSessionOptions options; /* all its texts are owned */
  AinEndpoint *nodes;
  guint n_nodes;
  AinTlsContext *tls; /* NULL without TLS */
  guint current;      /* index of the node in use or to be tried next */
  gboolean compact;   /* what the DataNodes of this cluster speak, as far as is known */
  AinDataNode *node;  /* NULL: not logged in */
  gint64 ticks;
  AinRows *rows; /* open */
};

/* --- connection and login */

static gboolean pause_for(const AinSession *session, gint64 duration, gint64 deadline, GError **error) {
  gint64 until = ain_loop_now() + duration;
  g_autoptr(GError) ended = NULL;
  if (until >= deadline) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_TIMEOUT, "time is up");
    return FALSE;
  }
  ain_cluster_wait(-1, 0, until, session->options.cancel_fd, &ended);
  if (g_error_matches(ended, AIN_ERROR, AIN_ERROR_TIMEOUT)) {
    return TRUE;
  }
  g_propagate_error(error, g_steal_pointer(&ended));
  return FALSE;
}

static void drop_node(AinSession *session) {
  g_clear_pointer(&session->node, ain_data_node_free);
}

/* Logs in at one DataNode in one protocol. */
static AinDataNode *log_in_as(AinSession *session, const AinEndpoint *at, gboolean compact, gint64 deadline,
                              GError **error) {
  const AinSessionOptions *options = &session->options;
  AinTransportLimits limits = { .connect_us = options->connect_us,
                                .reply_us = options->reply_us,
                                .deadline = deadline,
                                .cancel_fd = options->cancel_fd,
                                .max_reply = options->max_page_bytes,
                                .peer = "DataNode",
                                .tls = session->tls };
  g_autoptr(AinDataNode) node = ain_data_node_connect(at, compact, &limits, error);
  g_auto(AinNodeStatus) status = { 0 };
  gint64 ticks = 0;
  if (node == NULL || !ain_data_node_open_session(node, options, &status, &ticks, error)) {
    return NULL;
  }
  if (ain_node_verdict(&status) != AIN_NODE_DONE) {
    ain_node_refused_login(&status, ain_data_node_address(node), options, error);
    return NULL;
  }
  if (ticks == 0) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                        "it names a timestamp precision not known here");
    return NULL;
  }
  session->ticks = ticks;
  return g_steal_pointer(&node);
}

/* A server closes without a word when the protocols differ (dn_rpc_thrift_compression_enable): then the other
 * one is tried. */
static AinDataNode *log_in_at(AinSession *session, const AinEndpoint *at, gint64 deadline, GError **error) {
  g_autoptr(GError) failed = NULL;
  AinDataNode *node = log_in_as(session, at, session->compact, deadline, &failed);
  if (node != NULL) {
    return node;
  }
  if (!g_error_matches(failed, AIN_ERROR, AIN_ERROR_UNREACHABLE)
      || strstr(failed->message, "without an answer") == NULL) {
    g_propagate_error(error, g_steal_pointer(&failed));
    return NULL;
  }
  node = log_in_as(session, at, !session->compact, deadline, NULL);
  if (node != NULL) {
    session->compact = !session->compact;
    return node;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "%s, in neither of Thrift's protocols%s",
              failed->message,
              session->tls == NULL ? "; perhaps it wants TLS (ain_cluster_ingress_ssl_enabled)" : "");
  return NULL;
}

static gboolean is_final(const GError *error) {
  return g_error_matches(error, AIN_ERROR, AIN_ERROR_CANCELLED)
         || g_error_matches(error, AIN_ERROR, AIN_ERROR_REJECTED);
}

/* Asks each DataNode once, from the current one on. */
static gboolean log_in_round(AinSession *session, gint64 deadline, GError **error) {
  g_autoptr(GString) reasons = g_string_new(NULL);
  for (guint i = 0; i < session->n_nodes; i++) {
    const AinEndpoint *at = &session->nodes[(session->current + i) % session->n_nodes];
    g_autoptr(GError) failed = NULL;
    session->node = log_in_at(session, at, deadline, &failed);
    if (session->node != NULL) {
      session->current = (session->current + i) % session->n_nodes;
      return TRUE;
    }
    if (is_final(failed)) {
      g_propagate_error(error, g_steal_pointer(&failed));
      return FALSE;
    }
    g_autofree char *name = ain_cluster_endpoint_text(at->host, at->port);
    g_info("login at DataNode %s: %s", name, failed->message);
    g_string_append_printf(reasons, "%s%s: %s", i > 0 ? "; " : "", name, failed->message);
  }
  g_set_error(error, AIN_ERROR, ain_loop_now() >= deadline ? AIN_ERROR_TIMEOUT : AIN_ERROR_UNREACHABLE,
              "no DataNode could be asked [%s]; check that it runs and that ain_cluster_ingress_address and "
              "ain_cluster_ingress_port name its dn_rpc_address and dn_rpc_port%s",
              reasons->str,
              /* what a real one does about a zone that Java does not know */
              strstr(reasons->str, "failed on openSession") != NULL
                  ? ", and that ain_cluster_ingress_time_zone is a time zone"
                  : "");
  return FALSE;
}

static gboolean log_in(AinSession *session, gint64 wait_us, gint64 deadline, GError **error) {
  gint64 give_up = ain_loop_now() + wait_us;
  for (gint64 back_off = FIRST_BACK_OFF;; back_off = MIN(back_off * 2, LAST_BACK_OFF)) {
    g_autoptr(GError) failed = NULL;
    if (log_in_round(session, deadline, &failed)) {
      return TRUE;
    }
    g_autoptr(GError) ended = NULL;
    gint64 until = MIN(give_up, deadline);
    if (is_final(failed) || ain_loop_now() >= until || !pause_for(session, back_off, until, &ended)) {
      gboolean cancelled = g_error_matches(ended, AIN_ERROR, AIN_ERROR_CANCELLED);
      g_propagate_error(error, cancelled ? g_steal_pointer(&ended) : g_steal_pointer(&failed));
      return FALSE;
    }
  }
}

/* --- the session */

AinSessionOptions ain_session_options(const AinConfig *config) {
  return (AinSessionOptions){ .node = { config->ingress_address, config->ingress_port },
                              .more_nodes = config->ingress_nodes,
                              .n_more_nodes = config->n_ingress_nodes,
                              .username = config->ingress_username,
                              .password = config->ingress_password,
                              .time_zone = config->ingress_time_zone,
                              .tls = config->ingress_ssl ? config : NULL,
                              .cancel_fd = -1 };
}

static void copy_options(AinSession *session, const AinSessionOptions *options) {
  session->options = *options;
  session->n_nodes = 1 + options->n_more_nodes;
  session->nodes = g_new0(AinEndpoint, session->n_nodes);
  for (guint i = 0; i < session->n_nodes; i++) {
    const AinEndpoint *from = i == 0 ? &options->node : &options->more_nodes[i - 1];
    session->nodes[i] = (AinEndpoint){ g_strdup(from->host), from->port };
  }
  AinSessionOptions *own = &session->options;
  own->node = (AinEndpoint){ 0 }; /* were borrowed */
  own->more_nodes = NULL;
  own->database = g_strdup(options->database);
  own->username = g_strdup(options->username);
  own->password = g_strdup(options->password);
  own->time_zone = g_strdup(options->time_zone);
  own->connect_us = options->connect_us > 0 ? options->connect_us : CONNECT_TIMEOUT;
  own->reply_us = options->reply_us > 0 ? options->reply_us : REPLY_TIMEOUT;
  own->max_page_bytes = options->max_page_bytes > 0 ? options->max_page_bytes : MAX_PAGE;
}

static void free_session(AinSession *session) {
  drop_node(session);
  ain_tls_context_free(session->tls);
  for (guint i = 0; i < session->n_nodes; i++) {
    g_free(session->nodes[i].host);
  }
  g_free(session->nodes);
  char *password = (char *)session->options.password;
  explicit_bzero(password, strlen(password));
  g_free(password);
  g_free((char *)session->options.database);
  g_free((char *)session->options.username);
  g_free((char *)session->options.time_zone);
  g_free(session);
}

AinSession *ain_session_open(const AinSessionOptions *options, GError **error) {
  if (options->node.host == NULL || options->username == NULL || options->password == NULL
      || options->time_zone == NULL) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INVALID,
                        "a session needs a DataNode, a user, a password and a time zone");
    return NULL;
  }
  AinSession *session = g_new0(AinSession, 1);
  copy_options(session, options);
  session->options.tls = NULL; /* was borrowed */
  session->tls = options->tls != NULL ? ain_transport_tls(options->tls, error) : NULL;
  if (options->tls != NULL && session->tls == NULL) {
    free_session(session);
    return NULL;
  }
  if (!log_in(session, options->wait_us, options->deadline > 0 ? options->deadline : G_MAXINT64, error)) {
    free_session(session);
    return NULL;
  }
  return session;
}

void ain_session_close(AinSession *session) {
  if (session == NULL) {
    return;
  }
  if (session->rows != NULL) {
    ain_rows_detach(session->rows);
  }
  if (session->node != NULL) {
    /* Closing the connection would do as well; a word spares the DataNode a line in its log. */
    g_autoptr(GError) ignored = NULL;
    ain_data_node_set_deadline(session->node, ain_loop_now() + LOGOUT_TIMEOUT);
    (void)ain_data_node_close_session(session->node, &ignored);
  }
  free_session(session);
}

const char *ain_session_address(const AinSession *session) {
  return session->node != NULL ? ain_data_node_address(session->node) : "";
}

gint64 ain_session_ticks_per_second(const AinSession *session) {
  return session->ticks;
}

/* --- queries */

static gint64 deadline_of(const AinQueryLimits *limits) {
  return limits->deadline > 0 ? limits->deadline : G_MAXINT64;
}

static gint32 fetch_rows_of(const AinQueryLimits *limits) {
  return limits->fetch_rows > 0 ? (gint32)MIN(limits->fetch_rows, (guint32)G_MAXINT32) : (gint32)FETCH_ROWS;
}

/* What the DataNode may take for the query, so that it does not go on when nobody waits any more; 0: its own
 * bound. */
static gint64 timeout_ms_of(const AinQueryLimits *limits) {
  return limits->deadline > 0 ? MAX((limits->deadline - ain_loop_now()) / MILLISECOND, 1) : 0;
}

/* An exchange has failed: the connection is of no use. An answer that did not come in time is TIMEOUT, which
 * is not repeated: the DataNode would do the work twice. */
static gboolean lost(AinSession *session, gint64 started, gint64 deadline, GError *cause, GError **error) {
  gint64 now = ain_loop_now();
  g_autofree char *address = g_strdup(ain_session_address(session));
  drop_node(session);
  if (g_error_matches(cause, AIN_ERROR, AIN_ERROR_UNREACHABLE)
      && (now >= deadline || now - started >= session->options.reply_us)) {
    cause->code = AIN_ERROR_TIMEOUT;
  }
  g_propagate_prefixed_error(error, cause, "DataNode %s: ", address);
  return FALSE;
}

typedef struct {
  AinSession *session;
  const char *sql;
  AinQueryLimits limits;
  guint repeats;
  gboolean reopened;
} Query;

typedef enum { QUERY_DONE, QUERY_AGAIN, QUERY_FAILED } QueryStep;

static gboolean execute(Query *query, AinNodePage *page, GError **error) {
  AinSession *session = query->session;
  gint64 deadline = deadline_of(&query->limits);
  gint64 started = ain_loop_now();
  GError *cause = NULL;
  ain_data_node_set_deadline(session->node, deadline);
  if (!ain_data_node_execute(session->node, query->sql, fetch_rows_of(&query->limits),
                             timeout_ms_of(&query->limits), page, &cause)) {
    return lost(session, started, deadline, cause, error);
  }
  return TRUE;
}

/* Whether a failure may be tried again: on another DataNode where there is one. */
static QueryStep after_failure(Query *query, const GError *failed) {
  if (!g_error_matches(failed, AIN_ERROR, AIN_ERROR_UNREACHABLE) || query->repeats >= MAX_REPEATS) {
    return QUERY_FAILED;
  }
  g_info("query is repeated: %s", failed->message);
  query->session->current = (query->session->current + 1) % query->session->n_nodes;
  query->repeats++;
  return QUERY_AGAIN;
}

static QueryStep try_once(Query *query, AinNodePage *page, GError **error) {
  AinSession *session = query->session;
  gint64 deadline = deadline_of(&query->limits);
  g_autoptr(GError) failed = NULL;
  if ((session->node == NULL && !log_in(session, session->options.wait_us, deadline, &failed))
      || !execute(query, page, &failed)) {
    QueryStep step = after_failure(query, failed);
    g_propagate_error(error, g_steal_pointer(&failed));
    return step;
  }
  AinNodeVerdict verdict = ain_node_verdict(&page->status);
  if (verdict == AIN_NODE_DONE) {
    return QUERY_DONE;
  }
  ain_node_refused_query(&page->status, ain_session_address(session), error);
  if (verdict == AIN_NODE_EXPIRED && !query->reopened) {
    query->reopened = TRUE;
    drop_node(session);
    return QUERY_AGAIN;
  }
  if (verdict != AIN_NODE_PASSING) {
    return QUERY_FAILED;
  }
  if (session->n_nodes > 1) {
    drop_node(session);
  }
  return after_failure(query, *error);
}

static gboolean run_query(Query *query, AinNodePage *page, GError **error) {
  for (gint64 back_off = FIRST_BACK_OFF;; back_off = MIN(back_off * 2, LAST_BACK_OFF)) {
    GError *failed = NULL;
    guint repeats = query->repeats;
    QueryStep step = try_once(query, page, &failed);
    g_autoptr(GError) ended = NULL;
    if (step == QUERY_DONE) {
      return TRUE;
    }
    if (step == QUERY_FAILED
        || (query->repeats > repeats
            && !pause_for(query->session, back_off, deadline_of(&query->limits), &ended))) {
      gboolean cancelled = g_error_matches(ended, AIN_ERROR, AIN_ERROR_CANCELLED);
      g_propagate_error(error, cancelled ? g_steal_pointer(&ended) : g_steal_pointer(&failed));
      g_clear_error(&failed);
      return FALSE;
    }
    g_clear_error(&failed);
    ain_node_page_clear(page);
  }
}

AinRows *ain_session_query(AinSession *session, const char *sql, const AinQueryLimits *limits,
                           GError **error) {
  g_auto(AinNodePage) page = { 0 };
  Query query = { .session = session, .sql = sql };
  if (limits != NULL) {
    query.limits = *limits;
  }
  if (session->rows != NULL) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_BUSY, "rows of this session are still being read");
    return NULL;
  }
  if (!ain_session_check_statement(sql, session->options.dialect, error)
      || !run_query(&query, &page, error)) {
    return NULL;
  }
  gint64 left_open = page.more ? page.query_id : -1;
  session->rows = ain_rows_new(session, sql, limits, &page, error);
  if (session->rows == NULL) {
    ain_session_end_query(session, left_open);
  }
  return session->rows;
}

gboolean ain_session_fetch(AinSession *session, const char *sql, const AinQueryLimits *limits,
                           gint64 query_id, AinNodePage *page, GError **error) {
  gint64 deadline = deadline_of(limits);
  gint64 started = ain_loop_now();
  GError *cause = NULL;
  if (session->node == NULL) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "the connection to the DataNode is gone");
    return FALSE;
  }
  if (started >= deadline) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_TIMEOUT, "time is up");
    return FALSE;
  }
  ain_data_node_set_deadline(session->node, deadline);
  if (!ain_data_node_fetch(session->node, sql, fetch_rows_of(limits), timeout_ms_of(limits), query_id, page,
                           &cause)) {
    return lost(session, started, deadline, cause, error);
  }
  AinNodeVerdict verdict = ain_node_verdict(&page->status);
  if (verdict == AIN_NODE_DONE) {
    return TRUE;
  }
  ain_node_refused_query(&page->status, ain_session_address(session), error);
  if (verdict == AIN_NODE_EXPIRED) {
    drop_node(session);
  }
  return FALSE;
}

void ain_session_end_query(AinSession *session, gint64 query_id) {
  session->rows = NULL;
  if (query_id >= 0 && session->node != NULL) {
    g_autoptr(GError) failed = NULL;
    ain_data_node_set_deadline(session->node, ain_loop_now() + LOGOUT_TIMEOUT);
    if (!ain_data_node_close_query(session->node, query_id, &failed)) {
      drop_node(session);
    }
  }
}

/* --- the check */

static char *ask_version(AinSession *session, const AinQueryLimits *limits) {
  guint32 n_rows = 0;
  AinSlice version = { 0 };
  g_autoptr(AinRows) rows = ain_session_query(session, "SHOW VERSION", limits, NULL);
  if (rows == NULL || !ain_rows_next(rows, &n_rows, NULL)
      || ain_rows_value_size(ain_rows_column(rows, 0)->type) != sizeof version
      || ain_rows_column(rows, 0)->type == AIN_TS_TIMESTAMP
      || !ain_rows_read(rows, 0, 0, 1, &version, NULL, NULL)) {
    return g_strdup("unknown");
  }
  return ain_reply_printable((const char *)version.data, version.size);
}

gboolean ain_session_check(const AinConfig *config, gint64 timeout_us, int cancel_fd, char **found,
                           GError **error) {
  AinSessionOptions options = ain_session_options(config);
  AinQueryLimits limits = { .deadline = ain_loop_now() + timeout_us };
  options.cancel_fd = cancel_fd;
  options.deadline = limits.deadline;
  g_autoptr(AinSession) session = ain_session_open(&options, error);
  if (session == NULL) {
    return FALSE;
  }
  g_autofree char *version = ask_version(session, &limits);
  *found = g_strdup_printf("the DataNode %s (release %s) accepts the login of user \"%s\"",
                           ain_session_address(session), version, config->ingress_username);
  return TRUE;
}
