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

/* --- heartbeat
 * ----------------------------------------------------------------------------------------------- */

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

/* --- models
 * -------------------------------------------------------------------------------------------------- */

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
  AinRegistry *registry;
  AinSlice wanted; /* one id, or data NULL for all */
  gboolean lower;
  GArray *rows; /* AinModelRow; texts borrowed from the registry, unchanged until the reply is written */
} Listing;

static gboolean list_model(const char *id, AinCategory category, AinModelState state, const AinModel *model,
                           gpointer data) {
  (void)model;
  Listing *listing = data;
  if (listing->wanted.data == NULL || ain_slice_equal(listing->wanted, id)) {
    AinModelRow row = { .id = id,
                        .type = ain_registry_type_of(listing->registry, id, listing->lower),
                        .category = category_text(category, listing->lower),
                        .state = state_text(state, listing->lower) };
    g_array_append_val(listing->rows, row);
  }
  return TRUE;
}

static void show_models(AinService *service, AinCall *call) {
  g_autoptr(GArray) rows = g_array_new(FALSE, TRUE, sizeof(AinModelRow));
  AinSlice wanted = ain_call_request(call)->model_id;
  Listing listing = { .registry = service->parts.registry,
                      .wanted = wanted.size > 0 ? wanted : (AinSlice){ NULL, 0 },
                      .lower = lower_case(service, call),
                      .rows = rows };
  ain_registry_visit(service->parts.registry, list_model, &listing);
  ain_call_reply_models(call, (const AinModelRow *)(gconstpointer)rows->data, rows->len);
}

static void registered(AinModel *model, const GError *error, gpointer data) {
  g_autoptr(AinCall) call = data;
  if (error != NULL) {
    g_autofree char *id = ain_slice_dup(ain_call_request(call)->model_id);
    g_warning("model %s was not registered: %s", id, error->message);
    ain_call_reply_error(call, error);
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

/* --- running models
 * ------------------------------------------------------------------------------------------ */

typedef struct {
  AinService *service;
  AinCall *call;
} Waiting;

static void proven(AinModel *model, const GError *error, gpointer data) {
  g_autofree Waiting *waiting = data;
  if (error != NULL) {
    ain_call_reply_error(waiting->call, error);
    ain_call_unref(waiting->call);
    return;
  }
  ain_scheduler_infer(waiting->service->parts.scheduler, model, waiting->call);
}

static void infer(AinService *service, AinCall *call) {
  g_autoptr(GError) error = NULL;
  AinSlice id = ain_call_request(call)->model_id;
  if (service->draining != NULL) {
    refuse(call, AIN_ERROR_CANCELLED, "the AINode is stopping: ask again when it runs again");
    ain_call_unref(call);
    return;
  }
  g_autoptr(AinModel) model =
      ain_registry_lookup(service->parts.registry, (const char *)id.data, id.size, &error);
  if (model == NULL) {
    ain_call_reply_error(call, error);
    ain_call_unref(call);
  } else if (!model->proven) {
    Waiting *waiting = g_new0(Waiting, 1);
    *waiting = (Waiting){ service, call };
    ain_registry_prove(service->parts.registry, model->id, proven, waiting);
  } else {
    ain_scheduler_infer(service->parts.scheduler, model, call);
  }
}

/* --- dispatch
 * ------------------------------------------------------------------------------------------------ */

static void show_devices(AinCall *call) {
  static const AinDeviceRow cpu = { "cpu", "cpu" };
  ain_call_reply_devices(call, &cpu, 1);
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
    ain_call_reply_loaded_models(call, NULL, 0);
    break;
  case AIN_METHOD_SHOW_DEVICES:
    show_devices(call);
    break;
  case AIN_METHOD_LOAD_MODEL:
  case AIN_METHOD_UNLOAD_MODEL:
    refuse(call, AIN_ERROR_UNSUPPORTED,
           "LOAD MODEL and UNLOAD MODEL are not supported yet: a model is loaded with its first request");
    break;
  case AIN_METHOD_CLASSIFY:
    refuse(call, AIN_ERROR_UNSUPPORTED, "classification is not supported yet");
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

void ain_service_handle(AinCall *call, gpointer data) {
  AinService *service = data;
  switch (ain_call_request(call)->method) {
  case AIN_METHOD_INFERENCE:
  case AIN_METHOD_FORECAST:
    infer(service, call);
    break;
  case AIN_METHOD_REGISTER_MODEL:
    register_model(service, call);
    break;
  case AIN_METHOD_DELETE_MODEL:
    delete_model(service, call);
    break;
  default:
    answer_now(service, call);
    ain_call_unref(call);
    break;
  }
}
