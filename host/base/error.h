/* One error domain for the host. Owns nothing; any thread.
 *
 * A message is one sentence for the operator or the SQL user: what was asked, what was found, what to do.
 * rpc/status.h is the only place that maps these codes to TSStatus numbers (they differ between releases). */
#pragma once
#include <glib.h>

#define AIN_ERROR (ain_error_quark())
GQuark ain_error_quark(void);

typedef enum {
  AIN_ERROR_INTERNAL = 1,    /* our own fault or an unexpected system error */
  AIN_ERROR_INVALID,         /* the request, file or value breaks a stated rule */
  AIN_ERROR_MALFORMED,       /* bytes that are not what the format says (frame, TsBlock, reply) */
  AIN_ERROR_TOO_LARGE,       /* a stated limit of size or count is exceeded */
  AIN_ERROR_MODEL_NOT_FOUND, /* no model of that id */
  AIN_ERROR_MODEL_EXISTS,    /* the id is taken by other content */
  AIN_ERROR_MODEL_BUILTIN,   /* a built-in may not be dropped or replaced */
  AIN_ERROR_MODEL_INVALID,   /* registration refused: the model does not load, or breaks a rule */
  AIN_ERROR_INVALID_URI,     /* the uri is not understood, or nothing is there */
  AIN_ERROR_INVALID_CONFIG,  /* config.yaml or config.json breaks a rule */
  AIN_ERROR_DROP_FAILED,     /* the model could not be removed from disk */
  AIN_ERROR_DEVICE,          /* unknown device */
  AIN_ERROR_BUSY,            /* a bounded queue is full; try later */
  AIN_ERROR_TIMEOUT,         /* a deadline passed */
  AIN_ERROR_CANCELLED,       /* the caller went away, or the node is stopping */
  AIN_ERROR_WORKER_DIED,     /* the process that ran the model ended (signal, exit, out of memory) */
  AIN_ERROR_MODEL_FAILED,    /* the model ran and raised, or answered the wrong shape or type */
  AIN_ERROR_UNSUPPORTED,     /* understood, but not offered */
  AIN_ERROR_REJECTED,        /* the cluster refused this node; trying again will not help */
  AIN_ERROR_UNREACHABLE,     /* no peer answered; trying again may help */
  AIN_ERROR_ENVIRONMENT, /* the Python environment lacks something; the message has the command that mends it
                          */
  AIN_ERROR_EXHAUSTED,   /* the machine has no more processes, descriptors or memory for us; later perhaps */
} AinErrorCode;

/* Sets *error with the text of errno_value appended as ": <strerror>". */
void ain_error_set_errno(GError **error, AinErrorCode code, int errno_value, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* The same for what the operating system refused: EXHAUSTED, with what to do, where something has run out; or
 * INTERNAL.
 */
void ain_error_set_os(GError **error, int errno_value, const char *format, ...) G_GNUC_PRINTF(3, 4);
