/* The commands that mend an environment, in the words of the distribution at hand. Any thread. Strings are
 * owned by the caller. */
#pragma once
#include "env/env.h"

#include <glib.h>

typedef enum {
  AIN_FAMILY_DEBIAN,
  AIN_FAMILY_REDHAT,
  AIN_FAMILY_SUSE,
  AIN_FAMILY_ARCH,
  AIN_FAMILY_OTHER,
} AinFamilyOfDistribution;

typedef enum {
  AIN_MEND_PYTHON,   /* no usable Python: get one */
  AIN_MEND_VENV,     /* venv or ensurepip is missing */
  AIN_MEND_SSL,      /* the ssl module is missing */
  AIN_MEND_PACKAGES, /* numpy or torch is missing, or what pip installed is broken */
  AIN_MEND_PIP,      /* pip is missing */
  AIN_MEND_OLD_PIP,  /* pip is too old for today's wheels */
} AinMend;

/* From the text of os-release (ID, then ID_LIKE). */
AinFamilyOfDistribution ain_env_mend_family(const char *os_release);
AinFamilyOfDistribution ain_env_mend_family_here(void);

/* interpreter: the one concerned, or NULL with AIN_MEND_PYTHON. */
char *ain_env_mend_command(AinFamilyOfDistribution family, AinMend mend, const AinInterpreter *interpreter);

/* How the operator calls this program: its absolute path when it is installed, else "lib/ainode". Quoted for
 * a shell, as is the next. */
char *ain_env_mend_program(void);
char *ain_env_mend_quote(const char *path);
