#include "schedule/task.h"

#include "base/error.h"
#include "rpc/writer.h"
#include "schedule/options.h"

#include <errno.h>
#include <string.h>

/* From 2.0.8 on CALL INFERENCE answers have exactly one DOUBLE column, whatever the model's types. */
static gboolean wants_one_double(const AinTask *task) {
  return ain_call_request(task->call)->method == AIN_METHOD_INFERENCE
         && ain_call_family(task->call) >= AIN_FAMILY_G;
}

#define WINDOWS_MAX 100000U

static gboolean check_method(const AinModel *model, const AinRequest *request, GError **error) {
  if (request->has_covariates) { /* numbers without them would be other than what was asked for */
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_UNSUPPORTED,
        "the forecast by model [%s] asks for covariates (HISTORY_COVS, FUTURE_COVS), which are SQL queries "
        "that this AINode does not send: leave them out, or select them as further input columns of a model "
        "that takes several",
        model->id);
    return FALSE;
  }
  if (request->method != AIN_METHOD_CLASSIFY || model->kind == AIN_KIND_PIPELINE) {
    return TRUE;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
              "model [%s] does not classify: that is for models whose pipeline is a ClassificationPipeline",
              model->id);
  return FALSE;
}

static gboolean check_columns(const AinModel *model, const AinRequest *request, const AinTsBlock *block,
                              GError **error) {
  guint given = request->column_order != NULL ? request->n_column_order : block->n_columns;
  if (ain_model_is_flexible(model) && given == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "the query gives no columns; model [%s] takes one or more", model->id);
    return FALSE;
  }
  if (!ain_model_is_flexible(model) && given != (guint)model->input_shape[1]) {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_INVALID,
        "model [%s] takes %d input columns, the query gives %u: select as many columns as the model has",
        model->id, model->input_shape[1], given);
    return FALSE;
  }
  for (guint i = 0; request->column_order != NULL && i < given; i++) {
    if (request->column_order[i] >= block->n_columns) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                  "the request orders column %u of a block that has %u columns", request->column_order[i],
                  block->n_columns);
      return FALSE;
    }
  }
  if (block->n_rows == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "the query gives no rows; model [%s] takes %d rows",
                model->id, MAX(model->input_shape[0], 1));
    return FALSE;
  }
  return TRUE;
}

/* WINDOW count(interval, step): sample k covers the rows from k * step on. */
static gboolean cut_windows(AinTask *task, const AinRequest *request, GError **error) {
  guint32 rows = task->block.n_rows;
  task->rows = rows;
  task->n_samples = 1;
  task->step = 0;
  if (!request->has_window) {
    return TRUE;
  }
  gint32 interval = request->window_interval;
  gint32 step = request->window_step;
  if (interval <= 0 || step <= 0 || (guint32)interval > rows) {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_INVALID,
        "window count(%d, %d) does not fit the %u rows of the query: interval and step must be positive, the "
        "interval at most the number of rows",
        interval, step, rows);
    return FALSE;
  }
  task->rows = (guint32)interval;
  task->step = (guint32)step;
  task->n_samples = (rows - task->rows) / task->step + 1;
  if (task->n_samples > WINDOWS_MAX) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "window count(%d, %d) over %u rows gives %u windows, at most %u can be run in one query",
                interval, step, rows, task->n_samples, WINDOWS_MAX);
    return FALSE;
  }
  return TRUE;
}

/* FORECAST sends up to 2880 rows whatever the model: it gets the latest ones it has room for. */
static void take_latest_rows(AinTask *task) {
  guint32 wanted = (guint32)task->model->input_shape[0];
  if (!ain_model_is_flexible(task->model) && task->block.n_rows > wanted) {
    task->first_row = task->block.n_rows - wanted;
    task->rows = wanted;
  }
}

/* Run lengths and dictionaries let a few bytes claim billions of rows: what they unfold to is bounded, too.
 */
static gboolean check_size(const AinTask *task, guint64 max_array_bytes, GError **error) {
  const AinModel *model = task->model;
  guint64 bytes = (guint64)task->rows * (guint64)task->columns * ain_dtype_size(model->dtype);
  if (bytes <= max_array_bytes) {
    return TRUE;
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
              "%u rows of %u columns are %" G_GUINT64_FORMAT
              " bytes of input for model [%s], more than the %" G_GUINT64_FORMAT
              " that one request may have (ain_max_frame_bytes)",
              task->rows, task->columns, bytes, model->id, max_array_bytes);
  return FALSE;
}

