/* Checks a reply frame of a ConfigNode (or another service) before the generated reader may see it.
 * Stateless; any thread. */
#pragma once
#include "base/slice.h"
#include "protocol/thrift_walk.h"

#include <glib.h>

typedef enum {
  AIN_REPLY_REGISTER,
  AIN_REPLY_RESTART,
  AIN_REPLY_REMOVE,
  AIN_REPLY_GET_CONFIGURATION,
  AIN_REPLY_SHOW_CLUSTER,
  AIN_REPLY_GET_CLUSTER_ID,
  AIN_REPLY_SHOW_VARIABLES,
  AIN_REPLY_KINDS,
} AinReplyKind;

const char *ain_reply_method(AinReplyKind kind); /* static */

/* TRUE: the frame is exactly one reply of that method in that protocol, and its result has the structure of
 * the IDL. Errors: MALFORMED, TOO_LARGE; UNSUPPORTED (the peer is a Thrift service without that method);
 * UNREACHABLE (the peer answered with another application exception, quoted). */
gboolean ain_reply_check(AinReplyKind kind, AinSlice frame, gboolean compact, GError **error);

/* The same for replies of other services. success: field 0 of the result, which it must have. other: half a
 * sentence on what else may listen there, or NULL. */
typedef struct {
  const char *method;
  AinThriftField success;
  const char *other;
} AinReplyForm;
gboolean ain_reply_check_form(const AinReplyForm *form, AinSlice frame, gboolean compact, GError **error);
extern const AinThriftShape ain_reply_status; /* TSStatus */

/* Printable, valid UTF-8, one line, at most 500 characters: what a peer sent, fit for a log line. Owned. */
char *ain_reply_printable(const char *text, gsize size);
