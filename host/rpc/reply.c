/* Response structs of every method, shaped for the families that may be asking (W1..W5 of ainode.thrift). */
#include "rpc/internal.h"
#include "rpc/status.h"

#include "base/error.h"
#include "base/text.h"

#define SMALL 512 /* bytes that frame, message and status of an answer fit in */

#define FAMILIES_GH (AIN_FAMILY_G | AIN_FAMILY_H)

static AinMethod method_of(const AinCall *call) {
  return call->store.request.method;
}

static AinFamilies families_of(const AinCall *call) {
  return call->store.request.families;
}

/* Methods whose result is the TSStatus itself. */
static gboolean is_plain(AinMethod method) {
  switch (method) {
  case AIN_METHOD_STOP:
  case AIN_METHOD_DELETE_MODEL:
  case AIN_METHOD_LOAD_MODEL:
  case AIN_METHOD_UNLOAD_MODEL:
  case AIN_METHOD_CREATE_TRAINING:
  case AIN_METHOD_CREATE_TUNING:
    return TRUE;
  default:
    return FALSE;
  }
}

static void put_text(AinWriter *w, gint16 id, const char *text) {
  ain_writer_field(w, AIN_THRIFT_STRING, id);
  ain_writer_string(w, text);
}

static void put_status(AinWriter *w, gint32 code, const char *message) {
  ain_writer_field(w, AIN_THRIFT_I32, 1);
  ain_writer_i32(w, code);
  if (message != NULL) {
    put_text(w, 2, message);
  }
}

/* The result struct is field 0 of the reply; a response that is more than a status has it as field 1. */
static gboolean begin(AinCall *call, AinWriter *w, gsize estimate, gint32 code, const char *message) {
  if (!ain_call_reply_begin(call, w, estimate + (message != NULL ? strlen(message) : 0))) {
    return FALSE;
  }
  ain_writer_message(w, call->method_name, AIN_MESSAGE_REPLY, call->seqid);
  ain_writer_struct_begin(w);
  ain_writer_field(w, AIN_THRIFT_STRUCT, 0);
  ain_writer_struct_begin(w);
  if (is_plain(method_of(call))) {
    put_status(w, code, message);
  } else if (method_of(call) != AIN_METHOD_HEARTBEAT) {
    ain_writer_field(w, AIN_THRIFT_STRUCT, 1);
    ain_writer_struct_begin(w);
    put_status(w, code, message);
    ain_writer_struct_end(w);
  }
  return TRUE;
}

static void end(AinCall *call, AinWriter *w) {
  ain_writer_struct_end(w);
  ain_writer_struct_end(w);
  ain_call_reply_end(call, w);
}

/* One of the three maps from a model's id to a text; a missing text would be a null pointer to the caller. */
static void put_model_map(AinWriter *w, gint16 id, const AinModelRow *rows, guint n_rows, gsize text_offset) {
  ain_writer_field(w, AIN_THRIFT_MAP, id);
  ain_writer_map(w, AIN_THRIFT_STRING, AIN_THRIFT_STRING, n_rows);
  for (guint i = 0; i < n_rows; i++) {
    const char *text = G_STRUCT_MEMBER(const char *, &rows[i], text_offset);
    ain_writer_string(w, rows[i].id);
    ain_writer_string(w, text != NULL ? text : "");
  }
}

static void put_models(AinWriter *w, const AinModelRow *rows, guint n_rows) {
  ain_writer_field(w, AIN_THRIFT_LIST, 2);
  ain_writer_list(w, AIN_THRIFT_STRING, n_rows);
  for (guint i = 0; i < n_rows; i++) {
    ain_writer_string(w, rows[i].id);
  }
  put_model_map(w, 3, rows, n_rows, G_STRUCT_OFFSET(AinModelRow, type));
  put_model_map(w, 4, rows, n_rows, G_STRUCT_OFFSET(AinModelRow, category));
  put_model_map(w, 5, rows, n_rows, G_STRUCT_OFFSET(AinModelRow, state));
}

/* What a reader insists on though there is nothing to say (W1..W4). */
static void put_empty_payload(AinCall *call, AinWriter *w) {
  gboolean list = FALSE;
  gboolean map = FALSE;
  switch (method_of(call)) {
  case AIN_METHOD_INFERENCE:
  case AIN_METHOD_CLASSIFY:
    list = TRUE;
    break;
  case AIN_METHOD_FORECAST:
    list = (families_of(call) & FAMILIES_GH) != 0;
    if ((families_of(call) & ~(AinFamilies)FAMILIES_GH) != 0) {
      put_text(w, 2, "");
    }
    break;
  case AIN_METHOD_SHOW_MODELS:
    put_models(w, NULL, 0); /* the ConfigNode of 2.0.5 copies the fields whatever the status says */
    break;
  case AIN_METHOD_SHOW_LOADED_MODELS:
    map = TRUE;
    break;
  case AIN_METHOD_SHOW_DEVICES:
    list = (families_of(call) & AIN_FAMILY_F) != 0;
    map = (families_of(call) & FAMILIES_GH) != 0;
    break;
  default:
    break;
  }
  if (list) {
    ain_writer_field(w, AIN_THRIFT_LIST, 2);
    ain_writer_list(w, AIN_THRIFT_STRING, 0);
  }
  if (map) {
    ain_writer_field(w, AIN_THRIFT_MAP, 2);
    ain_writer_map(w, AIN_THRIFT_STRING,
                   method_of(call) == AIN_METHOD_SHOW_DEVICES ? AIN_THRIFT_STRING : AIN_THRIFT_MAP, 0);
  }
}

