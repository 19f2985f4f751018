#include "session/data_node.h"

#include "base/error.h"
#include "session/page.h"
#include "session/reply_check.h"
#include "session/status.h"

#include <iotdb_i_client_r_p_c_service.h>
#include <thrift/c_glib/protocol/thrift_binary_protocol.h>
#include <thrift/c_glib/protocol/thrift_compact_protocol.h>

struct AinDataNode {
  AinTransport *transport;
  ThriftProtocol *protocol;
  iotdbIClientRPCServiceIf *service;
  gboolean compact;
  gint64 session_id;
  gint64 statement_id;
};

AinDataNode *ain_data_node_connect(const AinEndpoint *peer, gboolean compact,
                                   const AinTransportLimits *limits, GError **error) {
  g_autoptr(AinTransport) transport = ain_transport_connect(peer, limits, error);
  if (transport == NULL) {
    return NULL;
  }
  AinDataNode *node = g_new0(AinDataNode, 1);
  node->compact = compact;
  node->protocol = g_object_new(compact ? THRIFT_TYPE_COMPACT_PROTOCOL : THRIFT_TYPE_BINARY_PROTOCOL,
                                "transport", transport, NULL);
  node->service = g_object_new(IOTDB_TYPE_I_CLIENT_R_P_C_SERVICE_CLIENT, "input_protocol", node->protocol,
                               "output_protocol", node->protocol, NULL);
  node->transport = g_steal_pointer(&transport);
  return node;
}

void ain_data_node_free(AinDataNode *node) {
  if (node != NULL) {
    g_object_unref(node->service);
    g_object_unref(node->protocol);
    g_object_unref(node->transport);
    g_free(node);
  }
}

const char *ain_data_node_address(const AinDataNode *node) {
  return ain_transport_address(node->transport);
}

void ain_data_node_set_deadline(AinDataNode *node, gint64 deadline) {
  ain_transport_set_deadline(node->transport, deadline);
}

/* --- requests and replies: nothing of the generated types leaves this file and page.c */

static void set_text(char **field, const char *text) {
  g_free(*field);
  *field = g_strdup(text);
}

/* The reply's frame, checked; from here on the generated reader may run. */
static gboolean await(AinDataNode *node, AinSessionCall call, GError **error) {
  AinSlice frame;
  return ain_transport_receive(node->transport, &frame, error)
         && ain_session_reply_check(call, frame, node->compact, error);
}

/* An error of generated code: none is expected after the check. */
static gboolean failed(AinSessionCall call, GError *cause, GError **error) {
  if (cause != NULL && cause->domain == AIN_ERROR) {
    g_propagate_error(error, cause);
    return FALSE;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "%s cannot be sent or its answer read: %s",
              ain_session_method(call), cause != NULL ? cause->message : "unknown reason");
  g_clear_error(&cause);
  return FALSE;
}

#define CLIENT(name) iotdb_i_client_r_p_c_service_client_##name

static void configure(GHashTable *configuration, const char *key, const char *value) {
  g_hash_table_insert(configuration, g_strdup(key), g_strdup(value));
}

static void fill_open(iotdbTSOpenSessionReq *request, const AinSessionOptions *options) {
  gboolean table = options->dialect == AIN_DIALECT_TABLE;
  request->client_protocol = IOTDB_T_S_PROTOCOL_VERSION_IOTDB_SERVICE_PROTOCOL_V3;
  set_text(&request->zoneId, options->time_zone);
  set_text(&request->username, options->username);
  set_text(&request->password, options->password);
  request->__isset_password = TRUE;
  request->__isset_configuration = TRUE;
  configure(request->configuration, "version", "V_1_0");
  configure(request->configuration, "sql_dialect", table ? "table" : "tree");
  if (table && options->database != NULL) {
    configure(request->configuration, "db", options->database);
  }
}

static gint64 ticks_of(const iotdbTSOpenSessionResp *response) {
  const char *precision = response->__isset_configuration
                              ? g_hash_table_lookup(response->configuration, "timestamp_precision")
                              : NULL;
  if (precision == NULL || strcmp(precision, "ms") == 0) {
    return 1000; /* a server that does not say has the default */
  }
  if (strcmp(precision, "us") == 0) {
    return 1000000;
  }
  return strcmp(precision, "ns") == 0 ? 1000000000 : 0;
}

static gboolean request_statement_id(AinDataNode *node, GError **error) {
  GError *cause = NULL;
  if (!CLIENT(send_request_statement_id)(node->service, node->session_id, &cause)
      || !await(node, AIN_SESSION_STATEMENT_ID, &cause)
      || !CLIENT(recv_request_statement_id)(node->service, &node->statement_id, &cause)) {
    return failed(AIN_SESSION_STATEMENT_ID, cause, error);
  }
  return TRUE;
}

/* The request's copy of the password goes with the request. */
static void wipe(char *text) {
  if (text != NULL) {
    explicit_bzero(text, strlen(text));
  }
}

