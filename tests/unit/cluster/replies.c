#include "replies.h"

#include <iotdb_i_config_node_r_p_c_service.h>
#include <thrift/c_glib/protocol/thrift_binary_protocol.h>
#include <thrift/c_glib/protocol/thrift_compact_protocol.h>
#include <thrift/c_glib/transport/thrift_transport.h>

/* A transport over a byte array: the library's own memory buffer leaks 32 bytes each. */
typedef struct {
  ThriftTransport parent;
  GByteArray *bytes; /* borrowed */
  guint offset;
} TestBytes;
typedef ThriftTransportClass TestBytesClass;

static GType test_bytes_get_type(void);
G_DEFINE_TYPE(TestBytes, test_bytes, THRIFT_TYPE_TRANSPORT)

static gint32 bytes_read(ThriftTransport *transport, gpointer data, guint32 size, GError **error) {
  TestBytes *self = (TestBytes *)transport;
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
  g_byte_array_append(((TestBytes *)transport)->bytes, data, size);
  return TRUE;
}

static gboolean bytes_end(ThriftTransport *transport, GError **error) {
  (void)transport;
  (void)error;
  return TRUE;
}

static void test_bytes_class_init(TestBytesClass *class) {
  class->read = bytes_read;
  class->write = bytes_write;
  class->read_end = class->write_end = class->flush = bytes_end;
}

static void test_bytes_init(TestBytes *self) {
  self->bytes = NULL;
}

static ThriftProtocol *protocol_new(GByteArray *bytes, gboolean compact) {
  g_autoptr(GObject) transport = g_object_new(test_bytes_get_type(), NULL);
  ((TestBytes *)transport)->bytes = bytes;
  return g_object_new(compact ? THRIFT_TYPE_COMPACT_PROTOCOL : THRIFT_TYPE_BINARY_PROTOCOL, "transport",
                      transport, NULL);
}

/* --- filling */

static void fill_end_point(iotdbTEndPoint *point, const char *host, gint32 port) {
  g_free(point->ip);
  point->ip = g_strdup(host);
  point->port = port;
}

static void fill_status(iotdbTSStatus *status, guint depth) {
  status->code = 200;
  status->message = g_strdup("Accept Node registration.");
  status->__isset_message = TRUE;
  fill_end_point(status->redirectNode, "10.1.2.3", 10710);
  status->__isset_redirectNode = TRUE;
  status->needRetry = depth % 2 == 0;
  status->__isset_needRetry = TRUE;
  status->responseData = g_byte_array_new();
  g_byte_array_append(status->responseData, (const guint8 *)"a\0b", 3);
  status->__isset_responseData = TRUE;
  for (guint i = 0; i < depth; i++) {
    iotdbTSStatus *inner = g_object_new(IOTDB_TYPE_T_S_STATUS, NULL);
    fill_status(inner, depth - 1);
    g_ptr_array_add(status->subStatus, inner);
  }
  status->__isset_subStatus = TRUE;
}

static void fill_config_nodes(GPtrArray *list) {
  for (gint32 i = 0; i < 2; i++) {
    iotdbTConfigNodeLocation *location = g_object_new(IOTDB_TYPE_T_CONFIG_NODE_LOCATION, NULL);
    location->configNodeId = i;
    fill_end_point(location->internalEndPoint, "127.0.0.1", 10710 + i);
    fill_end_point(location->consensusEndPoint, "127.0.0.1", 10720 + i);
    g_ptr_array_add(list, location);
  }
}

static void fill_ai_node(iotdbTAINodeLocation *location, gint32 id) {
  location->aiNodeId = id;
  fill_end_point(location->internalEndPoint, "::1", 10810);
}

static GObject *new_register(void) {
  iotdbTAINodeRegisterResp *response = g_object_new(IOTDB_TYPE_T_A_I_NODE_REGISTER_RESP, NULL);
  fill_status(response->status, 2);
  fill_config_nodes(response->configNodeList);
  response->aiNodeId = 70000;
  response->__isset_aiNodeId = TRUE;
  return G_OBJECT(response);
}

static GObject *new_restart(void) {
  iotdbTAINodeRestartResp *response = g_object_new(IOTDB_TYPE_T_A_I_NODE_RESTART_RESP, NULL);
  fill_status(response->status, 1);
  fill_config_nodes(response->configNodeList);
  return G_OBJECT(response);
}

