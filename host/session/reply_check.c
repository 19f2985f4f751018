#include "session/reply_check.h"

/* --- the structures of host/protocol/client.thrift; test_reply_check holds them together */
#define STRUCT(title, list)                                                                                  \
  { title, list, G_N_ELEMENTS(list) }
#define STRUCT_OF(what)                                                                                      \
  { .type = AIN_THRIFT_STRUCT, .contents = &(what) }
#define LIST_OF(what)                                                                                        \
  { .type = AIN_THRIFT_LIST, .element = &(what) }

static const AinThriftShape a_bool = { .type = AIN_THRIFT_BOOL };
static const AinThriftShape a_byte = { .type = AIN_THRIFT_BYTE };
static const AinThriftShape an_i32 = { .type = AIN_THRIFT_I32 };
static const AinThriftShape an_i64 = { .type = AIN_THRIFT_I64 };
static const AinThriftShape a_text = { .type = AIN_THRIFT_STRING };
static const AinThriftShape a_binary = { .type = AIN_THRIFT_STRING, .is_binary = TRUE };
static const AinThriftShape bytes = LIST_OF(a_byte);
static const AinThriftShape numbers = LIST_OF(an_i32);
static const AinThriftShape long_numbers = LIST_OF(an_i64);
static const AinThriftShape texts = LIST_OF(a_text);
static const AinThriftShape binaries = LIST_OF(a_binary);
static const AinThriftShape text_map = { .type = AIN_THRIFT_MAP, .key = &a_text, .element = &a_text };
static const AinThriftShape index_map = { .type = AIN_THRIFT_MAP, .key = &a_text, .element = &an_i32 };

static const AinThriftField open_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, TRUE, "serverProtocolVersion", &an_i32 },
  { 3, FALSE, "sessionId", &an_i64 },
  { 4, FALSE, "configuration", &text_map },
};
static const AinThriftStruct open_struct = STRUCT("TSOpenSessionResp", open_fields);
static const AinThriftShape an_open = STRUCT_OF(open_struct);

static const AinThriftField data_set_fields[] = {
  { 1, TRUE, "time", &a_binary },
  { 2, TRUE, "valueList", &binaries },
  { 3, TRUE, "bitmapList", &binaries },
};
static const AinThriftStruct data_set_struct = STRUCT("TSQueryDataSet", data_set_fields);
static const AinThriftShape a_data_set = STRUCT_OF(data_set_struct);

static const AinThriftField non_align_fields[] = {
  { 1, TRUE, "timeList", &binaries },
  { 2, TRUE, "valueList", &binaries },
};
static const AinThriftStruct non_align_struct = STRUCT("TSQueryNonAlignDataSet", non_align_fields);
static const AinThriftShape a_non_align = STRUCT_OF(non_align_struct);

static const AinThriftField tracing_fields[] = {
  { 1, TRUE, "activityList", &texts },
  { 2, TRUE, "elapsedTimeList", &long_numbers },
  { 3, FALSE, "seriesPathNum", &an_i32 },
  { 4, FALSE, "seqFileNum", &an_i32 },
  { 5, FALSE, "unSeqFileNum", &an_i32 },
  { 6, FALSE, "sequenceChunkNum", &an_i32 },
  { 7, FALSE, "sequenceChunkPointNum", &an_i64 },
  { 8, FALSE, "unsequenceChunkNum", &an_i32 },
  { 9, FALSE, "unsequenceChunkPointNum", &an_i64 },
  { 10, FALSE, "totalPageNum", &an_i32 },
  { 11, FALSE, "overlappedPageNum", &an_i32 },
};
static const AinThriftStruct tracing_struct = STRUCT("TSTracingInfo", tracing_fields);
static const AinThriftShape a_tracing = STRUCT_OF(tracing_struct);

static const AinThriftField execute_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, FALSE, "queryId", &an_i64 },
  { 3, FALSE, "columns", &texts },
  { 4, FALSE, "operationType", &a_text },
  { 5, FALSE, "ignoreTimeStamp", &a_bool },
  { 6, FALSE, "dataTypeList", &texts },
  { 7, FALSE, "queryDataSet", &a_data_set },
  { 8, FALSE, "nonAlignQueryDataSet", &a_non_align },
  { 9, FALSE, "columnNameIndexMap", &index_map },
  { 10, FALSE, "sgColumns", &texts },
  { 11, FALSE, "aliasColumns", &bytes },
  { 12, FALSE, "tracingInfo", &a_tracing },
  { 13, FALSE, "queryResult", &binaries },
  { 14, FALSE, "moreData", &a_bool },
  { 15, FALSE, "database", &a_text },
  { 16, FALSE, "tableModel", &a_bool },
  { 17, FALSE, "columnIndex2TsBlockColumnIndexList", &numbers },
};
static const AinThriftStruct execute_struct = STRUCT("TSExecuteStatementResp", execute_fields);
static const AinThriftShape an_execute = STRUCT_OF(execute_struct);

static const AinThriftField fetch_fields[] = {
  { 1, TRUE, "status", &ain_reply_status },
  { 2, TRUE, "hasResultSet", &a_bool },
  { 3, TRUE, "isAlign", &a_bool },
  { 4, FALSE, "queryDataSet", &a_data_set },
  { 5, FALSE, "nonAlignQueryDataSet", &a_non_align },
  { 6, FALSE, "queryResult", &binaries },
  { 7, FALSE, "moreData", &a_bool },
};
static const AinThriftStruct fetch_struct = STRUCT("TSFetchResultsResp", fetch_fields);
static const AinThriftShape a_fetch = STRUCT_OF(fetch_struct);

#define OTHER "perhaps not a DataNode's client port"
static const AinReplyForm replies[AIN_SESSION_CALLS] = {
  [AIN_SESSION_OPEN] = { "openSession", { 0, TRUE, "success", &an_open }, OTHER },
  [AIN_SESSION_CLOSE] = { "closeSession", { 0, TRUE, "success", &ain_reply_status }, OTHER },
  [AIN_SESSION_STATEMENT_ID] = { "requestStatementId", { 0, TRUE, "success", &an_i64 }, OTHER },
  [AIN_SESSION_EXECUTE] = { "executeQueryStatementV2", { 0, TRUE, "success", &an_execute }, OTHER },
  [AIN_SESSION_FETCH] = { "fetchResultsV2", { 0, TRUE, "success", &a_fetch }, OTHER },
  [AIN_SESSION_CLOSE_OPERATION] = { "closeOperation", { 0, TRUE, "success", &ain_reply_status }, OTHER },
};

const char *ain_session_method(AinSessionCall call) {
  return replies[call].method;
}

gboolean ain_session_reply_check(AinSessionCall call, AinSlice frame, gboolean compact, GError **error) {
  return ain_reply_check_form(&replies[call], frame, compact, error);
}
