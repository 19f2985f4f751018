/* Calls of one ConfigNode over one connection, blocking. One thread at a time.
 *
 * Any error but a status leaves the connection unusable: drop it. Errors of every call: those of
 * ain_transport_connect/receive and ain_reply_check. ain_protocol_register_types() must have run. */
#pragma once
#include "cluster/reply_check.h"
#include "cluster/transport.h"
#include "config/config.h"

#include <glib.h>

typedef enum { AIN_MEMBER_CONFIG_NODE, AIN_MEMBER_DATA_NODE, AIN_MEMBER_AI_NODE } AinMemberKind;

typedef struct {
  AinMemberKind kind;
  gint32 id;
  AinEndpoint endpoint; /* internal; host is owned */
  char *version;        /* NULL where the reply has none */
} AinMember;

/* What a call brought; everything is owned by the reply. Texts are printable and bounded. */
typedef struct {
  gint32 code; /* TSStatus */
  char *message;
  gboolean need_retry;
  gboolean has_redirect;
  AinEndpoint redirect;
  gint32 node_id; /* REGISTER, code 200: the id; otherwise -1 */
  GPtrArray
      *members; /* of AinMember: REGISTER, RESTART (ConfigNodes), SHOW_CLUSTER, GET_CONFIGURATION (AINodes) */
  char *cluster_id;   /* GET_CLUSTER_ID */
  char *cluster_name; /* SHOW_VARIABLES, code 200 */
} AinReply;

void ain_reply_clear(AinReply *reply);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinReply, ain_reply_clear)

typedef struct AinConfigNode AinConfigNode;

AinConfigNode *ain_config_node_connect(const AinEndpoint *peer, gboolean compact,
                                       const AinTransportLimits *limits, GError **error);
void ain_config_node_free(AinConfigNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinConfigNode, ain_config_node_free)

const char *ain_config_node_address(const AinConfigNode *node); /* borrowed */
gboolean ain_config_node_was_sent(const AinConfigNode *node);

/* Each fills a zeroed reply. */
gboolean ain_config_node_register(AinConfigNode *node, const AinConfig *config, AinReply *reply,
                                  GError **error);
gboolean ain_config_node_restart(AinConfigNode *node, const AinConfig *config, gint32 node_id,
                                 AinReply *reply, GError **error);
/* endpoint: as the ConfigNode knows it. Releases from 2.0.5 on ignore both and remove the one AINode there
 * is. */
gboolean ain_config_node_remove(AinConfigNode *node, gint32 node_id, const AinEndpoint *endpoint,
                                AinReply *reply, GError **error);
/* node_id -1: every AINode. */
gboolean ain_config_node_get_configuration(AinConfigNode *node, gint32 node_id, AinReply *reply,
                                           GError **error);
gboolean ain_config_node_show_cluster(AinConfigNode *node, AinReply *reply, GError **error);
gboolean ain_config_node_get_cluster_id(AinConfigNode *node, AinReply *reply, GError **error);
gboolean ain_config_node_show_variables(AinConfigNode *node, AinReply *reply, GError **error);

/* Owned list element for tests and callers that build replies. */
void ain_member_free(AinMember *member);
