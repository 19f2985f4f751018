#include "cluster/reply_check.h"

#include "base/error.h"

#define MAX_QUOTED 500
#define UNKNOWN_METHOD 1 /* TApplicationException */

/* --- the structures of host/protocol/{common,confignode}.thrift; test_reply_check holds them together */
#define STRUCT(title, list)                                                                                  \
  { title, list, G_N_ELEMENTS(list) }
#define STRUCT_OF(what)                                                                                      \
  { .type = AIN_THRIFT_STRUCT, .contents = &(what) }
#define LIST_OF(what)                                                                                        \
  { .type = AIN_THRIFT_LIST, .element = &(what) }

static const AinThriftShape a_bool = { .type = AIN_THRIFT_BOOL };
static const AinThriftShape an_i32 = { .type = AIN_THRIFT_I32 };
static const AinThriftShape an_i64 = { .type = AIN_THRIFT_I64 };
static const AinThriftShape a_text = { .type = AIN_THRIFT_STRING };
static const AinThriftShape a_binary = { .type = AIN_THRIFT_STRING, .is_binary = TRUE };

static const AinThriftField end_point_fields[] = {
  { 1, TRUE, "ip", &a_text },
  { 2, TRUE, "port", &an_i32 },
};
static const AinThriftStruct end_point_struct = STRUCT("TEndPoint", end_point_fields);
static const AinThriftShape an_end_point = STRUCT_OF(end_point_struct);

static const AinThriftStruct status_struct;
const AinThriftShape ain_reply_status = STRUCT_OF(status_struct);
static const AinThriftShape statuses = LIST_OF(ain_reply_status);
static const AinThriftField status_fields[] = {
  { 1, TRUE, "code", &an_i32 },         { 2, FALSE, "message", &a_text },
  { 3, FALSE, "subStatus", &statuses }, { 4, FALSE, "redirectNode", &an_end_point },
  { 5, FALSE, "needRetry", &a_bool },   { 6, FALSE, "responseData", &a_binary },
};
static const AinThriftStruct status_struct = STRUCT("TSStatus", status_fields);

static const AinThriftField config_node_fields[] = {
  { 1, TRUE, "configNodeId", &an_i32 },
  { 2, TRUE, "internalEndPoint", &an_end_point },
  { 3, TRUE, "consensusEndPoint", &an_end_point },
};
static const AinThriftStruct config_node_struct = STRUCT("TConfigNodeLocation", config_node_fields);
static const AinThriftShape a_config_node = STRUCT_OF(config_node_struct);
static const AinThriftShape config_nodes = LIST_OF(a_config_node);

static const AinThriftField data_node_fields[] = {
  { 1, TRUE, "dataNodeId", &an_i32 },
  { 2, TRUE, "clientRpcEndPoint", &an_end_point },
  { 3, TRUE, "internalEndPoint", &an_end_point },
  { 4, TRUE, "mPPDataExchangeEndPoint", &an_end_point },
  { 5, TRUE, "dataRegionConsensusEndPoint", &an_end_point },
  { 6, TRUE, "schemaRegionConsensusEndPoint", &an_end_point },
};
static const AinThriftStruct data_node_struct = STRUCT("TDataNodeLocation", data_node_fields);
static const AinThriftShape a_data_node = STRUCT_OF(data_node_struct);
static const AinThriftShape data_nodes = LIST_OF(a_data_node);

static const AinThriftField ai_node_fields[] = {
  { 1, TRUE, "aiNodeId", &an_i32 },
  { 2, TRUE, "internalEndPoint", &an_end_point },
};
static const AinThriftStruct ai_node_struct = STRUCT("TAINodeLocation", ai_node_fields);
static const AinThriftShape an_ai_node = STRUCT_OF(ai_node_struct);
static const AinThriftShape ai_nodes = LIST_OF(an_ai_node);

static const AinThriftField resource_fields[] = {
  { 1, TRUE, "cpuCoreNum", &an_i32 },
  { 2, TRUE, "maxMemory", &an_i64 },
};
static const AinThriftStruct resource_struct = STRUCT("TNodeResource", resource_fields);
static const AinThriftShape a_resource = STRUCT_OF(resource_struct);