static GObject *new_remove(void) {
  iotdbTSStatus *response = g_object_new(IOTDB_TYPE_T_S_STATUS, NULL);
  fill_status(response, 2);
  return G_OBJECT(response);
}

static gint32 *new_key(gint32 value) {
  gint32 *key = g_new(gint32, 1);
  *key = value;
  return key;
}

static GObject *new_configurations(void) {
  iotdbTAINodeConfigurationResp *response = g_object_new(IOTDB_TYPE_T_A_I_NODE_CONFIGURATION_RESP, NULL);
  fill_status(response->status, 1);
  for (gint32 i = 0; i < 2; i++) {
    iotdbTAINodeConfiguration *configuration = g_object_new(IOTDB_TYPE_T_A_I_NODE_CONFIGURATION, NULL);
    fill_ai_node(configuration->location, i);
    configuration->resource->cpuCoreNum = 2;
    configuration->resource->maxMemory = G_GINT64_CONSTANT(1) << 40;
    g_hash_table_insert(response->aiNodeConfigurationMap, new_key(i), configuration);
  }
  response->__isset_aiNodeConfigurationMap = TRUE;
  return G_OBJECT(response);
}

static GObject *new_show_cluster(void) {
  iotdbTShowClusterResp *response = g_object_new(IOTDB_TYPE_T_SHOW_CLUSTER_RESP, NULL);
  fill_status(response->status, 1);
  fill_config_nodes(response->configNodeList);
  iotdbTDataNodeLocation *data_node = g_object_new(IOTDB_TYPE_T_DATA_NODE_LOCATION, NULL);
  data_node->dataNodeId = 1;
  fill_end_point(data_node->clientRpcEndPoint, "127.0.0.1", 6667);
  fill_end_point(data_node->internalEndPoint, "127.0.0.1", 10730);
  fill_end_point(data_node->mPPDataExchangeEndPoint, "127.0.0.1", 10740);
  fill_end_point(data_node->dataRegionConsensusEndPoint, "127.0.0.1", 10750);
  fill_end_point(data_node->schemaRegionConsensusEndPoint, "127.0.0.1", 10760);
  g_ptr_array_add(response->dataNodeList, data_node);
  iotdbTAINodeLocation *ai_node = g_object_new(IOTDB_TYPE_T_A_I_NODE_LOCATION, NULL);
  fill_ai_node(ai_node, 2);
  g_ptr_array_add(response->aiNodeList, ai_node);
  for (gint32 i = 0; i < 2; i++) {
    iotdbTNodeVersionInfo *version = g_object_new(IOTDB_TYPE_T_NODE_VERSION_INFO, NULL);
    g_free(version->version);
    g_free(version->buildInfo);
    version->version = g_strdup("2.0.5");
    version->buildInfo = g_strdup("abc1234");
    g_hash_table_insert(response->nodeVersionInfo, new_key(i), version);
    g_hash_table_insert(response->nodeStatus, new_key(i), g_strdup("Running"));
  }
  return G_OBJECT(response);
}

static GObject *new_cluster_id(void) {
  iotdbTGetClusterIdResp *response = g_object_new(IOTDB_TYPE_T_GET_CLUSTER_ID_RESP, NULL);
  fill_status(response->status, 1);
  response->clusterId = g_strdup("3a7c5cb4-7d5c-4b3a-9a58-6f5f0c5c0001");
  return G_OBJECT(response);
}

static GObject *new_show_variables(void) {
  iotdbTShowVariablesResp *response = g_object_new(IOTDB_TYPE_T_SHOW_VARIABLES_RESP, NULL);
  fill_status(response->status, 1);
  response->clusterParameters->clusterName = g_strdup("defaultCluster");
  response->__isset_clusterParameters = TRUE;
  return G_OBJECT(response);
}

static GObject *(*const makers[AIN_REPLY_KINDS])(void) = {
  new_register,     new_restart,    new_remove,         new_configurations,
  new_show_cluster, new_cluster_id, new_show_variables,
};

