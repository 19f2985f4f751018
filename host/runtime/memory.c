#include "runtime/memory.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static int create_file(const char *name, gsize size, GError **error) {
  ain_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
    ain_error_set_os(error, errno, "cannot create %" G_GSIZE_FORMAT " bytes of shared memory", size);
    return -1;
  }
  return ain_fd_steal(&fd);
}

static guint8 *map_file(int fd, gsize size, AinMemoryFlags flags, GError **error) {
  int map_flags = MAP_SHARED | ((flags & AIN_MEMORY_PREFAULT) != 0 ? MAP_POPULATE : 0);
  guint8 *start = mmap(NULL, size, PROT_READ | PROT_WRITE, map_flags, fd, 0);
  if (start == MAP_FAILED) {
    ain_error_set_os(error, errno, "cannot map %" G_GSIZE_FORMAT " bytes of shared memory", size);
    return NULL;
  }
  /* Without the size seals a worker could shrink the file and our next read would be a SIGBUS. */
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  seals |= (flags & AIN_MEMORY_SEALED) != 0 ? F_SEAL_FUTURE_WRITE : 0;
  if (fcntl(fd, F_ADD_SEALS, seals) != 0) {
    ain_error_set_os(error, errno, "cannot seal shared memory");
    munmap(start, size);
    return NULL;
  }
  return start;
}

AinMemory *ain_memory_new(AinBudget *budget, AinBudgetUse use, const char *name, gsize size,
                          AinMemoryFlags flags, GError **error) {
  ain_fd int fd = create_file(name, size, error);
  guint8 *start = fd >= 0 ? map_file(fd, size, flags, error) : NULL;
  if (start == NULL) {
    ain_budget_give(budget, use, size);
    return NULL;
  }
  AinMemory *memory = g_new0(AinMemory, 1);
  g_atomic_ref_count_init(&memory->references);
  memory->fd = ain_fd_steal(&fd);
  memory->start = start;
  memory->size = size;
  memory->budget = budget;
  memory->use = use;
  return memory;
}

AinMemory *ain_memory_ref(AinMemory *memory) {
  g_atomic_ref_count_inc(&memory->references);
  return memory;
}

void ain_memory_unref(AinMemory *memory) {
  if (memory != NULL && g_atomic_ref_count_dec(&memory->references)) {
    munmap(memory->start, memory->size);
    ain_fd_close(&memory->fd);
    ain_budget_give(memory->budget, memory->use, memory->size);
    g_free(memory);
  }
}
