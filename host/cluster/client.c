#include "cluster/client.h"

#include "ain-version.h"
#include "base/error.h"

#include <iotdb_i_config_node_r_p_c_service.h>
#include <thrift/c_glib/protocol/thrift_binary_protocol.h>
#include <thrift/c_glib/protocol/thrift_compact_protocol.h>
#include <unistd.h>

#define MAX_HOST 255
#define SUCCESS 200

struct AinConfigNode {
  AinTransport *transport;
  ThriftProtocol *protocol;
  iotdbIConfigNodeRPCServiceIf *service;
  gboolean compact;
};

void ain_member_free(AinMember *member) {
  g_free(member->endpoint.host);
  g_free(member->version);
  g_free(member);
}

void ain_reply_clear(AinReply *reply) {
  g_free(reply->message);
  g_free(reply->redirect.host);
  g_free(reply->cluster_id);
  g_free(reply->cluster_name);
  g_clear_pointer(&reply->members, g_ptr_array_unref);
  *reply = (AinReply){ 0 };
}

AinConfigNode *ain_config_node_connect(const AinEndpoint *peer, gboolean compact,
                                       const AinTransportLimits *limits, GError **error) {
  g_autoptr(AinTransport) transport = ain_transport_connect(peer, limits, error);
  if (transport == NULL) {
    return NULL;
  }
  AinConfigNode *node = g_new0(AinConfigNode, 1);
  node->compact = compact;
  node->protocol = g_object_new(compact ? THRIFT_TYPE_COMPACT_PROTOCOL : THRIFT_TYPE_BINARY_PROTOCOL,
                                "transport", transport, NULL);
  node->service = g_object_new(IOTDB_TYPE_I_CONFIG_NODE_R_P_C_SERVICE_CLIENT, "input_protocol",
                               node->protocol, "output_protocol", node->protocol, NULL);
  node->transport = g_steal_pointer(&transport);
  return node;
}

void ain_config_node_free(AinConfigNode *node) {
  if (node != NULL) {
    g_object_unref(node->service);
    g_object_unref(node->protocol);
    g_object_unref(node->transport);
    g_free(node);
  }
}

const char *ain_config_node_address(const AinConfigNode *node) {
  return ain_transport_address(node->transport);
}

gboolean ain_config_node_was_sent(const AinConfigNode *node) {
  return ain_transport_was_sent(node->transport);
}

/* --- requests */

static void set_text(char **field, const char *text) {
  g_free(*field);
  *field = g_strdup(text);
}

static void fill_location(iotdbTAINodeLocation *location, gint32 node_id, const char *host, guint16 port) {
  location->aiNodeId = node_id;
  set_text(&location->internalEndPoint->ip, host);
  location->internalEndPoint->port = port;
}

static void fill_configuration(iotdbTAINodeConfiguration *configuration, const AinConfig *config,
                               gint32 node_id) {
  fill_location(configuration->location, node_id, config->rpc_address, config->rpc_port);
  configuration->resource->cpuCoreNum = (gint32)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
  configuration->resource->maxMemory = (gint64)sysconf(_SC_PHYS_PAGES) * (gint64)sysconf(_SC_PAGESIZE);
}

static void fill_version(iotdbTNodeVersionInfo *version) {
  set_text(&version->version, AIN_VERSION);
  set_text(&version->buildInfo, AIN_BUILD_INFO);
}

/* --- replies: nothing of the generated types leaves this file */

static char *printable(const char *text) {
  return text != NULL ? ain_reply_printable(text, strlen(text)) : g_strdup("");
}

/* An endpoint that no node can have is left out: it would only be dialled in vain. */
static gboolean take_endpoint(AinEndpoint *to, const iotdbTEndPoint *from) {
  if (from->ip == NULL || from->ip[0] == '\0' || strlen(from->ip) > MAX_HOST || from->port < 1
      || from->port > G_MAXUINT16) {
    return FALSE;
  }
  to->host = ain_reply_printable(from->ip, strlen(from->ip));
  to->port = (guint16)from->port;
  return TRUE;
}

static void take_status(AinReply *reply, const iotdbTSStatus *status) {
  reply->code = status->code;
  reply->message = printable(status->message);
  reply->need_retry = status->__isset_needRetry && status->needRetry;
  reply->has_redirect = status->__isset_redirectNode && take_endpoint(&reply->redirect, status->redirectNode);
  reply->node_id = -1;
  reply->members = g_ptr_array_new_with_free_func((GDestroyNotify)ain_member_free);
}