GByteArray *test_reply_new(AinReplyKind kind, gboolean compact) {
  GByteArray *bytes = g_byte_array_new();
  ThriftProtocol *protocol = protocol_new(bytes, compact);
  GObject *response = makers[kind]();
  g_assert_cmpint(thrift_protocol_write_message_begin(protocol, ain_reply_method(kind), T_REPLY, 0, NULL), >,
                  0);
  thrift_protocol_write_struct_begin(protocol, "result", NULL);
  thrift_protocol_write_field_begin(protocol, "success", T_STRUCT, 0, NULL);
  g_assert_cmpint(thrift_struct_write(THRIFT_STRUCT(response), protocol, NULL), >, 0);
  thrift_protocol_write_field_end(protocol, NULL);
  thrift_protocol_write_field_stop(protocol, NULL);
  thrift_protocol_write_struct_end(protocol, NULL);
  thrift_protocol_write_message_end(protocol, NULL);
  g_object_unref(response);
  g_object_unref(protocol);
  return bytes;
}

GByteArray *test_reply_exception(AinReplyKind kind, gboolean compact, gint32 code, const char *text) {
  GByteArray *bytes = g_byte_array_new();
  ThriftProtocol *protocol = protocol_new(bytes, compact);
  thrift_protocol_write_message_begin(protocol, ain_reply_method(kind), T_EXCEPTION, 0, NULL);
  thrift_protocol_write_struct_begin(protocol, "TApplicationException", NULL);
  thrift_protocol_write_field_begin(protocol, "message", T_STRING, 1, NULL);
  thrift_protocol_write_string(protocol, text, NULL);
  thrift_protocol_write_field_end(protocol, NULL);
  thrift_protocol_write_field_begin(protocol, "type", T_I32, 2, NULL);
  thrift_protocol_write_i32(protocol, code, NULL);
  thrift_protocol_write_field_end(protocol, NULL);
  thrift_protocol_write_field_stop(protocol, NULL);
  g_assert_cmpint(thrift_protocol_write_struct_end(protocol, NULL), >=, 0);
  g_object_unref(protocol);
  return bytes;
}

/* --- reading */

typedef gboolean (*Receive)(iotdbIConfigNodeRPCServiceIf *service, gpointer *response, GError **error);
#define RECEIVE(name) (Receive) iotdb_i_config_node_r_p_c_service_client_recv_##name

static gboolean receive(AinReplyKind kind, iotdbIConfigNodeRPCServiceIf *service, GError **error) {
  const struct {
    GType type;
    Receive receive;
  } calls[AIN_REPLY_KINDS] = {
    { IOTDB_TYPE_T_A_I_NODE_REGISTER_RESP, RECEIVE(register_a_i_node) },
    { IOTDB_TYPE_T_A_I_NODE_RESTART_RESP, RECEIVE(restart_a_i_node) },
    { IOTDB_TYPE_T_S_STATUS, RECEIVE(remove_a_i_node) },
    { IOTDB_TYPE_T_A_I_NODE_CONFIGURATION_RESP, RECEIVE(get_a_i_node_configuration) },
    { IOTDB_TYPE_T_SHOW_CLUSTER_RESP, RECEIVE(show_cluster) },
    { IOTDB_TYPE_T_GET_CLUSTER_ID_RESP, RECEIVE(get_cluster_id) },
    { IOTDB_TYPE_T_SHOW_VARIABLES_RESP, RECEIVE(show_variables) },
  };
  gpointer response = g_object_new(calls[kind].type, NULL);
  gboolean ok = calls[kind].receive(service, &response, error);
  g_object_unref(response);
  return ok;
}

gboolean test_reply_read(AinReplyKind kind, AinSlice frame, gboolean compact, GError **error) {
  if (!ain_reply_check(kind, frame, compact, error)) {
    return FALSE;
  }
  g_autoptr(GError) failed = NULL;
  GByteArray *bytes = g_byte_array_append(g_byte_array_new(), frame.data, (guint)frame.size);
  ThriftProtocol *protocol = protocol_new(bytes, compact);
  iotdbIConfigNodeRPCServiceIf *service =
      g_object_new(IOTDB_TYPE_I_CONFIG_NODE_R_P_C_SERVICE_CLIENT, "input_protocol", protocol,
                   "output_protocol", protocol, NULL);
  gboolean read = receive(kind, service, &failed);
  g_assert_no_error(failed);
  g_assert_true(read);
  g_assert_cmpuint(((TestBytes *)protocol->transport)->offset, ==, bytes->len);
  g_object_unref(service);
  g_object_unref(protocol);
  g_byte_array_unref(bytes);
  return TRUE;
}
