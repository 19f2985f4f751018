/* A folder of wheels to install from without a network, or one archive that make-wheelhouse.sh made of it.
 * Any thread; an archive is unpacked beside the venv under its lock. */
#pragma once
#include "env/env.h"

#include <glib.h>

typedef struct {
  char *folder;   /* absolute */
  char *unpacked; /* what ain_env_wheelhouse_clear() deletes, or NULL */
} AinEnvWheelhouse;
void ain_env_wheelhouse_clear(AinEnvWheelhouse *wheelhouse);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinEnvWheelhouse, ain_env_wheelhouse_clear)

/* Whether there is such a folder or file at all. Errors: ENVIRONMENT, with the command that makes one. */
gboolean ain_env_wheelhouse_exists(const char *path, GError **error);

/* place: where an archive is unpacked, emptied first (nobody else may use it), or NULL for a new folder among
 * the temporary files. What the folder says of itself is checked: that it was made for this interpreter and
 * machine (made-for.txt) and that every file of its list is there (SHA256SUMS; pip compares the sums
 * themselves). A folder without these files is taken as it is. Errors: ENVIRONMENT. */
gboolean ain_env_wheelhouse_open(const char *path, const char *place, const AinInterpreter *python,
                                 AinEnvWheelhouse *wheelhouse, GError **error);
