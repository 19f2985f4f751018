/* What an operator sees: the log, the load figures of the heartbeat, readiness for the service manager. */
#pragma once
#include "base/loop.h"
#include "rpc/call.h"

#include <glib.h>

/* Routes g_message/g_warning/... (all threads) to stderr and, when logs_dir is not NULL, to
 * log_ainode_{all,info,warning,error}.log there; lines as "time LEVEL [pid:thread] text". Reopened on request
 * (logrotate). g_debug is shown when `debug`. Errors: INVALID (directory not writable). */
gboolean ain_observe_log_open(const char *logs_dir, gboolean debug, GError **error);
void ain_observe_log_reopen(void);
void ain_observe_log_close(void);

/* Samples CPU, memory and the disk of `path` every 5 s on a helper thread; reading never blocks. */
typedef struct AinLoadMeter AinLoadMeter;
AinLoadMeter *ain_observe_load_new(AinLoop *loop, const char *path);
void ain_observe_load_free(AinLoadMeter *meter);
AinLoadSample ain_observe_load_read(const AinLoadMeter *meter); /* loop thread */

/* sd_notify(3) datagram when NOTIFY_SOCKET is set, e.g. "READY=1"; otherwise nothing. */
void ain_observe_notify(const char *state);
