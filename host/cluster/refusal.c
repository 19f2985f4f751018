#include "cluster/refusal.h"

#include "base/error.h"
#include "cluster/resolve.h"

#define REJECT_NODE_START 1002
/* The 15xx block was renumbered between 2.0.7 and 2.0.8; as answers to these calls the numbers do not
 * collide. */
#define NO_AI_NODE_NEW 1500
#define REGISTER_FAILED_NEW 1501
#define REMOVE_FAILED_NEW 1502
#define NO_AI_NODE_OLD 1504
#define REGISTER_FAILED_OLD 1506
#define REMOVE_FAILED_OLD 1511

gboolean ain_refusal_is_final(gint32 code) {
  static const gint32 final_codes[] = { REJECT_NODE_START, NO_AI_NODE_NEW, REGISTER_FAILED_NEW,
                                        REMOVE_FAILED_NEW, NO_AI_NODE_OLD, REGISTER_FAILED_OLD,
                                        REMOVE_FAILED_OLD };
  for (guint i = 0; i < G_N_ELEMENTS(final_codes); i++) {
    if (code == final_codes[i]) {
      return TRUE;
    }
  }
  return FALSE;
}

/* 1002 has several reasons and only its text tells which; a text that is not recognised gets all the advice.
 */
static gboolean is_about_name(const AinReply *reply) {
  g_autofree char *text = g_ascii_strdown(reply->message, -1);
  return strstr(text, "clustername") != NULL || strstr(text, "cluster name") != NULL
         || strstr(text, "cluster_name") != NULL;
}

static void reject(const AinReply *reply, const char *what, const char *advice, GError **error) {
  g_set_error(error, AIN_ERROR, AIN_ERROR_REJECTED, "the ConfigNode refused %s (code %d: %s); %s", what,
              reply->code, reply->message[0] != '\0' ? reply->message : "no reason given", advice);
}

static char *name_advice(const AinConfig *config) {
  return g_strdup_printf("this node is configured for cluster_name=%s: set that key to the cluster's name "
                         "(SHOW VARIABLES prints it), or ain_seed_config_node to the right cluster",
                         config->cluster_name);
}

void ain_refusal_of_registration(const AinReply *reply, const AinConfig *config, const char *path,
                                 GError **error) {
  g_autofree char *advice = NULL;
  g_autofree char *own = ain_cluster_endpoint_text(config->rpc_address, config->rpc_port);
  if (reply->code != REJECT_NODE_START) {
    advice =
        g_strdup("a cluster has one AINode: SHOW AINODES tells which is registered; stop that one and remove "
                 "it (REMOVE AINODE, or remove-ainode.sh of its installation), then start this one again");
  } else if (is_about_name(reply)) {
    advice = name_advice(config);
  } else {
    advice = g_strdup_printf(
        "an AINode with the address %s is registered already (SHOW AINODES): if it was this installation, "
        "restore "
        "its %s, or remove it (REMOVE AINODE, or remove-ainode.sh -t %s) and start again; otherwise set "
        "ain_inference_rpc_address and ain_inference_rpc_port to an address of this node's own",
        own, path, own);
  }
  reject(reply, "to register this node", advice, error);
}

void ain_refusal_of_restart(const AinReply *reply, const AinConfig *config, gint32 node_id, const char *path,
                            GError **error) {
  g_autofree char *advice = NULL;
  g_autofree char *what = g_strdup_printf("the restart of node %d", node_id);
  if (is_about_name(reply)) {
    advice = name_advice(config);
  } else {
    advice = g_strdup_printf(
        "if node %d was removed from the cluster (SHOW AINODES does not list it), delete %s and "
        "start again: the node then registers anew; if this node belongs to another cluster, "
        "correct ain_seed_config_node",
        node_id, path);
  }
  reject(reply, what, advice, error);
}

void ain_refusal_of_removal(const AinReply *reply, gint32 node_id, GError **error) {
  g_autofree char *what = g_strdup_printf("to remove AINode %d", node_id);
  reject(reply, what, "SHOW AINODES tells which AINodes are registered", error);
}
