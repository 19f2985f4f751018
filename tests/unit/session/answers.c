#include "answers.h"

#include "session/print.h"

#include <iotdb_i_client_r_p_c_service.h>
#include <thrift/c_glib/protocol/thrift_binary_protocol.h>
#include <thrift/c_glib/protocol/thrift_compact_protocol.h>
#include <thrift/c_glib/transport/thrift_transport.h>

/* A transport over a byte array: the library's own memory buffer leaks 32 bytes each. */
typedef struct {
  ThriftTransport parent;
  GByteArray *bytes; /* borrowed */
  guint offset;
} AnswerBytes;
typedef ThriftTransportClass AnswerBytesClass;

static GType answer_bytes_get_type(void);
G_DEFINE_TYPE(AnswerBytes, answer_bytes, THRIFT_TYPE_TRANSPORT)

static gint32 bytes_read(ThriftTransport *transport, gpointer data, guint32 size, GError **error) {
  AnswerBytes *self = (AnswerBytes *)transport;
  if (size > self->bytes->len - self->offset) {
    g_set_error_literal(error, THRIFT_TRANSPORT_ERROR, THRIFT_TRANSPORT_ERROR_RECEIVE, "past the end");
    return -1;
  }
  if (size > 0) {
    memcpy(data, self->bytes->data + self->offset, size);
  }
  self->offset += size;
  return (gint32)size;
}

static gboolean bytes_write(ThriftTransport *transport, const gpointer data, const guint32 size,
                            GError **error) {
  (void)error;
  g_byte_array_append(((AnswerBytes *)transport)->bytes, data, size);
  return TRUE;
}

static gboolean bytes_end(ThriftTransport *transport, GError **error) {
  (void)transport;
  (void)error;
  return TRUE;
}

static void answer_bytes_class_init(AnswerBytesClass *class) {
  class->read = bytes_read;
  class->write = bytes_write;
  class->read_end = class->write_end = class->flush = bytes_end;
}

static void answer_bytes_init(AnswerBytes *self) {
  self->bytes = NULL;
}

static ThriftProtocol *protocol_new(GByteArray *bytes, gboolean compact) {
  g_autoptr(GObject) transport = g_object_new(answer_bytes_get_type(), NULL);
  ((AnswerBytes *)transport)->bytes = bytes;
  return g_object_new(compact ? THRIFT_TYPE_COMPACT_PROTOCOL : THRIFT_TYPE_BINARY_PROTOCOL, "transport",
                      transport, NULL);
}

/* --- filling */

static void fill_status(iotdbTSStatus *status) {
  status->code = 200;
  status->message = g_strdup("Success.");
  status->__isset_message = TRUE;
  g_free(status->redirectNode->ip);
  status->redirectNode->ip = g_strdup("10.1.2.3");
  status->redirectNode->port = 6667;
  status->__isset_redirectNode = TRUE;
  status->needRetry = FALSE;
  status->__isset_needRetry = TRUE;
}

static void add_texts(GPtrArray *list, const char *a, const char *b) {
  g_ptr_array_add(list, g_strdup(a));
  g_ptr_array_add(list, g_strdup(b));
}

static void add_blocks(GPtrArray *list) {
  /* two rows of an INT32 and a TEXT: 7 and "ab", null and null */
  static const char block[] = "00000002 01 05 00000002 02 01 03 00 0000000000000001 0000000000000002"
                              "01 40 00000007 01 40 00000002 6162";
  g_ptr_array_add(list, test_hex(block));
  g_ptr_array_add(list, test_hex(block));
}

static GObject *new_open(void) {
  iotdbTSOpenSessionResp *response = g_object_new(IOTDB_TYPE_T_S_OPEN_SESSION_RESP, NULL);
  fill_status(response->status);
  response->serverProtocolVersion = IOTDB_T_S_PROTOCOL_VERSION_IOTDB_SERVICE_PROTOCOL_V3;
  response->sessionId = 17;
  response->__isset_sessionId = TRUE;
  g_hash_table_insert(response->configuration, g_strdup("timestamp_precision"), g_strdup("us"));
  response->__isset_configuration = TRUE;
  return G_OBJECT(response);
}

static GObject *new_status(void) {
  iotdbTSStatus *response = g_object_new(IOTDB_TYPE_T_S_STATUS, NULL);
  fill_status(response);
  return G_OBJECT(response);
}