AinFamily ain_call_family(const AinCall *call) {
  return ain_rpc_family(families_of(call), call->server != NULL ? call->server->release : AIN_FAMILY_E);
}

void ain_call_reply_error(AinCall *call, const GError *error) {
  const char *text = error != NULL && error->message != NULL ? error->message : "internal error";
  /* It may quote a model or a request, and ends on somebody's terminal. */
  g_autofree char *message = ain_text_printable(text, "\n\t");
  if (method_of(call) == AIN_METHOD_HEARTBEAT) {
    ain_call_reply_heartbeat(call, "Unknown", message, NULL); /* it has no status field */
    return;
  }
  AinFamily family = ain_call_family(call);
  AinWriter w;
  if (begin(call, &w, SMALL, ain_rpc_status(error, family, method_of(call)), message)) {
    put_empty_payload(call, &w);
    end(call, &w);
  }
}

void ain_call_reply_ok(AinCall *call, const char *message) {
  AinWriter w;
  if (begin(call, &w, SMALL, AIN_STATUS_SUCCESS, message)) {
    put_empty_payload(call, &w);
    end(call, &w);
  }
}

static void put_double(AinWriter *w, gint16 id, double value) {
  ain_writer_field(w, AIN_THRIFT_DOUBLE, id);
  ain_writer_double(w, value);
}

void ain_call_reply_heartbeat(AinCall *call, const char *status, const char *reason,
                              const AinLoadSample *sample) {
  AinWriter w;
  if (!begin(call, &w, SMALL + (reason != NULL ? strlen(reason) : 0), AIN_STATUS_SUCCESS, NULL)) {
    return;
  }
  ain_writer_field(&w, AIN_THRIFT_I64, 1);
  ain_writer_i64(&w, call->store.request.heartbeat_timestamp);
  put_text(&w, 2, status);
  if (reason != NULL) {
    put_text(&w, 3, reason);
  }
  if (sample != NULL) {
    ain_writer_field(&w, AIN_THRIFT_STRUCT, 4);
    ain_writer_struct_begin(&w);
    put_double(&w, 1, sample->cpu_percent);
    put_double(&w, 2, sample->memory_percent);
    put_double(&w, 3, sample->disk_percent);
    put_double(&w, 4, sample->free_disk_gib);
    ain_writer_struct_end(&w);
  }
  end(call, &w);
}

static void put_shape(AinWriter *w, gint16 id, const gint32 *shape) {
  ain_writer_field(w, AIN_THRIFT_LIST, id);
  ain_writer_list(w, AIN_THRIFT_I32, 2);
  ain_writer_i32(w, shape[0]);
  ain_writer_i32(w, shape[1]);
}

static void put_types(AinWriter *w, gint16 id, const guint8 *types, gint32 count) {
  guint32 n_types = (guint32)MAX(count, 0);
  ain_writer_field(w, AIN_THRIFT_LIST, id);
  ain_writer_list(w, AIN_THRIFT_BYTE, n_types);
  for (guint32 i = 0; i < n_types; i++) {
    ain_writer_byte(w, (gint8)types[i]);
  }
}

void ain_call_reply_registered(AinCall *call, const AinModelConfigs *configs) {
  AinWriter w;
  if (!begin(call, &w, SMALL, AIN_STATUS_SUCCESS, NULL)) {
    return;
  }
  ain_writer_field(&w, AIN_THRIFT_STRUCT, 2);
  ain_writer_struct_begin(&w);
  put_shape(&w, 1, configs->input_shape);
  put_shape(&w, 2, configs->output_shape);
  put_types(&w, 3, configs->input_types, configs->input_shape[1]);
  put_types(&w, 4, configs->output_types, configs->output_shape[1]);
  ain_writer_struct_end(&w);
  if (configs->attributes != NULL) {
    put_text(&w, 3, configs->attributes);
  }
  end(call, &w);
}

