/* Requirement files: only the names are read here, pip reads the rest. Any thread. */
#pragma once
#include <glib.h>

/* The distributions that the file names, NULL-terminated. Lines of options and lines with an environment
 * marker
 * (";") are left to pip. Errors: INVALID. Owned. */
char **ain_env_requirements_read(const char *file, GError **error);
