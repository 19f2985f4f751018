/* The first bytes of an ELF header against those of our own executable. */
#include "env/elf.h"

#include "base/fd.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* e_ident to e_machine lie alike in both classes. */
#define HEAD_SIZE ((gsize)(EI_NIDENT + 4))

static gboolean read_head(const char *path, guint8 head[HEAD_SIZE]) {
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  return fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)
         && pread(fd, head, HEAD_SIZE, 0) == (ssize_t)HEAD_SIZE;
}

AinElf ain_env_elf_check(const char *path, gboolean shared) {
  guint8 head[HEAD_SIZE];
  guint8 own[HEAD_SIZE];
  if (!read_head(path, head) || memcmp(head, ELFMAG, SELFMAG) != 0) {
    return AIN_ELF_NOT;
  }
  if (!read_head("/proc/self/exe", own)) {
    return AIN_ELF_FITS; /* /proc is hidden: nothing to compare with, the loader will say */
  }
  gboolean alike = head[EI_CLASS] == own[EI_CLASS] && head[EI_DATA] == own[EI_DATA]
                   && memcmp(head + EI_NIDENT + 2, own + EI_NIDENT + 2, 2) == 0;
  guint16 type;
  memcpy(&type, head + EI_NIDENT, sizeof type);
  return alike && (!shared || type == ET_DYN) ? AIN_ELF_FITS : AIN_ELF_FOREIGN;
}
