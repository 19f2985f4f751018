/* What a worker is told to load: the JSON text of AIN_MESSAGE_LOAD, read by pyruntime/ainode/model.py. Pure:
 * no state, any thread, no errors. */
#pragma once
#include "runtime/runtime.h"

/* read_paths: absolute folders with ':' between them, which the sandbox lets the model read; NULL or "":
 * none. shut_in: it enters the sandbox before it loads the model. Names and paths may hold any byte.
 * spec->device must be named. Owned by the caller. */
char *ain_load_text(const AinWorkerSpec *spec, const char *read_paths, gboolean shut_in);

/* Whether `name` is one of `names`, with ',' between them and blanks around them; NULL names none. */
gboolean ain_load_is_listed(const char *names, const char *name);
