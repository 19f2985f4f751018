/* One request on its way through a lane: parsed, checked against its model, cut into samples; and its answer.
 * Loop thread, except ain_task_fill(). */
#pragma once
#include "registry/registry.h"
#include "rpc/call.h"
#include "runtime/runtime.h"

#include <glib.h>

typedef struct {
  AinCall *call;      /* who gets the answer */
  AinCall *source;    /* whose frame the block lies in, when another took over from that caller; else NULL */
  GPtrArray *earlier; /* callers that it was taken over from and that may still listen, or NULL */
  AinModel *model;
  AinTsBlock block;
  const guint *column_order; /* of the request the block came with, as long as the task lives; or NULL */
  guint n_column_order;
  guint32 rows; /* of one sample */
  guint32 columns;
  AinNullPolicy nulls;
  guint32 first_row; /* of the first sample */
  guint32 step;      /* rows from one sample to the next */
  guint32 n_samples; /* one, or the number of windows */
  guint32 next;      /* first sample not yet given to a job */
  guint32 n_answered;
  gint32 output_length; /* for models that take one; 0: the model's own */
  char *options;        /* JSON text for the worker, or NULL */
  guint32 out_rows;     /* rows and columns of one result; 0 until the first is there */
  guint32 out_columns;
  GByteArray *results; /* of tasks with several samples: their tensors, until all are there */
  AinDType result_dtype;
  guint in_flight; /* jobs that hold samples of it; kept by the lane */
  gboolean queued; /* in the lane's queue */
  gboolean alone;  /* not to be batched: a batch with it failed */
  gboolean answered;
  gboolean abandoned;  /* its caller has gone */
  gint64 abandoned_at; /* then */
  gint64 patience;     /* how long its client waits before it asks again; 0: it has not done so */
  gpointer lane;       /* the scheduler's */
} AinTask;

/* Parses and checks; takes the call's reference on success only. nulls: the policy where the request names
 * none. Errors: MALFORMED, TOO_LARGE, INVALID. */
AinTask *ain_task_new(AinModel *model, AinCall *call, guint64 max_array_bytes, AinNullPolicy nulls,
                      GError **error);
void ain_task_free(AinTask *task); /* NULL is allowed; the call must have been answered */

/* Rows of a request to a flexible model that fit into a slot. */
#define AIN_TASK_USUAL_ROWS 4096

/* TRUE when samples of both may run in one job. */
gboolean ain_task_fits(const AinTask *task, const AinTask *other);
/* Whether two requests ask for the same, byte for byte but for the sequence id: one re-sent after a time-out.
 */
gboolean ain_task_is_resent(const AinRequest *earlier, const AinRequest *later);
/* The caller of `again`, which is freed, takes over the answer of `task`. Should the caller before it still
 * listen, it gets the answer, too. */
void ain_task_take_over(AinTask *task, AinTask *again);

/* Bytes it holds while it waits. */
gsize ain_task_size(const AinTask *task);
/* Bytes of shared memory that one sample of it takes, with the options. */
guint64 ain_task_sample_bytes(const AinTask *task);

/* Decodes sample `index` into dst, an array [rows][columns] of the model's element type. Any thread. */
gboolean ain_task_fill(const AinTask *task, guint32 index, void *dst, GError **error);

/* Whether the result has the shape that the model and the request promise. Errors: MODEL_FAILED, INVALID. */
gboolean ain_task_check_result(const AinTask *task, const AinJobResult *result, GError **error);

/* Takes `count` results [count][rows][columns] at `data`, the samples from `first` on. When the last one is
 * there the call is answered, with a result or an error (task->answered). Returns FALSE when it was an error.
 */
gboolean ain_task_take_results(AinTask *task, guint32 first, guint32 count, const AinJobResult *result,
                               const guint8 *data);
void ain_task_fail(AinTask *task, const GError *error);
