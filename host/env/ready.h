/* An interpreter of this machine that has everything already, for a start that names none. Any thread; blocks
 * for some 50 ms an interpreter when nothing is known from an earlier start. */
#pragma once
#include "env/ensure.h"

#include <glib.h>

/* Of the interpreters that ain_env_find() looks at, the best that lacks nothing of the plan; NULL when there
 * is none. Which one it was is kept beside the plan's cache file, so that the next start asks only that one,
 * and that from the cache. from_cache: as ain_env_probe(). */
AinInterpreter *ain_env_ready(const AinEnvPlan *plan, gboolean *from_cache);