AinTask *ain_task_new(AinModel *model, AinCall *call, guint64 max_array_bytes, AinNullPolicy nulls,
                      GError **error) {
  const AinRequest *request = ain_call_request(call);
  AinTask *task = g_new0(AinTask, 1);
  if (!ain_tsblock_parse(&task->block, request->dataset.data, request->dataset.size, error)) {
    g_prefix_error(error, "the input of model [%s] is not a valid TsBlock: ", model->id);
    g_free(task);
    return NULL;
  }
  task->model = ain_model_ref(model);
  task->columns = request->column_order != NULL ? request->n_column_order : task->block.n_columns;
  task->nulls = nulls;
  gboolean fits = check_method(model, request, error) && check_columns(model, request, &task->block, error)
                  && cut_windows(task, request, error) && ain_options_nulls(request, &task->nulls, error)
                  && (!ain_model_is_flexible(model)
                      || ain_options_read(model, call, &task->output_length, &task->options, error));
  if (!fits) {
    ain_task_free(task);
    return NULL;
  }
  if (!ain_model_is_flexible(model) && ain_options_accelerate(request)) {
    task->options = g_strdup(AIN_OPTIONS_ACCELERATE);
  }
  if (request->method == AIN_METHOD_FORECAST) {
    take_latest_rows(task);
  }
  if (!check_size(task, max_array_bytes, error)) {
    ain_task_free(task);
    return NULL;
  }
  task->call = call;
  task->column_order = request->column_order;
  task->n_column_order = request->n_column_order;
  return task;
}

void ain_task_free(AinTask *task) {
  if (task == NULL) {
    return;
  }
  ain_tsblock_clear(&task->block);
  ain_model_unref(task->model);
  ain_call_unref(task->call);
  ain_call_unref(task->source);
  g_clear_pointer(&task->earlier, g_ptr_array_unref);
  g_clear_pointer(&task->results, g_byte_array_unref);
  g_free(task->options);
  g_free(task);
}

gboolean ain_task_fits(const AinTask *task, const AinTask *other) {
  return task->rows == other->rows && task->columns == other->columns
         && task->output_length == other->output_length && g_strcmp0(task->options, other->options) == 0;
}

static gboolean slices_equal(AinSlice a, AinSlice b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static gboolean options_equal(const AinRequest *a, const AinRequest *b) {
  if (a->n_options != b->n_options || a->n_column_order != b->n_column_order) {
    return FALSE;
  }
  for (guint i = 0; i < a->n_options; i++) {
    if (!slices_equal(a->options[i].key, b->options[i].key)
        || !slices_equal(a->options[i].value, b->options[i].value)) {
      return FALSE;
    }
  }
  return a->n_column_order == 0
         || memcmp(a->column_order, b->column_order, a->n_column_order * sizeof a->column_order[0]) == 0;
}

gboolean ain_task_is_resent(const AinRequest *earlier, const AinRequest *later) {
  return earlier->method == later->method && earlier->families == later->families
         && earlier->output_length == later->output_length && earlier->has_window == later->has_window
         && earlier->window_interval == later->window_interval && earlier->window_step == later->window_step
         && slices_equal(earlier->model_id, later->model_id) && options_equal(earlier, later)
         && slices_equal(earlier->dataset, later->dataset);
}

void ain_task_take_over(AinTask *task, AinTask *again) {
  if (task->source == NULL) {
    task->source = ain_call_ref(task->call);
  }
  if (task->earlier == NULL) {
    task->earlier = g_ptr_array_new_with_free_func((GDestroyNotify)ain_call_unref);
  }
  g_ptr_array_add(task->earlier, task->call);
  task->call = g_steal_pointer(&again->call);
  task->abandoned = FALSE;
  ain_task_free(again);
}

gsize ain_task_size(const AinTask *task) {
  return ain_call_request(task->call)->dataset.size + sizeof *task;
}

guint64 ain_task_sample_bytes(const AinTask *task) {
  guint64 array = (guint64)task->rows * task->columns * ain_dtype_size(task->model->dtype);
  return array + (task->options != NULL ? strlen(task->options) : 0);
}

gboolean ain_task_fill(const AinTask *task, guint32 index, void *dst, GError **error) {
  guint32 first = task->first_row + index * task->step;
  gboolean good = ain_tsblock_to_tensor(&task->block, task->column_order, task->n_column_order, first,
                                        task->rows, task->model->dtype, task->nulls, dst, error);
  if (!good) {
    g_prefix_error(error, "the input of model [%s] cannot be used: ", task->model->id);
  }
  return good;
}

/* --- the answer --- */

/* What config.yaml says about the answer's shape. */
static gboolean check_declared(const AinTask *task, const AinJobResult *result, GError **error) {
  const AinModel *model = task->model;
  if (result->columns != (guint32)model->output_shape[1] || result->rows == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED,
                "model [%s] answered %u rows of %u columns, its output_shape says [%d, %d]", model->id,
                result->rows, result->columns, model->output_shape[0], model->output_shape[1]);
    return FALSE;
  }
  if (task->rows == (guint32)model->input_shape[0] && result->rows != (guint32)model->output_shape[0]) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED,
                "model [%s] answered %u rows, its output_shape says [%d, %d]", model->id, result->rows,
                model->output_shape[0], model->output_shape[1]);
    return FALSE;
  }
  return TRUE;
}

