/* Removal by hand: what remove-ainode.sh runs. */
#include "base/error.h"
#include "base/loop.h"
#include "cluster/cluster.h"
#include "cluster/identity.h"
#include "cluster/leader.h"
#include "cluster/refusal.h"
#include "protocol/types.h"

/* An operator is waiting at a terminal. */
#define MAX_WAIT_MS 30000
/* The ConfigNode answers before it removes: its procedure may first try to stop the node, for up to 22 s. */
#define GONE_WITHIN_US (30 * (gint64)G_USEC_PER_SEC)
#define GONE_POLL_US (100 * (gint64)1000)

typedef struct {
  gint32 node_id;
  const AinEndpoint *endpoint;
} Removal;

static gboolean call_get_configuration(AinConfigNode *node, gpointer data, AinReply *reply, GError **error) {
  const Removal *removal = data;
  return ain_config_node_get_configuration(node, removal->node_id, reply, error);
}

static gboolean call_remove(AinConfigNode *node, gpointer data, AinReply *reply, GError **error) {
  const Removal *removal = data;
  return ain_config_node_remove(node, removal->node_id, removal->endpoint, reply, error);
}

static gint64 wait_ms(const AinConfig *config) {
  gint64 wait = config->config_node_wait_ms;
  return wait < 0 ? MAX_WAIT_MS : MIN(wait, MAX_WAIT_MS);
}

/* Asks about node_id, or all AINodes for -1. */
static gboolean ask_registered(AinLeader *leader, const AinConfig *config, gint32 node_id, AinReply *reply,
                               GError **error) {
  Removal question = { node_id, NULL };
  if (!ain_leader_ask(leader, "looking up the AINode", wait_ms(config), call_get_configuration, &question,
                      reply, error)) {
    return FALSE;
  }
  if (reply->code != AIN_CODE_SUCCESS) {
    ain_refusal_of_removal(reply, node_id, error);
    return FALSE;
  }
  return TRUE;
}

static const AinMember *find_member(const AinReply *reply, gint32 node_id) {
  for (guint i = 0; i < reply->members->len; i++) {
    const AinMember *member = g_ptr_array_index(reply->members, i);
    if (member->id == node_id) {
      return member;
    }
  }
  return NULL;
}

static gboolean own_id(const AinConfig *config, gint32 *node_id, GError **error) {
  g_autoptr(AinIdentity) identity = ain_identity_load(config->system_dir, error);
  if (identity == NULL) {
    return FALSE;
  }
  if (identity->node_id < 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "there is no %s, so this node has no id to remove; give the id of the AINode (SHOW AINODES "
                "prints it)",
                identity->path);
    return FALSE;
  }
  *node_id = identity->node_id;
  return TRUE;
}

/* Until the id is gone, so that a node started next is not met by its predecessor. */
static void wait_until_gone(AinLeader *leader, const AinConfig *config, gint32 id) {
  gint64 deadline = ain_loop_now() + GONE_WITHIN_US;
  do {
    g_auto(AinReply) reply = { 0 };
    g_autoptr(GError) error = NULL;
    if (!ask_registered(leader, config, id, &reply, &error)) {
      g_message("the ConfigNode accepted the removal; whether it is done could not be seen: %s",
                error->message);
      return;
    }
    if (find_member(&reply, id) == NULL) {
      return;
    }
  } while (ain_loop_now() < deadline && ain_leader_sleep(leader, GONE_POLL_US));
  g_message("the ConfigNode accepted the removal of AINode %d and is still at it; SHOW AINODES tells when it "
            "is done",
            id);
}

gboolean ain_cluster_remove(const AinConfig *config, gint32 id, GError **error) {
  ain_protocol_register_types();
  if (id < 0 && !own_id(config, &id, error)) {
    return FALSE;
  }
  g_autoptr(AinLeader) leader = ain_leader_new(config, -1);
  g_auto(AinReply) found = { 0 };
  if (!ask_registered(leader, config, id, &found, error)) {
    return FALSE;
  }
  /* From 2.0.5 on the ConfigNode removes its one AINode whatever the request says: make sure that it is this.
   */
  const AinMember *member = find_member(&found, id);
  if (member == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_REJECTED,
                "the cluster has no AINode %d; SHOW AINODES prints those it has", id);
    return FALSE;
  }
  Removal removal = { id, &member->endpoint };
  g_auto(AinReply) reply = { 0 };
  if (!ain_leader_ask(leader, "removal", wait_ms(config), call_remove, &removal, &reply, error)) {
    return FALSE;
  }
  /* Refused after an answer was lost: the first request has done it. */
  if (reply.code != AIN_CODE_SUCCESS && !ain_leader_lost_answer(leader)) {
    ain_refusal_of_removal(&reply, id, error);
    return FALSE;
  }
  wait_until_gone(leader, config, id);
  return TRUE;
}

gboolean ain_cluster_find(const AinConfig *config, const AinEndpoint *address, gint32 *id, GError **error) {
  ain_protocol_register_types();
  g_autoptr(AinLeader) leader = ain_leader_new(config, -1);
  g_auto(AinReply) found = { 0 };
  if (!ask_registered(leader, config, -1, &found, error)) {
    return FALSE;
  }
  for (guint i = 0; i < found.members->len; i++) {
    const AinMember *member = g_ptr_array_index(found.members, i);
    if (member->endpoint.port == address->port && strcmp(member->endpoint.host, address->host) == 0) {
      *id = member->id;
      return TRUE;
    }
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_REJECTED,
              "the cluster has no AINode at %s, port %u; SHOW AINODES prints "
              "those it has",
              address->host, address->port);
  return FALSE;
}
