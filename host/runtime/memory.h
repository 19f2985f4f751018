/* Shared memory: sealed memfds with a mapping, reference counted because a helper thread may still fill a
 * slot of a worker that is gone. Counts are atomic; the rest is immutable after creation. */
#pragma once
#include <glib.h>

typedef struct {
  gatomicrefcount references;
  int fd;
  guint8 *start;
  gsize size;
} AinMemory;

/* Memory the host writes. sealed_writer: nobody who gets the descriptor later can map it writable. Prefaulted
 * when prefault. Errors: INTERNAL. */
AinMemory *ain_memory_new(const char *name, gsize size, gboolean sealed_writer, gboolean prefault,
                          GError **error);
/* Memory a worker sent (takes fd): accepted when it is sealed against shrinking and holds at least size
 * bytes; mapped read-only. Errors: MALFORMED, INTERNAL. */
AinMemory *ain_memory_adopt(int fd, gsize size, GError **error);
AinMemory *ain_memory_ref(AinMemory *memory);
void ain_memory_unref(AinMemory *memory); /* NULL is allowed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinMemory, ain_memory_unref)
