#include "runtime/memory.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static AinMemory *memory_take(int *fd, guint8 *start, gsize size) {
  AinMemory *memory = g_new0(AinMemory, 1);
  g_atomic_ref_count_init(&memory->references);
  memory->fd = ain_fd_steal(fd);
  memory->start = start;
  memory->size = size;
  return memory;
}

AinMemory *ain_memory_new(const char *name, gsize size, gboolean sealed_writer, gboolean prefault,
                          GError **error) {
  ain_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno,
                        "cannot create %" G_GSIZE_FORMAT " bytes of shared memory", size);
    return NULL;
  }
  int flags = MAP_SHARED | (prefault ? MAP_POPULATE : 0);
  guint8 *start = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (start == MAP_FAILED) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno,
                        "cannot map %" G_GSIZE_FORMAT " bytes of shared memory", size);
    return NULL;
  }
  /* Without the size seals a worker could shrink the file and our next read would be a SIGBUS. */
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (sealed_writer ? F_SEAL_FUTURE_WRITE : 0);
  if (fcntl(fd, F_ADD_SEALS, seals) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot seal shared memory");
    munmap(start, size);
    return NULL;
  }
  return memory_take(&fd, start, size);
}

AinMemory *ain_memory_adopt(int fd_taken, gsize size, GError **error) {
  ain_fd int fd = fd_taken;
  struct stat info;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &info) != 0 || size == 0
      || (guint64)info.st_size < size) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "the worker sent memory that is unsealed or too small");
    return NULL;
  }
  guint8 *start = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno,
                        "cannot map a worker's result of %" G_GSIZE_FORMAT " bytes", size);
    return NULL;
  }
  return memory_take(&fd, start, size);
}

AinMemory *ain_memory_ref(AinMemory *memory) {
  g_atomic_ref_count_inc(&memory->references);
  return memory;
}

void ain_memory_unref(AinMemory *memory) {
  if (memory != NULL && g_atomic_ref_count_dec(&memory->references)) {
    munmap(memory->start, memory->size);
    ain_fd_close(&memory->fd);
    g_free(memory);
  }
}
