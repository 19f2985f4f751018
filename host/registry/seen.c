#include "registry/seen.h"

#include <string.h>

#define ENDS (IN_CLOSE_WRITE | IN_MOVED_TO)
#define VALUES 4U /* not fewer than AinFileSeen has */

GHashTable *ain_seen_new(void) {
  return g_hash_table_new(NULL, NULL);
}

GHashTable *ain_seen_copy(GHashTable *seen) {
  GHashTable *copy = ain_seen_new();
  GHashTableIter iter;
  gpointer watch;
  gpointer packed;
  g_hash_table_iter_init(&iter, seen);
  while (g_hash_table_iter_next(&iter, &watch, &packed)) {
    g_hash_table_insert(copy, watch, packed);
  }
  return copy;
}

AinWeightsSeen ain_seen_of(GHashTable *seen, int watch) {
  guint packed = GPOINTER_TO_UINT(g_hash_table_lookup(seen, GINT_TO_POINTER(watch)));
  return (AinWeightsSeen){ .config = (AinFileSeen)(packed / VALUES),
                           .model = (AinFileSeen)(packed % VALUES) };
}

static void take_change(GHashTable *seen, const struct inotify_event *event) {
  AinWeightsSeen both = ain_seen_of(seen, event->wd);
  AinFileSeen *file = strcmp(event->name, AIN_WEIGHTS_FILE) == 0 ? &both.model : &both.config;
  if ((event->mask & ENDS) != 0) {
    *file = AIN_SEEN_CLOSED;
  } else if ((event->mask & IN_MODIFY) != 0) {
    *file = AIN_SEEN_CHANGED;
  } else if ((event->mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM)) != 0) {
    *file = AIN_SEEN_NOTHING;
  }
  guint packed = (guint)both.config * VALUES + (guint)both.model;
  g_hash_table_insert(seen, GINT_TO_POINTER(event->wd), GUINT_TO_POINTER(packed));
}

gboolean ain_seen_take(GHashTable *seen, const struct inotify_event *event) {
  if ((event->mask & IN_Q_OVERFLOW) != 0) { /* changes may be among the events that were lost */
    g_hash_table_remove_all(seen);
  } else if ((event->mask & IN_IGNORED) != 0) { /* the number may come again for another folder */
    g_hash_table_remove(seen, GINT_TO_POINTER(event->wd));
  } else if (event->len > 0
             && (strcmp(event->name, AIN_WEIGHTS_CONFIG) == 0
                 || strcmp(event->name, AIN_WEIGHTS_FILE) == 0)) {
    take_change(seen, event);
    return (event->mask & ENDS) != 0;
  }
  return FALSE;
}
