/* What a DataNode's replies must look like before generated code may read them. Stateless; any thread. */
#pragma once
#include "cluster/reply_check.h"

typedef enum {
  AIN_SESSION_OPEN,
  AIN_SESSION_CLOSE,
  AIN_SESSION_STATEMENT_ID,
  AIN_SESSION_EXECUTE,
  AIN_SESSION_FETCH,
  AIN_SESSION_CLOSE_OPERATION,
  AIN_SESSION_CALLS,
} AinSessionCall;

const char *ain_session_method(AinSessionCall call); /* static */

/* Errors: those of ain_reply_check(). */
gboolean ain_session_reply_check(AinSessionCall call, AinSlice frame, gboolean compact, GError **error);
