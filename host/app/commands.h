/* The command line but for `start`: stop, remove, config, doctor, and what all commands share. Main thread.
 */
#pragma once
#include "app/app.h"

#include <glib.h>

/* Parses argv (argv[0]: the command) with the options that all commands have and `entries` (or NULL). what:
 * the rest of the usage line, or NULL; description: the text below the options, or NULL. At most
 * max_arguments are left in argv after the command. FALSE: not understood, and the operator has been told. */
gboolean ain_app_parse(AinAppOptions *options, const GOptionEntry *entries, const char *what,
                       const char *description, int max_arguments, int *argc, char ***argv);
/* Sets options->home when --home did not: IOTDB_AINODE_HOME, else the folder above the executable's. */
void ain_app_find_home(AinAppOptions *options);
void ain_app_options_clear(AinAppOptions *options);

/* The exit code that stands for an error; NULL: an orderly end. */
int ain_app_exit_code(const GError *error);

/* Each prints its outcome and returns an AinExit. argv[0] is the command; options are those before it. */
int ain_app_stop_command(AinAppOptions *options, int argc, char **argv);
int ain_app_remove_command(AinAppOptions *options, int argc, char **argv);
int ain_app_config_command(AinAppOptions *options, int argc, char **argv);
int ain_app_doctor_command(AinAppOptions *options, int argc, char **argv);

/* After a start that failed: prints on stderr what else the doctor's quick look finds wrong, in some 20 ms.
 * sentence: what was said already. */
void ain_app_explain_failure(const AinAppOptions *options, int exit_code, const char *sentence);