gboolean ain_data_node_open_session(AinDataNode *node, const AinSessionOptions *options,
                                    AinNodeStatus *status, gint64 *ticks, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_S_OPEN_SESSION_REQ, NULL);
  iotdbTSOpenSessionReq *request = (iotdbTSOpenSessionReq *)request_owner;
  fill_open(request, options);
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_S_OPEN_SESSION_RESP, NULL);
  iotdbTSOpenSessionResp *response = (iotdbTSOpenSessionResp *)response_owner;
  gboolean sent = CLIENT(send_open_session)(node->service, request, &cause);
  wipe(request->password);
  if (!sent || !await(node, AIN_SESSION_OPEN, &cause)
      || !CLIENT(recv_open_session)(node->service, &response, &cause)) {
    return failed(AIN_SESSION_OPEN, cause, error);
  }
  ain_node_status_take(status, response->status);
  *ticks = ticks_of(response);
  if (status->code != AIN_NODE_SUCCESS) {
    return TRUE;
  }
  if (!response->__isset_sessionId) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_MALFORMED, "it accepted the login without a session id");
    return FALSE;
  }
  node->session_id = response->sessionId;
  return request_statement_id(node, error);
}

gboolean ain_data_node_close_session(AinDataNode *node, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_S_CLOSE_SESSION_REQ, NULL);
  ((iotdbTSCloseSessionReq *)request_owner)->sessionId = node->session_id;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_S_STATUS, NULL);
  iotdbTSStatus *response = (iotdbTSStatus *)response_owner;
  if (!CLIENT(send_close_session)(node->service, (iotdbTSCloseSessionReq *)request_owner, &cause)
      || !await(node, AIN_SESSION_CLOSE, &cause)
      || !CLIENT(recv_close_session)(node->service, &response, &cause)) {
    return failed(AIN_SESSION_CLOSE, cause, error);
  }
  return TRUE;
}

gboolean ain_data_node_execute(AinDataNode *node, const char *sql, gint32 fetch_rows, gint64 timeout_ms,
                               AinNodePage *page, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_S_EXECUTE_STATEMENT_REQ, NULL);
  iotdbTSExecuteStatementReq *request = (iotdbTSExecuteStatementReq *)request_owner;
  request->sessionId = node->session_id;
  set_text(&request->statement, sql);
  request->statementId = node->statement_id;
  request->fetchSize = fetch_rows;
  request->__isset_fetchSize = TRUE;
  request->timeout = timeout_ms;
  request->__isset_timeout = timeout_ms > 0;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_S_EXECUTE_STATEMENT_RESP, NULL);
  iotdbTSExecuteStatementResp *response = (iotdbTSExecuteStatementResp *)response_owner;
  if (!CLIENT(send_execute_query_statement_v2)(node->service, request, &cause)
      || !await(node, AIN_SESSION_EXECUTE, &cause)
      || !CLIENT(recv_execute_query_statement_v2)(node->service, &response, &cause)) {
    return failed(AIN_SESSION_EXECUTE, cause, error);
  }
  ain_node_page_take_execute(page, response);
  return TRUE;
}

gboolean ain_data_node_fetch(AinDataNode *node, const char *sql, gint32 fetch_rows, gint64 timeout_ms,
                             gint64 query_id, AinNodePage *page, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_S_FETCH_RESULTS_REQ, NULL);
  iotdbTSFetchResultsReq *request = (iotdbTSFetchResultsReq *)request_owner;
  request->sessionId = node->session_id;
  set_text(&request->statement, sql);
  request->fetchSize = fetch_rows;
  request->queryId = query_id;
  request->isAlign = TRUE;
  request->timeout = timeout_ms;
  request->__isset_timeout = timeout_ms > 0;
  request->statementId = node->statement_id;
  request->__isset_statementId = TRUE;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_S_FETCH_RESULTS_RESP, NULL);
  iotdbTSFetchResultsResp *response = (iotdbTSFetchResultsResp *)response_owner;
  if (!CLIENT(send_fetch_results_v2)(node->service, request, &cause)
      || !await(node, AIN_SESSION_FETCH, &cause)
      || !CLIENT(recv_fetch_results_v2)(node->service, &response, &cause)) {
    return failed(AIN_SESSION_FETCH, cause, error);
  }
  ain_node_page_take_fetch(page, response, query_id);
  return TRUE;
}

gboolean ain_data_node_close_query(AinDataNode *node, gint64 query_id, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_S_CLOSE_OPERATION_REQ, NULL);
  iotdbTSCloseOperationReq *request = (iotdbTSCloseOperationReq *)request_owner;
  request->sessionId = node->session_id;
  request->queryId = query_id;
  request->__isset_queryId = TRUE;
  request->statementId = node->statement_id;
  request->__isset_statementId = TRUE;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_S_STATUS, NULL);
  iotdbTSStatus *response = (iotdbTSStatus *)response_owner;
  if (!CLIENT(send_close_operation)(node->service, request, &cause)
      || !await(node, AIN_SESSION_CLOSE_OPERATION, &cause)
      || !CLIENT(recv_close_operation)(node->service, &response, &cause)) {
    return failed(AIN_SESSION_CLOSE_OPERATION, cause, error);
  }
  return TRUE;
}
