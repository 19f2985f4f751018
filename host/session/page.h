/* From the generated types to ours. Private to this folder and its tests. */
#pragma once
#include "session/data_node.h"

#include <iotdb_client_types.h>

void ain_node_status_take(AinNodeStatus *to, const iotdbTSStatus *from);
/* Each fills a zeroed page; the blocks are shared with the response. */
void ain_node_page_take_execute(AinNodePage *page, const iotdbTSExecuteStatementResp *response);
void ain_node_page_take_fetch(AinNodePage *page, const iotdbTSFetchResultsResp *response, gint64 query_id);