static GObject *new_execute(void) {
  iotdbTSExecuteStatementResp *response = g_object_new(IOTDB_TYPE_T_S_EXECUTE_STATEMENT_RESP, NULL);
  fill_status(response->status);
  response->queryId = 5;
  response->__isset_queryId = TRUE;
  add_texts(response->columns, "i", "t");
  response->__isset_columns = TRUE;
  response->operationType = g_strdup("QUERY");
  response->__isset_operationType = TRUE;
  response->ignoreTimeStamp = FALSE;
  response->__isset_ignoreTimeStamp = TRUE;
  add_texts(response->dataTypeList, "INT32", "TEXT");
  response->__isset_dataTypeList = TRUE;
  gint32 *place = g_new(gint32, 1);
  *place = 1;
  g_hash_table_insert(response->columnNameIndexMap, g_strdup("t"), place);
  response->__isset_columnNameIndexMap = TRUE;
  add_texts(response->sgColumns, "root", "s");
  response->__isset_sgColumns = TRUE;
  gint8 byte = 1;
  g_array_append_val(response->aliasColumns, byte);
  response->__isset_aliasColumns = TRUE;
  add_texts(response->tracingInfo->activityList, "a", "b");
  gint64 time = 12;
  g_array_append_val(response->tracingInfo->elapsedTimeList, time);
  response->tracingInfo->seqFileNum = 3;
  response->tracingInfo->__isset_seqFileNum = TRUE;
  response->__isset_tracingInfo = TRUE;
  add_blocks(response->queryResult);
  response->__isset_queryResult = TRUE;
  response->moreData = FALSE;
  response->__isset_moreData = TRUE;
  response->database = g_strdup("db");
  response->__isset_database = TRUE;
  response->__isset_tableModel = TRUE;
  gint32 places[] = { 0, 1 };
  g_array_append_vals(response->columnIndex2TsBlockColumnIndexList, places, 2);
  response->__isset_columnIndex2TsBlockColumnIndexList = TRUE;
  return G_OBJECT(response);
}

static GObject *new_fetch(void) {
  iotdbTSFetchResultsResp *response = g_object_new(IOTDB_TYPE_T_S_FETCH_RESULTS_RESP, NULL);
  fill_status(response->status);
  response->hasResultSet = response->isAlign = TRUE;
  add_blocks(response->queryResult);
  response->__isset_queryResult = TRUE;
  response->moreData = TRUE;
  response->__isset_moreData = TRUE;
  return G_OBJECT(response);
}

static GObject *(*const makers[AIN_SESSION_CALLS])(void) = {
  [AIN_SESSION_OPEN] = new_open,     [AIN_SESSION_CLOSE] = new_status,
  [AIN_SESSION_STATEMENT_ID] = NULL, [AIN_SESSION_EXECUTE] = new_execute,
  [AIN_SESSION_FETCH] = new_fetch,   [AIN_SESSION_CLOSE_OPERATION] = new_status,
};

GByteArray *test_answer_new(AinSessionCall call, gboolean compact) {
  GByteArray *bytes = g_byte_array_new();
  ThriftProtocol *protocol = protocol_new(bytes, compact);
  gboolean is_number = makers[call] == NULL;
  thrift_protocol_write_message_begin(protocol, ain_session_method(call), T_REPLY, 0, NULL);
  thrift_protocol_write_struct_begin(protocol, "result", NULL);
  thrift_protocol_write_field_begin(protocol, "success", is_number ? T_I64 : T_STRUCT, 0, NULL);
  if (is_number) {
    thrift_protocol_write_i64(protocol, 170, NULL);
  } else {
    GObject *response = makers[call]();
    g_assert_cmpint(thrift_struct_write(THRIFT_STRUCT(response), protocol, NULL), >, 0);
    g_object_unref(response);
  }
  thrift_protocol_write_field_end(protocol, NULL);
  thrift_protocol_write_field_stop(protocol, NULL);
  thrift_protocol_write_struct_end(protocol, NULL);
  thrift_protocol_write_message_end(protocol, NULL);
  g_object_unref(protocol);
  return bytes;
}

/* --- reading */

typedef gboolean (*Receive)(iotdbIClientRPCServiceIf *service, gpointer *response, GError **error);
#define RECEIVE(name) (Receive) iotdb_i_client_r_p_c_service_client_recv_##name

static gboolean receive(AinSessionCall call, iotdbIClientRPCServiceIf *service, AinNodePage *page,
                        GError **error) {
  if (call == AIN_SESSION_STATEMENT_ID) {
    gint64 id;
    return iotdb_i_client_r_p_c_service_client_recv_request_statement_id(service, &id, error);
  }
  const struct {
    GType type;
    Receive receive;
  } calls[AIN_SESSION_CALLS] = {
    [AIN_SESSION_OPEN] = { IOTDB_TYPE_T_S_OPEN_SESSION_RESP, RECEIVE(open_session) },
    [AIN_SESSION_CLOSE] = { IOTDB_TYPE_T_S_STATUS, RECEIVE(close_session) },
    [AIN_SESSION_EXECUTE] = { IOTDB_TYPE_T_S_EXECUTE_STATEMENT_RESP, RECEIVE(execute_query_statement_v2) },
    [AIN_SESSION_FETCH] = { IOTDB_TYPE_T_S_FETCH_RESULTS_RESP, RECEIVE(fetch_results_v2) },
    [AIN_SESSION_CLOSE_OPERATION] = { IOTDB_TYPE_T_S_STATUS, RECEIVE(close_operation) },
  };
  gpointer response = g_object_new(calls[call].type, NULL);
  gboolean ok = calls[call].receive(service, &response, error);
  if (ok && page != NULL && call == AIN_SESSION_EXECUTE) {
    ain_node_page_take_execute(page, response);
  } else if (ok && page != NULL && call == AIN_SESSION_FETCH) {
    ain_node_page_take_fetch(page, response, 5);
  }
  g_object_unref(response);
  return ok;
}

