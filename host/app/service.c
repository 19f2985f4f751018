#include "app/service.h"

#include "base/error.h"

#include <string.h>

struct AinService {
  AinServiceParts parts;
  AinRpcServer *server;
  char *draining; /* the reason, or NULL */
  guint heartbeats_while_draining;
};

AinService *ain_service_new(const AinServiceParts *parts) {
  AinService *service = g_new0(AinService, 1);
  service->parts = *parts;
  return service;
}

void ain_service_free(AinService *service) {
  if (service != NULL) {
    g_free(service->draining);
    g_free(service);
  }
}

void ain_service_set_server(AinService *service, AinRpcServer *server) {
  service->server = server;
}

void ain_service_drain(AinService *service, const char *reason) {
  g_free(service->draining);
  service->draining = g_strdup(reason);
}

guint ain_service_heartbeats_while_draining(const AinService *service) {
  return service->heartbeats_while_draining;
}

static void refuse(AinCall *call, AinErrorCode code, const char *message) {
  g_autoptr(GError) error = g_error_new_literal(AIN_ERROR, (int)code, message);
  ain_call_reply_error(call, error);
}

/* --- heartbeat --- */

static void heartbeat(AinService *service, AinCall *call) {
  const char *reason = NULL;
  const char *status = "Running";
  if (service->draining != NULL) {
    status = "Unknown";
    reason = service->draining;
    service->heartbeats_while_draining++;
  } else if (ain_runtime_state(service->parts.runtime, &reason) == AIN_RUNTIME_FAILED) {
    status = "Unknown";
  }
  AinLoadSample sample;
  gboolean sampled = ain_call_request(call)->need_sampling_load;
  if (sampled) {
    sample = ain_observe_load_read(service->parts.meter);
  }
  ain_call_reply_heartbeat(call, status, reason, sampled ? &sample : NULL);
}

/* --- models --- */

/* Families G and H spell categories and states in lower case. */
static gboolean lower_case(const AinService *service, const AinCall *call) {
  AinFamilies families = ain_call_request(call)->families;
  AinFamilies lower = AIN_FAMILY_G | AIN_FAMILY_H;
  if ((families & ~lower) == 0) {
    return TRUE;
  }
  return (families & lower) != 0 && (ain_rpc_server_release(service->server) & lower) != 0;
}

static const char *category_text(AinCategory category, gboolean lower) {
  static const char *const texts[][2] = {
    [AIN_CATEGORY_BUILTIN] = { "BUILT-IN", "builtin" },
    [AIN_CATEGORY_FINE_TUNED] = { "FINE-TUNED", "fine_tuned" },
    [AIN_CATEGORY_USER] = { "USER-DEFINED", "user_defined" },
  };
  return texts[category][lower ? 1 : 0];
}

static const char *state_text(AinModelState state, gboolean lower) {
  static const char *const texts[][2] = {
    [AIN_STATE_INACTIVE] = { "INACTIVE", "inactive" }, [AIN_STATE_LOADING] = { "LOADING", "activating" },
    [AIN_STATE_ACTIVE] = { "ACTIVE", "active" },       [AIN_STATE_DROPPING] = { "DROPPING", "dropping" },
    [AIN_STATE_FAILED] = { "FAILED", "inactive" },
  };
  return texts[state][lower ? 1 : 0];
}

typedef struct {
  AinService *service;
  AinSlice wanted; /* one id, or data NULL for all */
  gboolean lower;
  GArray *rows; /* AinModelRow; texts borrowed from the registry, unchanged until the reply is written */
} Listing;

static gboolean list_model(const char *id, AinCategory category, AinModelState state, const AinModel *model,
                           gpointer data) {
  Listing *listing = data;
  if (model != NULL && ain_scheduler_failure(listing->service->parts.scheduler, (AinModel *)model) != NULL) {
    state = AIN_STATE_FAILED;
  }
  if (listing->wanted.data == NULL || ain_slice_equal(listing->wanted, id)) {
    AinModelRow row = { .id = id,
                        .type = ain_registry_type_of(listing->service->parts.registry, id, listing->lower),
                        .category = category_text(category, listing->lower),
                        .state = state_text(state, listing->lower) };
    g_array_append_val(listing->rows, row);
  }
  return TRUE;
}

static void show_models(AinService *service, AinCall *call) {
  g_autoptr(GArray) rows = g_array_new(FALSE, TRUE, sizeof(AinModelRow));
  AinSlice wanted = ain_call_request(call)->model_id;
  Listing listing = { .service = service,
                      .wanted = wanted.size > 0 ? wanted : (AinSlice){ NULL, 0 },
                      .lower = lower_case(service, call),
                      .rows = rows };
  ain_registry_visit(service->parts.registry, list_model, &listing);
  ain_call_reply_models(call, (const AinModelRow *)(gconstpointer)rows->data, rows->len);
}

