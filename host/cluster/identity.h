/* <system_dir>/system.properties: who this node is. The official format and order of keys, so that an
 * installation can change between the Python AINode and this one. Any thread. */
#pragma once
#include "config/config.h"

#include <glib.h>

typedef struct {
  char *path;     /* of the file, also when there is none */
  gint32 node_id; /* -1: no file, this node was never registered */
  /* as the file has them; NULL when absent */
  char *cluster_name;
  char *version;
  char *build_info;
  char *rpc_address;
  char *rpc_port;
} AinIdentity;

/* Errors: INTERNAL (the file exists but cannot be used; the message says why and what to do). */
AinIdentity *ain_identity_load(const char *system_dir, GError **error);
void ain_identity_free(AinIdentity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinIdentity, ain_identity_free)

/* Makes system_dir and proves that a file can be written there, before an id is drawn that could not be kept.
 * Errors: INTERNAL. */
gboolean ain_identity_prepare(const char *system_dir, GError **error);

/* Writes the file atomically. Errors: INTERNAL. */
gboolean ain_identity_store(const AinConfig *config, gint32 node_id, GError **error);

/* What differs between the file and the configuration, one sentence each, for the log; empty when nothing. */
GPtrArray *ain_identity_notes(const AinIdentity *identity, const AinConfig *config);
/* TRUE when the file should be written anew after an accepted restart (name, address or our version changed).
 */
gboolean ain_identity_is_stale(const AinIdentity *identity, const AinConfig *config);