gboolean ain_task_check_result(const AinTask *task, const AinJobResult *result, GError **error) {
  const AinModel *model = task->model;
  const AinRequest *request = ain_call_request(task->call);
  if (result->rows == 0 || result->columns == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED, "model [%s] answered %u rows of %u columns",
                model->id, result->rows, result->columns);
    return FALSE;
  }
  if (!ain_model_is_flexible(model) && !check_declared(task, result, error)) {
    return FALSE;
  }
  if (request->method == AIN_METHOD_FORECAST && (gint64)request->output_length > (gint64)result->rows) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "model [%s] forecasts %u rows, OUTPUT_LENGTH asks for %d: ask for at most %u", model->id,
                result->rows, request->output_length, result->rows);
    return FALSE;
  }
  if (wants_one_double(task) && result->columns != 1) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED,
                "model [%s] answers %u columns, this release's CALL INFERENCE takes one", model->id,
                result->columns);
    return FALSE;
  }
  return TRUE;
}

typedef struct {
  const AinTask *task;
  const guint8 *data; /* [n_samples][rows][columns] */
  AinDType dtype;
  guint32 rows;      /* of one result in data */
  guint32 sent_rows; /* of them, the first so many are sent */
  const guint8 *types;
  guint columns;
} Filling;

static void fill_block(guint index, guint8 *dst, gsize size, gpointer data) {
  (void)size;
  const Filling *filling = data;
  gssize element = (gssize)ain_dtype_size(filling->dtype);
  gssize row = element * (gssize)filling->columns;
  const guint8 *sample = filling->data + (gsize)index * filling->rows * (gsize)row;
  ain_tsblock_from_tensor(dst, filling->types, filling->columns, filling->sent_rows, filling->dtype, sample,
                          row, element);
}

/* The types config.yaml declares, where this call's answer has them; else NULL. Borrowed. */
static const guint8 *declared_types(const AinTask *task) {
  gboolean declared = ain_call_request(task->call)->method == AIN_METHOD_INFERENCE && !wants_one_double(task);
  return declared && !ain_model_is_flexible(task->model) ? task->model->output_types : NULL;
}

/* The types of all other answers. Owned. */
static guint8 *uniform_types(const AinTask *task) {
  gboolean labels = task->result_dtype == AIN_DTYPE_INT32 /* of a detector */
                    && task->model->kind == AIN_KIND_STATISTICAL
                    && ain_call_request(task->call)->method == AIN_METHOD_INFERENCE
                    && !wants_one_double(task);
  guint8 *types = g_malloc(task->out_columns);
  memset(types, labels ? AIN_TS_INT32 : AIN_TS_DOUBLE, task->out_columns);
  return types;
}

/* uniform: keeps what is returned, where nothing is declared. */
static const guint8 *answer_types(const AinTask *task, guint8 **uniform) {
  const guint8 *declared = declared_types(task);
  *uniform = declared == NULL ? uniform_types(task) : NULL;
  return declared != NULL ? declared : *uniform;
}