/* Releases up to 2.0.7 must be told shapes and check the columns of a query against them; 2.0.4 and 2.0.5
 * send FORECAST as many of the latest rows as the input shape has. Where config.json says nothing: one
 * column, and as many rows as later releases send. Answers are DOUBLE (schedule/task.c). */
#define USUAL_INPUT_ROWS 2880
#define USUAL_OUTPUT_ROWS 96

static void reply_flexible(AinCall *call, const AinModel *model) {
  gboolean in = model->input_shape[0] > 0;
  gboolean out = model->output_shape[0] > 0;
  gint32 columns = in ? model->input_shape[1] : 1;
  gint32 answers = out ? model->output_shape[1] : columns;
  g_autofree guint8 *types = g_malloc((gsize)MAX(columns, answers));
  memset(types, AIN_TS_DOUBLE, (gsize)MAX(columns, answers));
  AinModelConfigs configs = {
    .input_shape = { in ? model->input_shape[0] : USUAL_INPUT_ROWS, columns },
    .output_shape = { out ? model->output_shape[0] : USUAL_OUTPUT_ROWS, answers },
    .input_types = types,
    .output_types = types,
  };
  ain_call_reply_registered(call, &configs);
}

static void registered(AinModel *model, const GError *error, gpointer data) {
  g_autoptr(AinCall) call = data;
  if (error != NULL) {
    g_autofree char *id = ain_slice_dup(ain_call_request(call)->model_id);
    g_warning("model %s was not registered: %s", id, error->message);
    ain_call_reply_error(call, error);
    return;
  }
  if (ain_model_is_flexible(model)) {
    reply_flexible(call, model);
    return;
  }
  AinModelConfigs configs = {
    .input_shape = { model->input_shape[0], model->input_shape[1] },
    .output_shape = { model->output_shape[0], model->output_shape[1] },
    .input_types = model->input_types,
    .output_types = model->output_types,
    .attributes = model->attributes,
  };
  ain_call_reply_registered(call, &configs);
}

/* Bytes of a request as C text; text with a NUL inside is refused by the checks that precede this. */
static void register_model(AinService *service, AinCall *call) {
  const AinRequest *request = ain_call_request(call);
  g_autoptr(GError) error = NULL;
  if (!ain_registry_check_id((const char *)request->model_id.data, request->model_id.size, &error)
      || !ain_registry_check_uri((const char *)request->uri.data, request->uri.size, &error)) {
    ain_call_reply_error(call, error);
    ain_call_unref(call);
    return;
  }
  g_autofree char *id = ain_slice_dup(request->model_id);
  g_autofree char *uri = ain_slice_dup(request->uri);
  ain_registry_register(service->parts.registry, id, uri, registered, call);
}

static void dropped(const GError *error, gpointer data) {
  g_autoptr(AinCall) call = data;
  if (error != NULL) {
    ain_call_reply_error(call, error);
  } else {
    ain_call_reply_ok(call, NULL);
  }
}

static void delete_model(AinService *service, AinCall *call) {
  AinSlice id = ain_call_request(call)->model_id;
  if (id.size == 0 || memchr(id.data, '\0', id.size) != NULL) {
    refuse(call, AIN_ERROR_INVALID, "the id of the model to drop is empty or holds a NUL character");
    ain_call_unref(call);
    return;
  }
  g_autofree char *text = ain_slice_dup(id);
  ain_registry_drop(service->parts.registry, text, dropped, call);
}

/* --- running models --- */

typedef struct {
  AinService *service;
  AinCall *call;
  void (*again)(AinService *service, AinCall *call);
} Waiting;

static Waiting *waiting_new(AinService *service, AinCall *call,
                            void (*again)(AinService *service, AinCall *call)) {
  Waiting *waiting = g_new(Waiting, 1);
  *waiting = (Waiting){ service, call, again };
  return waiting;
}

/* What the call had to wait for is there. The model is looked up anew: since the answer was sent on its way,
 * it may have been dropped or replaced, and nobody ends the processes of one that the scheduler gets after
 * that. */
static void arrived(AinModel *model, const GError *error, gpointer data) {
  (void)model;
  g_autofree Waiting *waiting = data;
  if (error != NULL) {
    ain_call_reply_error(waiting->call, error);
    ain_call_unref(waiting->call);
    return;
  }
  waiting->again(waiting->service, waiting->call);
}

