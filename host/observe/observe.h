/* What an operator sees: the log, the load figures of the heartbeat, readiness for the service manager. */
#pragma once
#include "base/loop.h"
#include "rpc/call.h"

#include <glib.h>

/* Routes g_message/g_warning/... (all threads) to stderr and, when logs_dir is not NULL, to
 * log_ainode_{all,info,warning,error}.log there; lines as "time LEVEL [pid:thread] text". Reopened on request
 * (logrotate). g_debug is shown when `debug`. The directory is made when absent. Control characters in a text
 * are escaped: a message is one line. open, reopen and close: main thread. Errors: INVALID (directory not
 * writable). */
gboolean ain_observe_log_open(const char *logs_dir, gboolean debug, GError **error);
void ain_observe_log_reopen(void);
/* Whether lines go to stderr too (they do at first); the files get them always. Main thread. */
void ain_observe_log_to_stderr(gboolean on);
void ain_observe_log_close(void);

/* Samples CPU, memory and the disk of `path` (which need not exist yet) every 5 s on a helper thread; reading
 * never blocks, and has real figures from the start (processors: their average since boot). Of the machine
 * and the limited control groups above this process, the fullest counts. Free it before the loop. */
typedef struct AinLoadMeter AinLoadMeter;
AinLoadMeter *ain_observe_load_new(AinLoop *loop, const char *path);
void ain_observe_load_free(AinLoadMeter *meter);
AinLoadSample ain_observe_load_read(const AinLoadMeter *meter); /* loop thread */

/* sd_notify(3) datagram when NOTIFY_SOCKET is set, e.g. "READY=1"; otherwise nothing. */
void ain_observe_notify(const char *state);

/* Bytes of memory that this process and its children may have: the machine's, or the smallest limit of the
 * control groups above it. Reads a few small files. */
guint64 ain_observe_memory_limit(void);

/* The service manager's watchdog (WATCHDOG_USEC, WATCHDOG_PID): from now on the loop says twice in each
 * interval that it turns. NULL when none is asked for. Loop thread; free it before the loop, NULL is allowed.
 */
typedef struct AinWatchdog AinWatchdog;
AinWatchdog *ain_observe_watchdog_new(AinLoop *loop);
void ain_observe_watchdog_free(AinWatchdog *watchdog);