static void add_member(AinReply *reply, AinMemberKind kind, gint32 id, const iotdbTEndPoint *endpoint,
                       GHashTable *versions) {
  AinEndpoint at = { 0 };
  if (!take_endpoint(&at, endpoint)) {
    return;
  }
  AinMember *member = g_new0(AinMember, 1);
  member->kind = kind;
  member->id = id;
  member->endpoint = at;
  const iotdbTNodeVersionInfo *version = versions != NULL ? g_hash_table_lookup(versions, &id) : NULL;
  member->version = version != NULL ? printable(version->version) : NULL;
  g_ptr_array_add(reply->members, member);
}

static void add_config_nodes(AinReply *reply, const GPtrArray *list, GHashTable *versions) {
  for (guint i = 0; i < list->len; i++) {
    const iotdbTConfigNodeLocation *location = g_ptr_array_index(list, i);
    add_member(reply, AIN_MEMBER_CONFIG_NODE, location->configNodeId, location->internalEndPoint, versions);
  }
}

/* The reply's frame, checked; from here on the generated reader may run. */
static gboolean await(AinConfigNode *node, AinReplyKind kind, GError **error) {
  AinSlice frame;
  return ain_transport_receive(node->transport, &frame, error)
         && ain_reply_check(kind, frame, node->compact, error);
}

/* An error of generated code: none is expected after the check. */
static gboolean failed(AinReplyKind kind, GError *cause, GError **error) {
  if (cause != NULL && cause->domain == AIN_ERROR) {
    g_propagate_error(error, cause);
    return FALSE;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "%s cannot be sent or its answer read: %s",
              ain_reply_method(kind), cause != NULL ? cause->message : "unknown reason");
  g_clear_error(&cause);
  return FALSE;
}

#define CLIENT(name) iotdb_i_config_node_r_p_c_service_client_##name

gboolean ain_config_node_register(AinConfigNode *node, const AinConfig *config, AinReply *reply,
                                  GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_A_I_NODE_REGISTER_REQ, NULL);
  iotdbTAINodeRegisterReq *request = (iotdbTAINodeRegisterReq *)request_owner;
  set_text(&request->clusterName, config->cluster_name);
  fill_configuration(request->aiNodeConfiguration, config, 0); /* the ConfigNode draws the id */
  fill_version(request->versionInfo);
  request->__isset_versionInfo = TRUE;

  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_A_I_NODE_REGISTER_RESP, NULL);
  iotdbTAINodeRegisterResp *response = (iotdbTAINodeRegisterResp *)response_owner;
  if (!CLIENT(send_register_a_i_node)(node->service, request, &cause)
      || !await(node, AIN_REPLY_REGISTER, &cause)
      || !CLIENT(recv_register_a_i_node)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_REGISTER, cause, error);
  }
  take_status(reply, response->status);
  add_config_nodes(reply, response->configNodeList, NULL);
  if (reply->code == SUCCESS) {
    if (!response->__isset_aiNodeId || response->aiNodeId < 0) {
      g_set_error_literal(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                          "it accepted the registration without an id");
      return FALSE;
    }
    reply->node_id = response->aiNodeId;
  }
  return TRUE;
}

gboolean ain_config_node_restart(AinConfigNode *node, const AinConfig *config, gint32 node_id,
                                 AinReply *reply, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_A_I_NODE_RESTART_REQ, NULL);
  iotdbTAINodeRestartReq *request = (iotdbTAINodeRestartReq *)request_owner;
  set_text(&request->clusterName, config->cluster_name);
  fill_configuration(request->aiNodeConfiguration, config, node_id);
  fill_version(request->versionInfo);
  request->__isset_versionInfo = TRUE;

  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_A_I_NODE_RESTART_RESP, NULL);
  iotdbTAINodeRestartResp *response = (iotdbTAINodeRestartResp *)response_owner;
  if (!CLIENT(send_restart_a_i_node)(node->service, request, &cause)
      || !await(node, AIN_REPLY_RESTART, &cause)
      || !CLIENT(recv_restart_a_i_node)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_RESTART, cause, error);
  }
  take_status(reply, response->status);
  add_config_nodes(reply, response->configNodeList, NULL);
  return TRUE;
}

