/* One AINode per system directory: <system_dir>/ainode.pid holds the pid and is locked as long as the process
 * lives, so that a file left by a crash is recognised. Blocking; any thread. */
#pragma once
#include <glib.h>
#include <sys/types.h>

typedef struct AinInstance AinInstance;

/* Makes the directory when it is absent. Call after going to the background: the pid written is the caller's.
 * Errors: BUSY (another one holds it; the message has its pid), INVALID (the directory cannot be used). */
AinInstance *ain_instance_acquire(const char *system_dir, GError **error);
/* Empties the file and gives the lock back; NULL is allowed. The file stays, so that no two can hold "it". */
void ain_instance_free(AinInstance *instance);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinInstance, ain_instance_free)

/* The pid that holds the directory, or 0. */
pid_t ain_instance_holder(const char *system_dir);

/* The pid that listens on endpoint ("port", ":port", "address:port", "[v6]:port"), or 0 with an error.
 * Errors: INVALID (not understood), UNREACHABLE (nobody listens), BUSY (somebody does, but this user may not
 * see who).
 */
pid_t ain_instance_listener(const char *endpoint, GError **error);

/* Whether the process calls itself an AINode: "ainode" in its command line, in any case. */
gboolean ain_instance_is_ainode(pid_t pid);

/* Asks the process to end (SIGTERM) and waits until it has. Errors: TIMEOUT (still there), INVALID (this user
 * may not), INTERNAL. A process that has gone already is success. */
gboolean ain_instance_stop(pid_t pid, gint64 wait_us, GError **error);
