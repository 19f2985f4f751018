/* Shared memory: sealed memfds with a mapping, reference counted because a helper thread may still fill a
 * slot of a worker that is gone. Counts are atomic; the rest is immutable after creation. */
#pragma once
#include "runtime/budget.h"

#include <glib.h>

typedef struct {
  gatomicrefcount references;
  int fd;
  guint8 *start;
  gsize size;
  AinBudget *budget;
  AinBudgetUse use;
} AinMemory;

typedef enum {
  AIN_MEMORY_SEALED = 1 << 0,   /* nobody who gets the descriptor can map it writable */
  AIN_MEMORY_PREFAULT = 1 << 1, /* its pages are there from the start */
} AinMemoryFlags;

/* The caller has taken its size from the budget for this use; it goes back with the last reference, or at
 * once when the memory cannot be made. Mapped writable for us. Errors: INTERNAL. */
AinMemory *ain_memory_new(AinBudget *budget, AinBudgetUse use, const char *name, gsize size,
                          AinMemoryFlags flags, GError **error);
AinMemory *ain_memory_ref(AinMemory *memory);
void ain_memory_unref(AinMemory *memory); /* NULL is allowed; the last one: loop thread */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinMemory, ain_memory_unref)
