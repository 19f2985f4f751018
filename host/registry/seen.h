/* What inotify told of the two files of a model in the watched folders of weights. A copy may be read by a
 * helper. */
#pragma once
#include "registry/weights.h"

#include <sys/inotify.h>

/* Watch descriptor -> what was seen. Owned by the caller, g_hash_table_unref(). */
GHashTable *ain_seen_new(void);
GHashTable *ain_seen_copy(GHashTable *seen);
/* Returns whether a file may be whole with this event: closed by a writer, or renamed in. */
gboolean ain_seen_take(GHashTable *seen, const struct inotify_event *event);
AinWeightsSeen ain_seen_of(GHashTable *seen, int watch);