static void infer(AinService *service, AinCall *call) {
  g_autoptr(GError) error = NULL;
  AinSlice id = ain_call_request(call)->model_id;
  AinRegistry *registry = service->parts.registry;
  g_autoptr(AinModel) model = ain_registry_lookup(registry, (const char *)id.data, id.size, &error);
  if (model != NULL && model->proven) {
    ain_scheduler_infer(service->parts.scheduler, model, call);
    return;
  }
  g_autofree Waiting *waiting = waiting_new(service, call, infer);
  if (model != NULL) {
    ain_registry_prove(registry, model->id, arrived, g_steal_pointer(&waiting));
  } else if (g_error_matches(error, AIN_ERROR, AIN_ERROR_BUSY)
             && ain_registry_await(registry, (const char *)id.data, id.size, arrived, waiting)) {
    (void)g_steal_pointer(&waiting);
  } else {
    ain_call_reply_error(call, error);
    ain_call_unref(call);
  }
}

/* --- dispatch --- */

static void show_devices(AinService *service, AinCall *call) {
  guint n_cuda = ain_runtime_cuda_devices(service->parts.runtime);
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  g_autofree AinDeviceRow *rows = g_new0(AinDeviceRow, n_cuda + 1);
  rows[0] = (AinDeviceRow){ "cpu", "cpu" };
  for (guint i = 0; i < n_cuda; i++) {
    g_ptr_array_add(names, g_strdup_printf("%u", i));
    rows[i + 1] = (AinDeviceRow){ g_ptr_array_index(names, i), "cuda" };
  }
  ain_call_reply_devices(call, rows, n_cuda + 1);
}

/* Owned, NULL-terminated device names of the request, each one known; duplicates are refused unless allowed.
 */
static char **take_devices(AinService *service, const AinRequest *request, gboolean duplicates,
                           GError **error) {
  guint n_cuda = ain_runtime_cuda_devices(service->parts.runtime);
  g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
  for (guint i = 0; i < request->n_devices; i++) {
    g_autofree char *name = ain_slice_dup(request->devices[i]);
    guint64 index = 0;
    gboolean known = g_str_equal(name, "cpu")
                     || (n_cuda > 0 && (name[0] != '0' || name[1] == '\0') /* one name for each device */
                         && g_ascii_string_to_unsigned(name, 10, 0, n_cuda - 1, &index, NULL));
    if (!known) {
      g_autofree char *shown = g_utf8_make_valid(name, -1);
      g_set_error(error, AIN_ERROR, AIN_ERROR_DEVICE,
                  "device [%s] is not available: SHOW AI_DEVICES lists the devices of this AINode", shown);
      return NULL;
    }
    gboolean again = g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL);
    if (again && !duplicates) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "device [%s] is named twice: name each device once",
                  name);
      return NULL;
    }
    if (!again) {
      g_ptr_array_add(names, g_steal_pointer(&name));
    }
  }
  g_ptr_array_add(names, NULL);
  return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

typedef struct {
  AinCall *call;
  char **devices;
} Loading;

static void loading_done(const GError *error, gpointer data) {
  Loading *loading = data;
  if (error != NULL) {
    ain_call_reply_error(loading->call, error);
  } else {
    ain_call_reply_ok(loading->call, "SHOW LOADED MODELS tells where models are loaded");
  }
  ain_call_unref(loading->call);
  g_strfreev(loading->devices);
  g_free(loading);
}

static void start_loading(AinService *service, AinCall *call, AinModel *model, char **devices) {
  AinScheduler *scheduler = service->parts.scheduler;
  const char *const *names = (const char *const *)devices;
  Loading *loading = g_new0(Loading, 1);
  *loading = (Loading){ call, devices };
  if (ain_call_request(call)->method == AIN_METHOD_LOAD_MODEL) {
    ain_scheduler_load(scheduler, model, names, g_strv_length(devices), loading_done, loading);
  } else {
    ain_scheduler_unload(scheduler, model, names, g_strv_length(devices), loading_done, loading);
  }
}

/* LOAD and UNLOAD are answered when it has happened: the caller waits up to a minute, like for everything
 * else. */
static void load_or_unload(AinService *service, AinCall *call) {
  g_autoptr(GError) error = NULL;
  const AinRequest *request = ain_call_request(call);
  g_autoptr(AinModel) model = ain_registry_lookup(
      service->parts.registry, (const char *)request->model_id.data, request->model_id.size, &error);
  gboolean duplicates = (request->families & (AIN_FAMILY_G | AIN_FAMILY_H)) == 0
                        || ain_rpc_server_release(service->server) == AIN_FAMILY_F;
  g_auto(GStrv) devices = model != NULL ? take_devices(service, request, duplicates, &error) : NULL;
  if (devices == NULL) {
    ain_call_reply_error(call, error);
    ain_call_unref(call);
    return;
  }
  if (!model->proven) {
    ain_registry_prove(service->parts.registry, model->id, arrived,
                       waiting_new(service, call, load_or_unload));
    return;
  }
  start_loading(service, call, model, g_steal_pointer(&devices));
}

