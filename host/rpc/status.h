/* The one place that knows which TSStatus number an error has: the 15xx block was renumbered between the
 * releases 2.0.7 and 2.0.8, and the same number means different things before and after. Any thread. */
#pragma once
#include "rpc/call.h"

#define AIN_STATUS_SUCCESS 200

/* method may be AIN_METHOD_UNKNOWN; it matters where callers expect a number of their own statement (a
 * refused CREATE MODEL, DROP MODEL, LOAD MODEL). family is one family, not a set. error NULL or of a foreign
 * domain counts as internal. */
gint32 ain_rpc_status(const GError *error, AinFamily family, AinMethod method);

/* The one family of `families` that answers are made for: `release` when it is in there, else the newest. */
AinFamily ain_rpc_family(AinFamilies families, AinFamily release);