gboolean ain_config_node_remove(AinConfigNode *node, gint32 node_id, const AinEndpoint *endpoint,
                                AinReply *reply, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) request_owner = g_object_new(IOTDB_TYPE_T_A_I_NODE_REMOVE_REQ, NULL);
  iotdbTAINodeRemoveReq *request = (iotdbTAINodeRemoveReq *)request_owner;
  fill_location(request->aiNodeLocation, node_id, endpoint->host, endpoint->port);
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_S_STATUS, NULL);
  iotdbTSStatus *response = (iotdbTSStatus *)response_owner;
  if (!CLIENT(send_remove_a_i_node)(node->service, request, &cause) || !await(node, AIN_REPLY_REMOVE, &cause)
      || !CLIENT(recv_remove_a_i_node)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_REMOVE, cause, error);
  }
  take_status(reply, response);
  return TRUE;
}

gboolean ain_config_node_get_configuration(AinConfigNode *node, gint32 node_id, AinReply *reply,
                                           GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_A_I_NODE_CONFIGURATION_RESP, NULL);
  iotdbTAINodeConfigurationResp *response = (iotdbTAINodeConfigurationResp *)response_owner;
  if (!CLIENT(send_get_a_i_node_configuration)(node->service, node_id, &cause)
      || !await(node, AIN_REPLY_GET_CONFIGURATION, &cause)
      || !CLIENT(recv_get_a_i_node_configuration)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_GET_CONFIGURATION, cause, error);
  }
  take_status(reply, response->status);
  GHashTableIter iter;
  gpointer id;
  gpointer value;
  g_hash_table_iter_init(&iter, response->aiNodeConfigurationMap);
  while (g_hash_table_iter_next(&iter, &id, &value)) {
    const iotdbTAINodeConfiguration *configuration = value;
    add_member(reply, AIN_MEMBER_AI_NODE, *(gint32 *)id, configuration->location->internalEndPoint, NULL);
  }
  return TRUE;
}

gboolean ain_config_node_show_cluster(AinConfigNode *node, AinReply *reply, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_SHOW_CLUSTER_RESP, NULL);
  iotdbTShowClusterResp *response = (iotdbTShowClusterResp *)response_owner;
  if (!CLIENT(send_show_cluster)(node->service, &cause) || !await(node, AIN_REPLY_SHOW_CLUSTER, &cause)
      || !CLIENT(recv_show_cluster)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_SHOW_CLUSTER, cause, error);
  }
  take_status(reply, response->status);
  add_config_nodes(reply, response->configNodeList, response->nodeVersionInfo);
  for (guint i = 0; i < response->dataNodeList->len; i++) {
    const iotdbTDataNodeLocation *location = g_ptr_array_index(response->dataNodeList, i);
    add_member(reply, AIN_MEMBER_DATA_NODE, location->dataNodeId, location->internalEndPoint,
               response->nodeVersionInfo);
  }
  for (guint i = 0; i < response->aiNodeList->len; i++) {
    const iotdbTAINodeLocation *location = g_ptr_array_index(response->aiNodeList, i);
    add_member(reply, AIN_MEMBER_AI_NODE, location->aiNodeId, location->internalEndPoint,
               response->nodeVersionInfo);
  }
  return TRUE;
}

gboolean ain_config_node_get_cluster_id(AinConfigNode *node, AinReply *reply, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_GET_CLUSTER_ID_RESP, NULL);
  iotdbTGetClusterIdResp *response = (iotdbTGetClusterIdResp *)response_owner;
  if (!CLIENT(send_get_cluster_id)(node->service, &cause) || !await(node, AIN_REPLY_GET_CLUSTER_ID, &cause)
      || !CLIENT(recv_get_cluster_id)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_GET_CLUSTER_ID, cause, error);
  }
  take_status(reply, response->status);
  reply->cluster_id = printable(response->clusterId);
  return TRUE;
}

gboolean ain_config_node_show_variables(AinConfigNode *node, AinReply *reply, GError **error) {
  GError *cause = NULL;
  g_autoptr(GObject) response_owner = g_object_new(IOTDB_TYPE_T_SHOW_VARIABLES_RESP, NULL);
  iotdbTShowVariablesResp *response = (iotdbTShowVariablesResp *)response_owner;
  if (!CLIENT(send_show_variables)(node->service, &cause) || !await(node, AIN_REPLY_SHOW_VARIABLES, &cause)
      || !CLIENT(recv_show_variables)(node->service, &response, &cause)) {
    return failed(AIN_REPLY_SHOW_VARIABLES, cause, error);
  }
  take_status(reply, response->status);
  if (response->__isset_clusterParameters) {
    reply->cluster_name = printable(response->clusterParameters->clusterName);
  }
  return TRUE;
}
