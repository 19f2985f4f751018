#include "session/page.h"

#include "cluster/reply_check.h"

void ain_node_status_clear(AinNodeStatus *status) {
  g_free(status->message);
  *status = (AinNodeStatus){ 0 };
}

void ain_node_page_clear(AinNodePage *page) {
  ain_node_status_clear(&page->status);
  g_strfreev(page->names);
  g_strfreev(page->types);
  g_free(page->sources);
  g_clear_pointer(&page->blocks, g_ptr_array_unref);
  *page = (AinNodePage){ 0 };
}

void ain_node_status_take(AinNodeStatus *to, const iotdbTSStatus *from) {
  to->code = from->code;
  to->message =
      from->message != NULL ? ain_reply_printable(from->message, strlen(from->message)) : g_strdup("");
  to->need_retry = from->__isset_needRetry && from->needRetry;
}

static GStrv take_texts(const GPtrArray *list) {
  g_autoptr(GPtrArray) texts = g_ptr_array_sized_new(list->len + 1);
  for (guint i = 0; i < list->len; i++) {
    const char *text = g_ptr_array_index(list, i);
    g_ptr_array_add(texts, g_utf8_make_valid(text != NULL ? text : "", -1));
  }
  g_ptr_array_add(texts, NULL);
  return (GStrv)g_ptr_array_free(g_steal_pointer(&texts), FALSE);
}

static void take_columns(AinNodePage *page, const iotdbTSExecuteStatementResp *response) {
  if (response->__isset_columns && response->__isset_dataTypeList) {
    page->names = take_texts(response->columns);
    page->types = take_texts(response->dataTypeList);
  }
  const GArray *sources = response->columnIndex2TsBlockColumnIndexList;
  if (response->__isset_columnIndex2TsBlockColumnIndexList) {
    page->n_sources = sources->len;
    page->sources = g_new(gint32, sources->len + 1);
    memcpy(page->sources, sources->data, sources->len * sizeof(gint32));
  }
  page->has_times = !(response->__isset_ignoreTimeStamp && response->ignoreTimeStamp);
}

void ain_node_page_take_execute(AinNodePage *page, const iotdbTSExecuteStatementResp *response) {
  ain_node_status_take(&page->status, response->status);
  take_columns(page, response);
  page->query_id = response->__isset_queryId ? response->queryId : -1;
  page->has_result = TRUE;
  page->more = response->__isset_moreData && response->moreData;
  page->is_legacy = response->__isset_queryDataSet || response->__isset_nonAlignQueryDataSet;
  page->blocks = response->__isset_queryResult ? g_ptr_array_ref(response->queryResult) : NULL;
}

void ain_node_page_take_fetch(AinNodePage *page, const iotdbTSFetchResultsResp *response, gint64 query_id) {
  ain_node_status_take(&page->status, response->status);
  page->query_id = query_id;
  page->has_result = response->hasResultSet;
  page->more = response->__isset_moreData && response->moreData;
  page->is_legacy = response->__isset_queryDataSet || response->__isset_nonAlignQueryDataSet;
  page->blocks = response->__isset_queryResult ? g_ptr_array_ref(response->queryResult) : NULL;
}
