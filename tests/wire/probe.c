/* A server that answers every method with canned values, for tests that speak to it over a socket.
 *
 * Prints "port N" when it listens and "abandoned ID" when a caller leaves; ends when its standard input does.
 * What a model's id asks for: "error" an error of any method, "slow-MS" an answer after that time, "hang"
 * none until the caller leaves, "big-BYTES" one block of that size. Other data calls get their dataset back,
 * twice. */
#include "base/error.h"
#include "base/loop.h"
#include "rpc/server.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static struct {
  AinLoop *loop;
  AinRpcServer *server;
  char *release;
  char *address;
  int port, max_frame, frame_timeout_ms, idle_timeout_ms, max_connections, max_in_flight;
} probe = {
  .max_frame = 536870912, .frame_timeout_ms = 10000, .max_connections = 20000, .max_in_flight = 64
};

static char *text_of(AinSlice slice) {
  return slice.data != NULL ? ain_slice_dup(slice) : g_strdup("");
}

static void fill_echo(guint index, guint8 *dst, gsize size, gpointer data) {
  (void)index;
  memcpy(dst, ((const AinRequest *)data)->dataset.data, size);
}

static void fill_pattern(guint index, guint8 *dst, gsize size, gpointer data) {
  (void)data;
  for (gsize i = 0; i < size; i++) {
    dst[i] = (guint8)(i * 7 + index);
  }
}

static void reply_data(AinCall *call) {
  const AinRequest *request = ain_call_request(call);
  const gsize sizes[] = { request->dataset.size, request->dataset.size };
  ain_call_reply_blocks(call, 2, sizes, fill_echo, (gpointer)request);
}

static void reply_late(gpointer data) {
  g_autoptr(AinCall) call = data;
  reply_data(call);
}

static void on_abandon(AinCall *call, gpointer data) {
  (void)data;
  g_autofree char *model = text_of(ain_call_request(call)->model_id);
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_CANCELLED, "the caller is gone");
  printf("abandoned %s\n", model);
  fflush(stdout);
  ain_call_reply_error(call, error);
  ain_call_unref(call);
}

/* Takes over the call's reference. */
static void answer_data(AinCall *call) {
  g_autofree char *model = text_of(ain_call_request(call)->model_id);
  if (strcmp(model, "hang") == 0) {
    ain_call_on_abandon(call, on_abandon, NULL);
    return;
  }
  if (g_str_has_prefix(model, "slow-")) {
    gint64 wait = 1000 * g_ascii_strtoll(model + 5, NULL, 10);
    ain_loop_timer(probe.loop, ain_loop_now() + wait, reply_late, call);
    return;
  }
  if (g_str_has_prefix(model, "big-")) {
    gsize size = g_ascii_strtoull(model + 4, NULL, 10);
    ain_call_reply_blocks(call, 1, &size, fill_pattern, NULL);
  } else {
    reply_data(call);
  }
  ain_call_unref(call);
}

static void answer_registration(AinCall *call) {
  static const guint8 types[] = { 3, 4 };
  g_autofree char *model = text_of(ain_call_request(call)->model_id);
  g_autofree char *uri = text_of(ain_call_request(call)->uri);
  g_autofree char *note = g_strdup_printf("id=%s uri=%s", model, uri);
  const AinModelConfigs configs = { { 96, 2 }, { 48, 2 }, types, types, note };
  ain_call_reply_registered(call, &configs);
}

static void answer_models(AinCall *call) {
  static const AinModelRow rows[] = { { "sundial", "Timer-Sundial", "BUILT-IN", "ACTIVE" },
                                      { "mine", "user", "USER-DEFINED", "INACTIVE" } };
  AinSlice wanted = ain_call_request(call)->model_id;
  if (wanted.data == NULL) {
    ain_call_reply_models(call, rows, G_N_ELEMENTS(rows));
  } else {
    ain_call_reply_models(call, rows, ain_slice_equal(wanted, rows[0].id) ? 1 : 0);
  }
}

static void answer_lists(AinCall *call) {
  static const AinLoadedRow loaded[] = { { "cpu", "sundial", 2 },
                                         { "cpu", "timer_xl", 1 },
                                         { "0", "sundial", 3 } };
  static const AinDeviceRow devices[] = { { "cpu", "cpu" }, { "0", "cuda" } };
  if (ain_call_request(call)->method == AIN_METHOD_SHOW_DEVICES) {
    ain_call_reply_devices(call, devices, G_N_ELEMENTS(devices));
  } else {
    /* naming a device shows only the first rows, those of "cpu" */
    ain_call_reply_loaded_models(call, loaded, ain_call_request(call)->n_devices > 0 ? 2 : 3);
  }
}

static void answer_heartbeat(AinCall *call) {
  static const AinLoadSample sample = { 1.5, 2.5, 3.5, 4.5 };
  if (ain_call_request(call)->need_sampling_load) {
    ain_call_reply_heartbeat(call, "Running", NULL, &sample);
  } else {
    ain_call_reply_heartbeat(call, "Unknown", "starting", NULL);
  }
}

