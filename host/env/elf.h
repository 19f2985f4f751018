/* Whether a file is an ELF object that this machine can load. Any thread. */
#pragma once
#include <glib.h>

typedef enum {
  AIN_ELF_FITS,    /* this machine's class, byte order and architecture */
  AIN_ELF_FOREIGN, /* ELF, for another machine */
  AIN_ELF_NOT,     /* something else (a script), or unreadable */
} AinElf;

/* shared: it must also be a shared object. */
AinElf ain_env_elf_check(const char *path, gboolean shared);