static gboolean send_blocks(const AinTask *task, AinCall *call, const guint8 *data, const guint8 *types) {
  const AinRequest *request = ain_call_request(task->call);
  guint32 rows = task->out_rows;
  Filling filling = {
    .task = task,
    .data = data,
    .dtype = task->result_dtype,
    .rows = rows,
    .sent_rows = request->method == AIN_METHOD_FORECAST && request->output_length > 0
                     ? MIN(rows, (guint32)request->output_length)
                     : rows,
    .types = types,
    .columns = task->out_columns,
  };
  gsize size = ain_tsblock_encoded_size(types, filling.columns, filling.sent_rows);
  if (size == 0) {
    g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_TOO_LARGE,
                                          "the result of model [%s] is too large to send", task->model->id);
    ain_call_reply_error(call, error);
    return FALSE;
  }
  gsize one = size;
  g_autofree gsize *many = task->n_samples > 1 ? g_new(gsize, task->n_samples) : NULL;
  for (guint32 i = 0; many != NULL && i < task->n_samples; i++) {
    many[i] = size;
  }
  ain_call_reply_blocks(call, task->n_samples, many != NULL ? many : &one, fill_block, &filling);
  return TRUE;
}

static gboolean answer(const AinTask *task, const guint8 *data) {
  g_autofree guint8 *uniform = NULL;
  const guint8 *types = answer_types(task, &uniform);
  for (guint i = 0; task->earlier != NULL && i < task->earlier->len; i++) {
    (void)send_blocks(task, g_ptr_array_index(task->earlier, i), data, types);
  }
  return send_blocks(task, task->call, data, types);
}

void ain_task_fail(AinTask *task, const GError *error) {
  task->answered = TRUE;
  for (guint i = 0; task->earlier != NULL && i < task->earlier->len; i++) {
    ain_call_reply_error(g_ptr_array_index(task->earlier, i), error);
  }
  ain_call_reply_error(task->call, error);
}

/* Results of several windows come in several jobs: they wait here until the last one is there. */
static gboolean store_results(AinTask *task, guint32 first, guint32 count, const AinJobResult *result,
                              const guint8 *data, GError **error) {
  gsize one = (gsize)result->rows * result->columns * ain_dtype_size(result->dtype);
  if (task->results == NULL) {
    g_autofree guint8 *uniform = NULL;
    const guint8 *types = answer_types(task, &uniform);
    gsize sent = ain_tsblock_encoded_size(types, result->columns, result->rows) * task->n_samples;
    if (sent == 0 || sent > AIN_WRITER_MAX || one * task->n_samples > G_MAXUINT32) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                  "the %u windows of this query give %u rows of results each, more than the %u bytes that an "
                  "answer may have; ask for fewer windows",
                  task->n_samples, result->rows, AIN_WRITER_MAX);
      return FALSE;
    }
    guint8 *room = g_try_malloc(one * task->n_samples);
    if (room == NULL) {
      ain_error_set_os(error, ENOMEM, "cannot hold the results of the %u windows of this query",
                       task->n_samples);
      return FALSE;
    }
    task->results = g_byte_array_new_take(room, one * task->n_samples);
  }
  if (result->rows != task->out_rows || result->columns != task->out_columns
      || result->dtype != task->result_dtype) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MODEL_FAILED,
                "model [%s] answers windows of one query in different shapes", task->model->id);
    return FALSE;
  }
  memcpy(task->results->data + one * first, data, one * count);
  return TRUE;
}

gboolean ain_task_take_results(AinTask *task, guint32 first, guint32 count, const AinJobResult *result,
                               const guint8 *data) {
  g_autoptr(GError) error = NULL;
  if (task->out_rows == 0) {
    task->out_rows = result->rows;
    task->out_columns = result->columns;
    task->result_dtype = result->dtype;
  }
  if (!ain_task_check_result(task, result, &error)
      || (task->n_samples > 1 && !store_results(task, first, count, result, data, &error))) {
    ain_task_fail(task, error);
    return FALSE;
  }
  task->n_answered += count;
  if (task->n_answered < task->n_samples) {
    return TRUE;
  }
  task->answered = TRUE;
  return answer(task, task->n_samples == 1 ? data : task->results->data);
}
