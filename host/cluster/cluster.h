/* Membership: registering with the ConfigNode, restarting under the same id, the identity file, the node's
 * state.
 *
 * The client calls block and run on a helper thread; results arrive on the loop thread. */
#pragma once
#include "base/loop.h"
#include "config/config.h"
#include "rpc/call.h"

#include <glib.h>

typedef struct AinCluster AinCluster;

AinCluster *ain_cluster_new(AinLoop *loop, const AinConfig *config);
/* Stops waiting and reconnecting at once; blocks at most until the call in flight notices (well under 1 s).
 */
void ain_cluster_free(AinCluster *cluster);

/* First start: registerAINode; later: restartAINode with the id of <system_dir>/system.properties. Follows
 * redirects, walks the seeds, waits with back-off for a ConfigNode that is absent, electing (400) or warming
 * up (1014, 904, 1009), each try logged with address and reason, within config_node_wait_ms. done: error NULL
 * when the node is a member. Errors: REJECTED (wrong cluster name, id unknown, another AINode, ...; the
 * message says what to do), UNREACHABLE (time is up), INTERNAL (identity file). */
typedef void (*AinClusterJoined)(const GError *error, gpointer data);
void ain_cluster_join(AinCluster *cluster, AinClusterJoined done, gpointer data);

gint32 ain_cluster_node_id(const AinCluster *cluster); /* -1 before the first registration */

/* The release the cluster speaks (decision 16): from the key, showCluster's version strings, or the frames
 * seen. */
AinFamily ain_cluster_release(const AinCluster *cluster);
void ain_cluster_add_evidence(AinCluster *cluster, AinFamilies seen);
/* Asks for the members' versions now instead of within a minute, but not more often than every 5 s: a new
 * peer may be a member that was upgraded. Loop thread; returns at once. */
void ain_cluster_refresh(AinCluster *cluster);
void ain_cluster_on_release(AinCluster *cluster, void (*func)(AinFamily family, gpointer data),
                            gpointer data);

/* Removal by hand (remove-ainode.sh), blocking, no loop: asks the ConfigNode to forget node `id` (or -1: the
 * id of system.properties), and waits up to 30 s until it has. Errors: REJECTED, UNREACHABLE, INVALID. */
gboolean ain_cluster_remove(const AinConfig *config, gint32 id, GError **error);
/* The id of the AINode registered with that address (as SHOW AINODES prints it), for removal by address.
 * Blocking, no loop. Errors: REJECTED (none there), UNREACHABLE. */
gboolean ain_cluster_find(const AinConfig *config, const AinEndpoint *address, gint32 *id, GError **error);
