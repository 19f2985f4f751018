/* `start -d`: going to the background, with the one who started it waiting for the outcome. Call before any
 * thread exists. */
#pragma once
#include <glib.h>

typedef struct AinDaemon AinDaemon;

/* Forks. In the child: returns -1 and *child, to be told the outcome once and freed. In the parent: waits,
 * prints the outcome, also owned in *sentence, and returns the exit code. The child is a group leader in a
 * session of its own, without a terminal; until it is ready its messages still go to the parent's. */
int ain_daemon_enter(AinDaemon **child, char **sentence);

/* Tells the parent the outcome and lets go of its terminal: from now on stdout and stderr are /dev/null. The
 * second and later calls do nothing. */
void ain_daemon_tell(AinDaemon *daemon, int exit_code, const char *sentence);
void ain_daemon_free(AinDaemon *daemon); /* NULL is allowed; untold, the parent says that we ended early */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinDaemon, ain_daemon_free)

/* In the foreground: makes us a group leader where that leaves Ctrl-C as it is. */
void ain_daemon_lead_group(void);
/* Descriptors 0, 1 and 2 exist: what is opened later never becomes one of them. */
void ain_daemon_open_standard_fds(void);
