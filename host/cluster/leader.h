/* Finds the ConfigNode that can answer: walks the seeds and the ConfigNodes learnt, follows redirects, waits
 * with back-off. Blocking; one thread at a time. Every try that fails is logged with address and reason. */
#pragma once
#include "cluster/client.h"
#include "config/config.h"

#include <glib.h>

typedef struct AinLeader AinLeader;

/* config is borrowed and must outlive it; cancel_fd: readable to give up, -1 for none. */
AinLeader *ain_leader_new(const AinConfig *config, int cancel_fd);
void ain_leader_free(AinLeader *leader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinLeader, ain_leader_free)

/* One call on the connection; the functions of client.h. */
typedef gboolean (*AinLeaderCall)(AinConfigNode *node, gpointer data, AinReply *reply, GError **error);

/* Repeats the call until a ConfigNode gives an answer that waiting cannot change, and fills the reply (zeroed
 * by the caller) with it: 200 or a refusal. wait_ms: as config_node_wait_ms; 0 = every seed once, -1 = for
 * ever. what: for the log, e.g. "registration". Errors: UNREACHABLE (what was tried and why it failed),
 * CANCELLED. */
gboolean ain_leader_ask(AinLeader *leader, const char *what, gint64 wait_ms, AinLeaderCall call,
                        gpointer data, AinReply *reply, GError **error);

/* TRUE when a request of the last ain_leader_ask() may have been carried out although its answer was lost. */
gboolean ain_leader_lost_answer(const AinLeader *leader);

/* Lets time pass. FALSE: cancelled. */
gboolean ain_leader_sleep(const AinLeader *leader, gint64 duration_us);