gboolean test_answer_read(AinSessionCall call, AinSlice frame, gboolean compact, AinNodePage *page,
                          GError **error) {
  if (!ain_session_reply_check(call, frame, compact, error)) {
    return FALSE;
  }
  g_autoptr(GError) failed = NULL;
  GByteArray *bytes = g_byte_array_append(g_byte_array_new(), frame.data, (guint)frame.size);
  ThriftProtocol *protocol = protocol_new(bytes, compact);
  iotdbIClientRPCServiceIf *service = g_object_new(IOTDB_TYPE_I_CLIENT_R_P_C_SERVICE_CLIENT, "input_protocol",
                                                   protocol, "output_protocol", protocol, NULL);
  gboolean read = receive(call, service, page, &failed);
  g_assert_no_error(failed);
  g_assert_true(read);
  g_assert_cmpuint(((AnswerBytes *)protocol->transport)->offset, ==, bytes->len);
  g_object_unref(service);
  g_object_unref(protocol);
  g_byte_array_unref(bytes);
  return TRUE;
}

static guint64 read_column(AinRows *rows, guint column, guint32 n) {
  g_autoptr(GError) error = NULL;
  gsize size = ain_rows_value_size(ain_rows_column(rows, column)->type);
  g_autofree guint8 *values = g_malloc(n * size);
  g_autofree guint8 *nulls = g_malloc(n);
  g_assert_true(ain_rows_read(rows, column, 0, n, values, nulls, &error));
  g_assert_no_error(error);
  guint64 sum = 0;
  for (guint32 row = 0; size == sizeof(AinSlice) && row < n; row++) {
    AinSlice text = ((AinSlice *)(void *)values)[row];
    g_assert_true(nulls[row] == 0 || text.data == NULL);
    for (gsize i = 0; i < text.size; i++) {
      sum += text.data[i]; /* a sanitizer sees what lies outside the page */
    }
  }
  g_autofree double *tensor = g_new(double, n);
  if (size != sizeof(AinSlice)) {
    g_assert_true(
        ain_rows_to_tensor(rows, &column, 1, 0, n, AIN_DTYPE_FLOAT64, AIN_NULLS_NAN, tensor, &error));
  }
  return sum;
}

gint64 test_rows_read_all(AinRows *rows, GError **error) {
  g_autoptr(GError) failed = NULL;
  gint64 total = 0;
  guint32 n;
  while (ain_rows_next(rows, &n, &failed)) {
    g_assert_cmpuint(n, >, 0);
    for (guint i = 0; i < ain_rows_n_columns(rows); i++) {
      (void)read_column(rows, i, n);
    }
    total += n;
  }
  if (failed != NULL) {
    g_propagate_error(error, g_steal_pointer(&failed));
    return -1;
  }
  return total;
}

/* --- pages by hand */

GByteArray *test_hex(const char *hex) {
  GByteArray *bytes = g_byte_array_new();
  for (const char *at = hex; *at != '\0';) {
    if (*at == ' ') {
      at++;
      continue;
    }
    int value = g_ascii_xdigit_value(at[0]) * 16 + g_ascii_xdigit_value(at[1]);
    g_assert_cmpint(value, >=, 0);
    guint8 byte = (guint8)value;
    g_byte_array_append(bytes, &byte, 1);
    at += 2;
  }
  return bytes;
}

void test_page_fill(AinNodePage *page, const char *names, const char *types, const gint32 *sources,
                    gboolean has_times, ...) {
  *page = (AinNodePage){ .query_id = -1, .has_times = has_times, .has_result = TRUE };
  page->status = (AinNodeStatus){ 200, g_strdup(""), FALSE };
  page->names = g_strsplit(names, ",", -1);
  page->types = g_strsplit(types, ",", -1);
  if (sources != NULL) {
    page->n_sources = g_strv_length(page->names);
    page->sources = g_memdup2(sources, page->n_sources * sizeof *sources);
  }
  page->blocks = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
  va_list arguments;
  va_start(arguments, has_times);
  for (const char *hex = va_arg(arguments, const char *); hex != NULL;
       hex = va_arg(arguments, const char *)) {
    g_ptr_array_add(page->blocks, test_hex(hex));
  }
  va_end(arguments);
}
