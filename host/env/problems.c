/* What an interpreter lacks, as sentences with commands. */
#include "env/env.h"
#include "env/mend.h"

#include <stdlib.h>

#define OLDEST_PIP_MAJOR 20
#define OLDEST_PIP_MINOR 3

static gboolean pip_is_old(const char *pip) {
  char *rest = NULL;
  long major = strtol(pip, &rest, 10);
  long minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
  return rest != pip && (major < OLDEST_PIP_MAJOR || (major == OLDEST_PIP_MAJOR && minor < OLDEST_PIP_MINOR));
}

static void add(GPtrArray *problems, const AinInterpreter *interpreter, AinMend mend, const char *what) {
  g_autofree char *command = ain_env_mend_command(ain_env_mend_family_here(), mend, interpreter);
  g_ptr_array_add(problems, g_strdup_printf("%s %s; to mend it: %s", interpreter->executable, what, command));
}

GPtrArray *ain_env_problems(const AinInterpreter *interpreter) {
  GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
  gboolean lacks_numpy = interpreter->numpy == NULL;
  if (!lacks_numpy && interpreter->torch != NULL) {
    return problems;
  }
  /* What pip itself needs comes first: the commands are to be run in this order. */
  if (!interpreter->externally_managed) {
    if (!interpreter->has_ssl) {
      add(problems, interpreter, AIN_MEND_SSL, "has no ssl module, so that pip cannot download");
    }
    if (interpreter->pip == NULL) {
      add(problems, interpreter, AIN_MEND_PIP, "has no pip");
    } else if (pip_is_old(interpreter->pip)) {
      add(problems, interpreter, AIN_MEND_OLD_PIP, "has a pip too old for today's packages (20.3 is needed)");
    }
  }
  add(problems, interpreter, AIN_MEND_PACKAGES,
      !lacks_numpy                 ? "lacks torch, which TorchScript and large models need"
      : interpreter->torch != NULL ? "lacks numpy, without which no model can run"
                                   : "lacks numpy, without which no model can run, and torch");
  return problems;
}
