/* The venv of the installation: its state, its lock, making it and installing into it. Callers hold the lock
 * where it says so. Any thread. */
#pragma once
#include "env/env.h"

#include <glib.h>

typedef enum {
  AIN_VENV_ABSENT,   /* nothing there, or an empty folder */
  AIN_VENV_HALF,     /* begun by us and not finished */
  AIN_VENV_OURS,     /* made by us, whole */
  AIN_VENV_OPERATOR, /* made by the operator: used and completed, never deleted */
  AIN_VENV_FOREIGN,  /* a folder that is no virtual environment */
} AinVenvState;
AinVenvState ain_env_venv_state(const char *venv);
const char *ain_env_venv_state_text(AinVenvState state);

/* Waits for whoever else works on it, saying so on stdout. Returns a descriptor to close, or -1. Errors:
 * ENVIRONMENT (nowhere to write). */
int ain_env_venv_lock(const char *venv, GError **error);

/* Locked. Marks it begun: from now to ain_env_venv_finish() it counts as half made. Makes the folder. */
gboolean ain_env_venv_begin(const char *venv, GError **error);
gboolean ain_env_venv_finish(const char *venv, GError **error);
/* Locked, begun. Removes everything but the mark. */
gboolean ain_env_venv_clear(const char *venv, GError **error);
/* Locked. Removes all of it; only what we made. Errors: INVALID for the operator's. */
gboolean ain_env_venv_remove(const char *venv, GError **error);
/* Locked, begun. python -m venv, with its messages on our terminal. */
gboolean ain_env_venv_create(const char *venv, const AinInterpreter *python, int lock_fd, GError **error);

typedef struct {
  const char *requirements; /* file */
  const char *const *more;  /* further ones, installed in the same go; or NULL */
  const char *mirror;       /* or NULL */
  const char *torch_index;  /* the index that torch comes from, or NULL */
  const char *wheelhouse;   /* folder: no network, wheels from here; or NULL */
  gboolean keep;            /* the versions of what is there already stay, where they are in the ranges */
  gboolean force;           /* also what is there already */
  gboolean renew; /* a torch that is there already may be replaced, from torch_index if that is set */
  const char
      *pip_lock; /* lock of a pip that goes on after a cut, installed first where there is none; or NULL */
} AinEnvInstall;
/* The files that count for such an installation: the locks of all the requirements, or else all the ranges,
 * *why (owned) being a clause that says why, or NULL where there never was a lock. NULL-terminated, owned. */
char **ain_env_pip_files(const AinInterpreter *python, const AinEnvInstall *install, char **why);
/* Installs from the lock of the requirements where it may, else from the ranges, saying so. pip with its
 * progress on our terminal. lock_fd: stays with the child, or -1. */
gboolean ain_env_pip_install(const AinInterpreter *python, const AinEnvInstall *install, int lock_fd,
                             GError **error);
