/* The node as one thing: everything between `ainode start` and its exit code. */
#pragma once
#include <glib.h>

typedef struct {
  char *home;          /* absolute installation directory */
  char *config_file;   /* --config, or NULL: <home>/conf/iotdb-ainode.properties */
  char **overrides;    /* -D key=value ..., NULL-terminated, or NULL */
  char *interpreter;   /* -i, or NULL */
  gboolean no_install; /* -n */
  gboolean force;      /* -r */
  char *mirror;        /* -m, or NULL */
  char *wheelhouse;    /* --wheelhouse, or NULL */
  gboolean daemon;     /* -d: we are the child in the background */
  gboolean debug;      /* -v */
  /* Called once, on the loop thread, when the node is bound and a member of the cluster; sentence: for the
   * operator who waits for a start in the background. May be NULL. */
  void (*ready)(const char *sentence, gpointer data);
  gpointer ready_data;
} AinAppOptions; /* everything borrowed for the time of the call */

/* Runs the node until it is stopped. Blocks; call on the main thread before any other thread exists. Returns
 * AIN_EXIT_OK after an orderly stop; else an error is set and the code that ain_app_exit_code() gives for it
 * is returned. Errors: INVALID (configuration), ENVIRONMENT, BUSY (the directory or the port belongs to
 * another AINode; the message has its pid), REJECTED, UNREACHABLE, INTERNAL. */
int ain_app_run(const AinAppOptions *options, GError **error);