static const AinThriftField configuration_fields[] = {
  { 1, TRUE, "location", &an_ai_node },
  { 2, TRUE, "resource", &a_resource },
};
static const AinThriftStruct configuration_struct = STRUCT("TAINodeConfiguration", configuration_fields);
static const AinThriftShape a_configuration = STRUCT_OF(configuration_struct);
static const AinThriftShape configurations = { .type = AIN_THRIFT_MAP,
                                               .key = &an_i32,
                                               .element = &a_configuration };

static const AinThriftField version_fields[] = {
  { 1, TRUE, "version", &a_text },
  { 2, TRUE, "buildInfo", &a_text },
};
static const AinThriftStruct version_struct = STRUCT("TNodeVersionInfo", version_fields);
static const AinThriftShape a_version = STRUCT_OF(version_struct);
static const AinThriftShape versions = { .type = AIN_THRIFT_MAP, .key = &an_i32, .element = &a_version };
static const AinThriftShape node_status = { .type = AIN_THRIFT_MAP, .key = &an_i32, .element = &a_text };

/* --- responses */
static const AinThriftField register_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, TRUE, "configNodeList", &config_nodes },
  { 3, FALSE, "aiNodeId", &an_i32 },
};
static const AinThriftStruct register_struct = STRUCT("TAINodeRegisterResp", register_fields);
static const AinThriftShape a_register = STRUCT_OF(register_struct);

static const AinThriftField restart_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, TRUE, "configNodeList", &config_nodes },
};
static const AinThriftStruct restart_struct = STRUCT("TAINodeRestartResp", restart_fields);
static const AinThriftShape a_restart = STRUCT_OF(restart_struct);

static const AinThriftField get_configuration_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, FALSE, "aiNodeConfigurationMap", &configurations },
};
static const AinThriftStruct get_configuration_struct =
    STRUCT("TAINodeConfigurationResp", get_configuration_fields);
static const AinThriftShape a_get_configuration = STRUCT_OF(get_configuration_struct);

static const AinThriftField show_cluster_fields[] = {
  { 1, TRUE, "status", &ain_reply_status }, { 2, TRUE, "configNodeList", &config_nodes },
  { 3, TRUE, "dataNodeList", &data_nodes }, { 4, TRUE, "aiNodeList", &ai_nodes },
  { 5, TRUE, "nodeStatus", &node_status },  { 6, TRUE, "nodeVersionInfo", &versions },
};
static const AinThriftStruct show_cluster_struct = STRUCT("TShowClusterResp", show_cluster_fields);
static const AinThriftShape a_show_cluster = STRUCT_OF(show_cluster_struct);

static const AinThriftField cluster_id_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, TRUE, "clusterId", &a_text },
};
static const AinThriftStruct cluster_id_struct = STRUCT("TGetClusterIdResp", cluster_id_fields);
static const AinThriftShape a_cluster_id = STRUCT_OF(cluster_id_struct);

static const AinThriftField parameters_fields[] = {
  { 1, TRUE, "clusterName", &a_text },
};
static const AinThriftStruct parameters_struct = STRUCT("TClusterParameters", parameters_fields);
static const AinThriftShape parameters = STRUCT_OF(parameters_struct);

static const AinThriftField show_variables_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, FALSE, "clusterParameters", &parameters },
};
static const AinThriftStruct show_variables_struct = STRUCT("TShowVariablesResp", show_variables_fields);
static const AinThriftShape a_show_variables = STRUCT_OF(show_variables_struct);

/* A result is a struct whose field 0 is what the method returns; none of the methods declares exceptions. */
#define OTHER "perhaps a DataNode's port"
static const AinReplyForm replies[AIN_REPLY_KINDS] = {
  [AIN_REPLY_REGISTER] = { "registerAINode", { 0, TRUE, "success", &a_register }, OTHER },
  [AIN_REPLY_RESTART] = { "restartAINode", { 0, TRUE, "success", &a_restart }, OTHER },
  [AIN_REPLY_REMOVE] = { "removeAINode", { 0, TRUE, "success", &ain_reply_status }, OTHER },
  [AIN_REPLY_GET_CONFIGURATION] = { "getAINodeConfiguration",
                                    { 0, TRUE, "success", &a_get_configuration },
                                    OTHER },
  [AIN_REPLY_SHOW_CLUSTER] = { "showCluster", { 0, TRUE, "success", &a_show_cluster }, OTHER },
  [AIN_REPLY_GET_CLUSTER_ID] = { "getClusterId", { 0, TRUE, "success", &a_cluster_id }, OTHER },
  [AIN_REPLY_SHOW_VARIABLES] = { "showVariables", { 0, TRUE, "success", &a_show_variables }, OTHER },
};

