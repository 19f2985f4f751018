#include "cluster/join.h"

#include "base/error.h"
#include "cluster/refusal.h"
#include "cluster/release.h"
#include "cluster/resolve.h"

typedef struct {
  const AinConfig *config;
  gint32 node_id;
} Node;

static gboolean call_register(AinConfigNode *node, gpointer data, AinReply *reply, GError **error) {
  const Node *self = data;
  return ain_config_node_register(node, self->config, reply, error);
}

static gboolean call_restart(AinConfigNode *node, gpointer data, AinReply *reply, GError **error) {
  const Node *self = data;
  return ain_config_node_restart(node, self->config, self->node_id, reply, error);
}

static gboolean call_show_cluster(AinConfigNode *node, gpointer data, AinReply *reply, GError **error) {
  (void)data;
  return ain_config_node_show_cluster(node, reply, error);
}

/* A registration whose answer was lost took effect nevertheless: its repetition is refused, since the cluster
 * has an AINode of exactly this address. Returns that node's id or -1. */
static gint32 find_own_id(AinLeader *leader, const AinConfig *config) {
  g_auto(AinReply) reply = { 0 };
  g_autoptr(GError) error = NULL;
  if (!ain_leader_ask(leader, "looking up this node", 5000, call_show_cluster, NULL, &reply, &error)) {
    return -1;
  }
  for (guint i = 0; i < reply.members->len; i++) {
    const AinMember *member = g_ptr_array_index(reply.members, i);
    if (member->kind == AIN_MEMBER_AI_NODE && member->endpoint.port == config->rpc_port
        && strcmp(member->endpoint.host, config->rpc_address) == 0) {
      return member->id;
    }
  }
  return -1;
}

static gint32 keep_id(const AinConfig *config, gint32 node_id, GError **error) {
  g_autoptr(GError) failed = NULL;
  if (ain_identity_store(config, node_id, &failed)) {
    return node_id;
  }
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_INTERNAL,
      "this node was registered as %d, but its id could not be kept: %s; mend that, then remove the node "
      "(REMOVE AINODE, or remove-ainode.sh -t %d) and start again",
      node_id, failed->message, node_id);
  return -1;
}

static gint32 register_node(AinLeader *leader, const AinConfig *config, const char *path, GError **error) {
  if (!ain_identity_prepare(config->system_dir, error)) {
    return -1;
  }
  Node self = { config, -1 };
  g_auto(AinReply) reply = { 0 };
  if (!ain_leader_ask(leader, "registration", config->config_node_wait_ms, call_register, &self, &reply,
                      error)) {
    return -1;
  }
  if (reply.code == AIN_CODE_SUCCESS) {
    return keep_id(config, reply.node_id, error);
  }
  gint32 own = ain_leader_lost_answer(leader) ? find_own_id(leader, config) : -1;
  if (own < 0) {
    ain_refusal_of_registration(&reply, config, path, error);
    return -1;
  }
  g_message("an earlier try, whose answer was lost, has registered this node as %d", own);
  return keep_id(config, own, error);
}

static gint32 restart_node(AinLeader *leader, const AinConfig *config, const AinIdentity *identity,
                           GError **error) {
  g_autoptr(GPtrArray) notes = ain_identity_notes(identity, config);
  for (guint i = 0; i < notes->len; i++) {
    g_message("%s", (const char *)g_ptr_array_index(notes, i));
  }
  Node self = { config, identity->node_id };
  g_auto(AinReply) reply = { 0 };
  if (!ain_leader_ask(leader, "restart", config->config_node_wait_ms, call_restart, &self, &reply, error)) {
    return -1;
  }
  if (reply.code != AIN_CODE_SUCCESS) {
    ain_refusal_of_restart(&reply, config, identity->node_id, identity->path, error);
    return -1;
  }
  g_autoptr(GError) failed = NULL;
  if (ain_identity_is_stale(identity, config) && !ain_identity_store(config, identity->node_id, &failed)) {
    g_warning("the identity file keeps its old texts: %s", failed->message); /* the id in it is right */
  }
  return identity->node_id;
}

gint32 ain_join(AinLeader *leader, const AinConfig *config, const AinIdentity *identity, GError **error) {
  return identity->node_id < 0 ? register_node(leader, config, identity->path, error)
                               : restart_node(leader, config, identity, error);
}

gboolean ain_join_versions(AinLeader *leader, gint64 wait_ms, AinVersions *versions, GError **error) {
  static const char *const kinds[] = { "ConfigNode", "DataNode", "AINode" };
  g_auto(AinReply) reply = { 0 };
  if (!ain_leader_ask(leader, "showCluster", wait_ms, call_show_cluster, NULL, &reply, error)) {
    return FALSE;
  }
  if (reply.code != AIN_CODE_SUCCESS) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_REJECTED, "showCluster: code %d: %s", reply.code, reply.message);
    return FALSE;
  }
  g_autoptr(GString) members = g_string_new(NULL);
  for (guint i = 0; i < reply.members->len; i++) {
    const AinMember *member = g_ptr_array_index(reply.members, i);
    /* The AINode listed is this one, with this project's version. */
    if (member->kind == AIN_MEMBER_AI_NODE || member->version == NULL) {
      continue;
    }
    versions->families |= (guint)ain_release_of_version(member->version);
    if (members->len < 500) {
      g_string_append_printf(members, "%s%s %d %s", members->len > 0 ? ", " : "", kinds[member->kind],
                             member->id, member->version);
    }
  }
  versions->members = g_string_free(g_steal_pointer(&members), FALSE);
  return TRUE;
}
