/* Reply frames of a ConfigNode for tests and fuzzing, and the generated reader behind the check. */
#pragma once
#include "cluster/reply_check.h"

#include <glib.h>

/* A full reply: every optional field set, lists and maps with two elements, the status nested twice. Owned.
 */
GByteArray *test_reply_new(AinReplyKind kind, gboolean compact);
/* A TApplicationException as reply to kind. Owned. */
GByteArray *test_reply_exception(AinReplyKind kind, gboolean compact, gint32 code, const char *text);

/* Checks the frame as client.c does and, where the check lets it pass, has the generated reader read it.
 * Returns whether it passed; the generated reader must then succeed. Errors: those of ain_reply_check(). */
gboolean test_reply_read(AinReplyKind kind, AinSlice frame, gboolean compact, GError **error);
