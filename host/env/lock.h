/* Locks: exact versions and hashes beside the ranges of a requirements file. Any thread. */
#pragma once
#include "env/env.h"

#include <glib.h>

/* The lock for FOLDER/NAME.txt (requirements), NAME.lock in the same folder or, when there is a wheelhouse,
 * in that, provided that its first line names this interpreter's version ("# CPython 3.9-3.13..."). Else
 * NULL, and *why is a clause for the log that says why the ranges count. Both owned by the caller; why is
 * NULL where nobody needs to know: a file of the operator's that has no lock. */
char *ain_env_lock_find(const char *requirements, const char *wheelhouse, const AinInterpreter *python,
                        char **why);
