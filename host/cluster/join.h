/* The blocking steps of membership, run by cluster.c's thread. */
#pragma once
#include "cluster/identity.h"
#include "cluster/leader.h"
#include "config/config.h"

#include <glib.h>

/* Registers (identity->node_id < 0) or restarts this node and keeps its id. Returns the id, or -1 with
 * REJECTED, UNREACHABLE, CANCELLED, INTERNAL. */
gint32 ain_join(AinLeader *leader, const AinConfig *config, const AinIdentity *identity, GError **error);

/* What showCluster tells about the release: the members' families, and their version strings for the log. */
typedef struct {
  guint families; /* AinFamilies; 0: no version understood */
  char *members;  /* owned */
} AinVersions;
gboolean ain_join_versions(AinLeader *leader, gint64 wait_ms, AinVersions *versions, GError **error);
