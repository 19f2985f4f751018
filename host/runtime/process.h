/* Starting ainode-runtime, its control socket and its output. Loop thread. */
#pragma once
#include "base/loop.h"
#include "runtime/abi.h"
#include "runtime/runtime.h"

#include <glib.h>
#include <sys/types.h>

/* The descriptors a runtime process starts with, index = AIN_FD_* - AIN_FD_CONTROL; the last is its output.
 */
#define AIN_PROCESS_FDS (AIN_FD_END - AIN_FD_CONTROL + 1)
typedef struct {
  int fds[AIN_PROCESS_FDS]; /* -1: /dev/null */
} AinProcessFds;
#define AIN_PROCESS_FDS_INIT                                                                                 \
  {                                                                                                          \
    { -1, -1, -1, -1, -1, -1 }                                                                               \
  }
void ain_process_fds_close(AinProcessFds *fds);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinProcessFds, ain_process_fds_close)

/* Executes ainode-runtime in `role`; *pidfd is owned by the caller. Returns the pid or -1. Errors: INTERNAL.
 */
pid_t ain_process_spawn(const AinRuntimeConfig *config, const char *role, const AinProcessFds *fds,
                        int *pidfd, GError **error);

/* A non-blocking SOCK_SEQPACKET pair: ours and theirs. */
gboolean ain_process_control_pair(int *ours, int *theirs, GError **error);
/* Sends one message with n_fds descriptors. Errors: INTERNAL (peer gone, socket full); errno says which, and
 * EPIPE or ECONNRESET means that the other end has died. */
gboolean ain_process_send(int control, guint32 type, guint64 id, guint64 value, const char *text,
                          const int *fds, guint n_fds, GError **error);
typedef enum { AIN_RECEIVE_MESSAGE, AIN_RECEIVE_NOTHING, AIN_RECEIVE_GONE, AIN_RECEIVE_GARBAGE } AinReceive;
/* Takes one message without blocking. text: AIN_MESSAGE_TEXT_MAX + 1 bytes, made valid UTF-8 only by the
 * reader; *fd (owned by the caller) gets the first descriptor or -1, further ones are closed. */
AinReceive ain_process_receive(int control, AinMessage *message, char *text, int *fd);

/* How many processes the kernel has ended because memory ran out, by a file as /proc/vmstat; -1 when it does
 * not say. */
gint64 ain_process_oom_kills(const char *vmstat);

/* Reads a process' output, logs it line by line with its name, keeps the last part for error messages. */
typedef struct AinProcessOutput AinProcessOutput;
AinProcessOutput *ain_process_output_new(AinLoop *loop, const char *name, int *write_end, GError **error);
/* Drains what is there and returns the last lines as one borrowed text, "" when there is none. */
const char *ain_process_output_tail(AinProcessOutput *output);
void ain_process_output_free(AinProcessOutput *output); /* NULL is allowed */
