/* Bringing the venv that we made to the requirement sets of this release, without a moment in which there is
 * none: a copy beside it (hard links, so that only what changes takes space) is changed and proved, and takes
 * its place. Any thread; blocks for as long as pip does. */
#pragma once
#include "env/ensure.h"

#include <glib.h>

/* The set of the plan and, where that is core, every other set of the release that the venv has whole. *said:
 * one line (owned) that says what changed, or that nothing had to; with no_install of the plan, what would
 * change. Whatever fails leaves the venv as it was, and the error says so. *current: nothing is left to be
 * changed. Errors: ENVIRONMENT (no venv of ours, packages, the proof), INVALID (an interpreter is named, the
 * venv is the operator's). */
gboolean ain_env_update(const AinEnvPlan *plan, char **said, gboolean *current, GError **error);

/* The venv locked. Clears away what an update that was cut short left beside the venv, and puts the old venv
 * back where the cut fell between two renames (only on file systems that cannot exchange two folders).
 * Errors: INTERNAL, ENVIRONMENT. */
gboolean ain_env_update_recover(const char *venv, GError **error);