const char *ain_reply_method(AinReplyKind kind) {
  return replies[kind].method;
}

char *ain_reply_printable(const char *text, gsize size) {
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)MIN(size, (gsize)MAX_QUOTED * 4));
  GString *out = g_string_new(NULL);
  const char *at = valid;
  for (guint count = 0; *at != '\0' && count < MAX_QUOTED; at = g_utf8_next_char(at), count++) {
    gunichar character = g_utf8_get_char(at);
    if (g_unichar_isprint(character)) {
      g_string_append_unichar(out, character);
    } else if (out->len > 0 && out->str[out->len - 1] != ' ') {
      /* Line breaks and control characters would forge log lines or move a terminal's cursor. */
      g_string_append_c(out, ' ');
    }
  }
  if (*at != '\0') {
    g_string_append(out, "...");
  }
  return g_string_free(out, FALSE);
}

/* TApplicationException { 1: string message, 2: i32 type } */
static gboolean report_exception(AinReader *reader, const AinReplyForm *form, GError **error) {
  AinSlice text = { (const guint8 *)"", 0 };
  AinField field;
  gint32 code = 0;
  ain_reader_struct(reader, &field);
  while (ain_reader_next(reader, &field)) {
    if (field.id == 1 && field.type == AIN_THRIFT_STRING) {
      ain_reader_string(reader, &text);
    } else if (field.id == 2 && field.type == AIN_THRIFT_I32) {
      ain_reader_i32(reader, &code);
    } else {
      ain_reader_skip(reader, field.type);
    }
  }
  if (!ain_reader_ok(reader)) {
    return ain_thrift_walk_fail(reader, error);
  }
  g_autofree char *quoted = ain_reply_printable((const char *)text.data, text.size);
  if (code == UNKNOWN_METHOD) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED, "it is a Thrift service without %s (\"%s\")%s%s",
                form->method, quoted, form->other != NULL ? ", " : "",
                form->other != NULL ? form->other : "");
  } else {
    g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE,
                "it failed on %s with exception %" G_GINT32_FORMAT ": \"%s\"", form->method, code, quoted);
  }
  return FALSE;
}

gboolean ain_reply_check(AinReplyKind kind, AinSlice frame, gboolean compact, GError **error) {
  return ain_reply_check_form(&replies[kind], frame, compact, error);
}

gboolean ain_reply_check_form(const AinReplyForm *form, AinSlice frame, gboolean compact, GError **error) {
  AinReader reader;
  AinMessage message;
  ain_reader_init(&reader, frame.data, frame.size);
  reader.parts_left = AIN_THRIFT_MAX_PARTS;
  if (!ain_reader_message(&reader, &message)) {
    return ain_thrift_walk_fail(&reader, error);
  }
  if ((reader.protocol == AIN_THRIFT_COMPACT) != compact) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "it answered in the %s protocol to a request in the %s", compact ? "binary" : "compact",
                compact ? "compact" : "binary");
    return FALSE;
  }
  if (message.type == AIN_MESSAGE_EXCEPTION) {
    return report_exception(&reader, form, error);
  }
  if (message.type != AIN_MESSAGE_REPLY || message.seqid != 0
      || !ain_slice_equal(message.name, form->method)) {
    g_autofree char *name = ain_reply_printable((const char *)message.name.data, message.name.size);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "it answered with message type %u, method \"%s\", sequence id %" G_GINT32_FORMAT
                " instead of a reply to %s",
                (guint)message.type, name, message.seqid, form->method);
    return FALSE;
  }
  AinThriftStruct result = { "the result", &form->success, 1 };
  return ain_thrift_walk_struct(&reader, &result, error)
         && (ain_reader_end(&reader) || ain_thrift_walk_fail(&reader, error));
}
