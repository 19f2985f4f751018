#include "runtime/result_check.h"

#include "tsblock/tsblock.h"

gboolean ain_result_fits(const AinJob *job, const AinResult *result) {
  if (result->dtype >= AIN_DTYPE_COUNT || result->batch != job->batch) {
    return FALSE;
  }
  /* 32 x 32 x 32 bit could overflow 64 bits: bound the cells of one sample first. */
  guint64 cells = (guint64)result->rows * result->columns;
  return cells <= G_MAXINT64 / ((guint64)result->batch * sizeof(double))
         && result->size == cells * result->batch * ain_dtype_size((AinDType)result->dtype);
}

gint64 ain_result_span(const AinResult *result, gint64 most_ns) {
  gint64 span;
  gboolean wrong = __builtin_sub_overflow(result->ended_ns, result->begun_ns, &span);
  return wrong ? 0 : CLAMP(span, 0, most_ns);
}