typedef struct {
  AinService *service;
  const char *device;
  GArray *rows; /* AinLoadedRow */
} LoadedListing;

static gboolean list_loaded(const char *id, AinCategory category, AinModelState state, const AinModel *model,
                            gpointer data) {
  (void)category;
  (void)state;
  LoadedListing *listing = data;
  guint count = model != NULL ? ain_scheduler_loaded(listing->service->parts.scheduler, (AinModel *)model,
                                                     listing->device)
                              : 0;
  if (count > 0) {
    AinLoadedRow row = { listing->device, id, (gint32)count };
    g_array_append_val(listing->rows, row);
  }
  return TRUE;
}

static char **all_devices(AinService *service) {
  guint n_cuda = ain_runtime_cuda_devices(service->parts.runtime);
  char **names = g_new0(char *, n_cuda + 2);
  for (guint i = 0; i < n_cuda; i++) {
    names[i] = g_strdup_printf("%u", i);
  }
  names[n_cuda] = g_strdup("cpu");
  return names;
}

static void show_loaded_models(AinService *service, AinCall *call) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GArray) rows = g_array_new(FALSE, TRUE, sizeof(AinLoadedRow));
  const AinRequest *request = ain_call_request(call);
  g_auto(GStrv) devices =
      request->n_devices > 0 ? take_devices(service, request, TRUE, &error) : all_devices(service);
  if (devices == NULL) {
    ain_call_reply_error(call, error);
    return;
  }
  for (char **device = devices; *device != NULL; device++) {
    LoadedListing listing = { .service = service, .device = *device, .rows = rows };
    ain_registry_visit(service->parts.registry, list_loaded, &listing);
  }
  ain_call_reply_loaded_models(call, (const AinLoadedRow *)(gconstpointer)rows->data, rows->len);
}

/* Calls that answer at once; the caller drops the reference. */
static void answer_now(AinService *service, AinCall *call) {
  switch (ain_call_request(call)->method) {
  case AIN_METHOD_HEARTBEAT:
    heartbeat(service, call);
    break;
  case AIN_METHOD_STOP:
    ain_call_reply_ok(call, NULL);
    service->parts.stop(service->parts.data);
    break;
  case AIN_METHOD_SHOW_MODELS:
    show_models(service, call);
    break;
  case AIN_METHOD_SHOW_LOADED_MODELS:
    show_loaded_models(service, call);
    break;
  case AIN_METHOD_SHOW_DEVICES:
    show_devices(service, call);
    break;
  case AIN_METHOD_CREATE_TRAINING:
  case AIN_METHOD_CREATE_TUNING:
    refuse(call, AIN_ERROR_UNSUPPORTED, "training and tuning are not supported yet");
    break;
  default:
    refuse(call, AIN_ERROR_UNSUPPORTED, "this call is not supported");
    break;
  }
}

/* What a stopping node does not begin any more. */
static gboolean runs_models(AinMethod method) {
  return method == AIN_METHOD_INFERENCE || method == AIN_METHOD_FORECAST || method == AIN_METHOD_CLASSIFY
         || method == AIN_METHOD_REGISTER_MODEL || method == AIN_METHOD_LOAD_MODEL;
}

void ain_service_handle(AinCall *call, gpointer data) {
  AinService *service = data;
  if (service->draining != NULL && runs_models(ain_call_request(call)->method)) {
    refuse(call, AIN_ERROR_CANCELLED, "the AINode is stopping: ask again when it runs again");
    ain_call_unref(call);
    return;
  }
  switch (ain_call_request(call)->method) {
  case AIN_METHOD_INFERENCE:
  case AIN_METHOD_FORECAST:
  case AIN_METHOD_CLASSIFY:
    infer(service, call);
    break;
  case AIN_METHOD_REGISTER_MODEL:
    register_model(service, call);
    break;
  case AIN_METHOD_DELETE_MODEL:
    delete_model(service, call);
    break;
  case AIN_METHOD_LOAD_MODEL:
  case AIN_METHOD_UNLOAD_MODEL:
    load_or_unload(service, call);
    break;
  default:
    answer_now(service, call);
    ain_call_unref(call);
    break;
  }
}
