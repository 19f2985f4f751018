#include "env/ready.h"

#include "base/fd.h"
#include "env/find.h"
#include "env/probe.h"

#include <string.h>

#define CHOICE_MAX 4096u

static char *choice_file(const AinEnvPlan *plan) {
  return plan->cache_file == NULL ? NULL : g_strconcat(plan->cache_file, ".choice", NULL);
}

/* The interpreter at path when it lacks nothing. */
static AinInterpreter *probe(const AinEnvPlan *plan, const char *path, gboolean *from_cache) {
  const AinEnvProbing probing = { .bootstrap_dir = plan->bootstrap,
                                  .cache_file = plan->cache_file,
                                  .packages = (const char *const *)plan->others };
  g_autoptr(AinInterpreter) found = ain_env_probe_with(path, &probing, from_cache, NULL);
  g_autofree char *missing = found == NULL ? NULL : ain_env_plan_missing(plan, found);
  return missing == NULL ? g_steal_pointer(&found) : NULL;
}

static AinInterpreter *chosen_before(const AinEnvPlan *plan, gboolean *from_cache) {
  g_autofree char *file = choice_file(plan);
  g_autoptr(GBytes) kept = file == NULL ? NULL : ain_file_read(file, CHOICE_MAX, NULL);
  const char *path = kept == NULL ? NULL : g_bytes_get_data(kept, NULL);
  return path != NULL && g_path_is_absolute(path) ? probe(plan, path, from_cache) : NULL;
}

AinInterpreter *ain_env_ready(const AinEnvPlan *plan, gboolean *from_cache) {
  AinInterpreter *before = chosen_before(plan, from_cache);
  if (before != NULL) {
    return before;
  }
  g_autoptr(GPtrArray) candidates = ain_env_find_candidates();
  g_autoptr(AinInterpreter) best = NULL;
  for (guint i = 0; i < candidates->len; i++) {
    AinEnvPlan uncached = *plan;
    uncached.cache_file = NULL;
    g_autoptr(AinInterpreter) one = probe(&uncached, g_ptr_array_index(candidates, i), NULL);
    if (one != NULL && ain_env_find_is_better(one, best)) {
      ain_interpreter_free(best);
      best = g_steal_pointer(&one);
    }
  }
  if (from_cache != NULL) {
    *from_cache = FALSE;
  }
  g_autofree char *file = choice_file(plan);
  if (best == NULL || file == NULL) {
    return g_steal_pointer(&best);
  }
  g_autoptr(GError) error = NULL;
  if (!ain_file_replace(file, best->asked, strlen(best->asked), 0644, &error)) {
    g_debug("the choice is not kept: %s", error->message);
  }
  return probe(plan, best->asked, NULL); /* once more, for the cache */
}