void ain_call_reply_models(AinCall *call, const AinModelRow *rows, guint n_rows) {
  AinWriter w;
  if (!begin(call, &w, SMALL, AIN_STATUS_SUCCESS, NULL)) {
    return;
  }
  put_models(&w, rows, n_rows);
  end(call, &w);
}

/* How many rows from `first` on are of one device. */
static guint run_of_device(const AinLoadedRow *rows, guint n_rows, guint first) {
  guint next = first + 1;
  while (next < n_rows && strcmp(rows[next].device, rows[first].device) == 0) {
    next++;
  }
  return next - first;
}

void ain_call_reply_loaded_models(AinCall *call, const AinLoadedRow *rows, guint n_rows) {
  AinWriter w;
  if (!begin(call, &w, SMALL, AIN_STATUS_SUCCESS, NULL)) {
    return;
  }
  guint n_devices = 0;
  for (guint i = 0; i < n_rows; i += run_of_device(rows, n_rows, i)) {
    n_devices++;
  }
  ain_writer_field(&w, AIN_THRIFT_MAP, 2);
  ain_writer_map(&w, AIN_THRIFT_STRING, AIN_THRIFT_MAP, n_devices);
  for (guint i = 0; i < n_rows;) {
    guint run = run_of_device(rows, n_rows, i);
    ain_writer_string(&w, rows[i].device);
    ain_writer_map(&w, AIN_THRIFT_STRING, AIN_THRIFT_I32, run);
    for (guint end_of_run = i + run; i < end_of_run; i++) {
      ain_writer_string(&w, rows[i].model_id);
      ain_writer_i32(&w, rows[i].instances);
    }
  }
  end(call, &w);
}

/* W2: nothing in the request tells F from G and H, so field 2 goes out once in each of its types; every
 * reader keeps the one it knows and steps over the other. */
void ain_call_reply_devices(AinCall *call, const AinDeviceRow *rows, guint n_rows) {
  AinWriter w;
  if (!begin(call, &w, SMALL, AIN_STATUS_SUCCESS, NULL)) {
    return;
  }
  if ((families_of(call) & AIN_FAMILY_F) != 0) {
    ain_writer_field(&w, AIN_THRIFT_LIST, 2);
    ain_writer_list(&w, AIN_THRIFT_STRING, n_rows);
    for (guint i = 0; i < n_rows; i++) {
      ain_writer_string(&w, rows[i].id);
    }
  }
  if ((families_of(call) & FAMILIES_GH) != 0) {
    ain_writer_field(&w, AIN_THRIFT_MAP, 2);
    ain_writer_map(&w, AIN_THRIFT_STRING, AIN_THRIFT_STRING, n_rows);
    for (guint i = 0; i < n_rows; i++) {
      ain_writer_string(&w, rows[i].id);
      ain_writer_string(&w, rows[i].type);
    }
  }
  end(call, &w);
}

void ain_call_reply_blocks(AinCall *call, guint n_blocks, const gsize *sizes, AinBlockFill fill,
                           gpointer data) {
  g_return_if_fail(n_blocks > 0);
  gboolean single = method_of(call) == AIN_METHOD_FORECAST && (families_of(call) & FAMILIES_GH) == 0;
  guint count = single ? 1 : n_blocks; /* W1 */
  gsize estimate = SMALL;
  for (guint i = 0; i < count && estimate <= AIN_WRITER_MAX; i++) {
    estimate += MIN(sizes[i], AIN_WRITER_MAX) + 5;
  }
  AinWriter w;
  if (!begin(call, &w, estimate, AIN_STATUS_SUCCESS, NULL)) {
    return;
  }
  ain_writer_field(&w, single ? AIN_THRIFT_STRING : AIN_THRIFT_LIST, 2);
  if (!single) {
    ain_writer_list(&w, AIN_THRIFT_STRING, count);
  }
  for (guint i = 0; i < count; i++) {
    guint8 *place = ain_writer_string_space(&w, sizes[i]);
    if (place != NULL) {
      fill(i, place, sizes[i], data);
    }
  }
  end(call, &w);
}

void ain_call_reply_unknown_method(AinCall *call) {
  g_autofree char *name = g_strndup((const char *)call->method_name.data, call->method_name.size);
  g_autofree char *shown = g_utf8_make_valid(name, -1);
  g_autofree char *message = g_strdup_printf("this AINode has no method '%s'", shown);
  AinWriter w;
  if (!ain_call_reply_begin(call, &w, SMALL + strlen(message))) {
    return;
  }
  ain_writer_message(&w, call->method_name, AIN_MESSAGE_EXCEPTION, call->seqid);
  ain_writer_struct_begin(&w);
  put_text(&w, 1, message);
  ain_writer_field(&w, AIN_THRIFT_I32, 2);
  ain_writer_i32(&w, 1); /* TApplicationException UNKNOWN_METHOD */
  ain_writer_struct_end(&w);
  ain_call_reply_end(call, &w);
}
