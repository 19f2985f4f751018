/* Checks on the numbers of a result, all of which a worker may have made up. Pure: no state, any thread, no
 * errors. `result` is the host's own copy: what lies in shared memory may change between two looks. */
#pragma once
#include "runtime/abi.h"

#include <glib.h>

/* Whether type, samples, rows, columns and size agree with one another and with the job, which has a sample
 * at least. Nothing overflows, whatever they are. That `size` bytes are there is for the caller to see. */
gboolean ain_result_fits(const AinJob *job, const AinResult *result);

/* Nanoseconds inside the model, as the worker tells: 0 where they make no sense, most_ns (not negative) at
 * most. */
gint64 ain_result_span(const AinResult *result, gint64 most_ns);