static void answer_unsupported(AinCall *call) {
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_UNSUPPORTED, "training is not offered");
  ain_call_reply_error(call, error);
}

static void answer(AinCall *call) {
  switch (ain_call_request(call)->method) {
  case AIN_METHOD_HEARTBEAT:
    answer_heartbeat(call);
    break;
  case AIN_METHOD_REGISTER_MODEL:
    answer_registration(call);
    break;
  case AIN_METHOD_SHOW_MODELS:
    answer_models(call);
    break;
  case AIN_METHOD_SHOW_LOADED_MODELS:
  case AIN_METHOD_SHOW_DEVICES:
    answer_lists(call);
    break;
  case AIN_METHOD_CREATE_TRAINING:
  case AIN_METHOD_CREATE_TUNING:
    answer_unsupported(call);
    break;
  default:
    ain_call_reply_ok(call, "done");
  }
}

static void handle(AinCall *call, gpointer data) {
  (void)data;
  const AinRequest *request = ain_call_request(call);
  if (request->model_id.data != NULL && ain_slice_equal(request->model_id, "error")) {
    g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND, "there is no such model");
    ain_call_reply_error(call, error);
    ain_call_unref(call);
  } else if (request->method >= AIN_METHOD_INFERENCE && request->method <= AIN_METHOD_CLASSIFY) {
    answer_data(call);
  } else {
    answer(call);
    ain_call_unref(call);
  }
}

static void stdin_event(guint32 events, gpointer data) {
  char bytes[64];
  (void)events;
  (void)data;
  if (read(STDIN_FILENO, bytes, sizeof bytes) == 0) {
    ain_loop_quit(probe.loop);
  }
}

static AinFamily family_of(const char *letter) {
  static const char letters[] = "ACDEFGH";
  const char *place = letter != NULL && *letter != '\0' ? strchr(letters, *letter) : NULL;
  return place != NULL ? (AinFamily)(1U << (place - letters)) : AIN_FAMILY_E;
}

static gboolean start(GError **error) {
  const AinRpcServerConfig config = { .address = probe.address != NULL ? probe.address : "127.0.0.1",
                                      .port = (guint16)probe.port,
                                      .max_frame = (gsize)probe.max_frame,
                                      .frame_timeout_us = 1000 * (gint64)probe.frame_timeout_ms,
                                      .idle_timeout_us = 1000 * (gint64)probe.idle_timeout_ms,
                                      .max_connections = (guint)probe.max_connections,
                                      .max_in_flight = (guint)probe.max_in_flight };
  probe.loop = ain_loop_new(1, error);
  if (probe.loop == NULL) {
    return FALSE;
  }
  probe.server = ain_rpc_server_new(probe.loop, &config, handle, NULL, error);
  if (probe.server == NULL) {
    return FALSE;
  }
  ain_rpc_server_set_release(probe.server, family_of(probe.release));
  return TRUE;
}

int main(int argc, char **argv) {
  const GOptionEntry options[] = {
    { "port", 0, 0, G_OPTION_ARG_INT, &probe.port, "port, 0 for any", NULL },
    { "address", 0, 0, G_OPTION_ARG_STRING, &probe.address, "address to listen on", NULL },
    { "release", 0, 0, G_OPTION_ARG_STRING, &probe.release, "letter of the family", NULL },
    { "max-frame", 0, 0, G_OPTION_ARG_INT, &probe.max_frame, "bytes", NULL },
    { "frame-timeout", 0, 0, G_OPTION_ARG_INT, &probe.frame_timeout_ms, "milliseconds", NULL },
    { "idle-timeout", 0, 0, G_OPTION_ARG_INT, &probe.idle_timeout_ms, "milliseconds", NULL },
    { "max-connections", 0, 0, G_OPTION_ARG_INT, &probe.max_connections, "count", NULL },
    { "max-in-flight", 0, 0, G_OPTION_ARG_INT, &probe.max_in_flight, "count", NULL },
    { NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL },
  };
  g_autoptr(GOptionContext) context = g_option_context_new(NULL);
  g_autoptr(GError) error = NULL;
  g_option_context_add_main_entries(context, options, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error) || !start(&error)) {
    fprintf(stderr, "%s\n", error->message);
    return 1;
  }
  AinLoopFd *watch = ain_loop_watch(probe.loop, STDIN_FILENO, EPOLLIN, stdin_event, NULL);
  printf("port %u\n", ain_rpc_server_port(probe.server));
  fflush(stdout);
  ain_loop_run(probe.loop);
  ain_loop_unwatch(watch);
  ain_rpc_server_free(probe.server);
  ain_loop_free(probe.loop);
  g_free(probe.release);
  g_free(probe.address);
  return 0;
}
