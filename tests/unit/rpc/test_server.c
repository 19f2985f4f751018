/* The server from inside: replies, abandonment, counters, evidence, who may outlive whom. A client thread
 * talks to a loop in the main thread; what peers can do to the server is tested in tests/wire. */
#include "rpc/server.h"

#include "base/error.h"
#include "base/fd.h"
#include "protocol/reader.h"
#include "rpc/writer.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Fixture Fixture;

struct Fixture {
  AinLoop *loop;
  AinRpcServer *server;
  void (*on_call)(Fixture *f, AinCall *call); /* owns the call */
  void (*client)(Fixture *f, int fd);
  GPtrArray *held; /* calls kept by on_call */
  guint abandoned;
  AinFamilies evidence;
};

static void handle(AinCall *call, gpointer data) {
  Fixture *f = data;
  f->on_call(f, call);
}

static void quit(gpointer data) {
  ain_loop_quit(((Fixture *)data)->loop);
}

static void *client_main(void *data) {
  Fixture *f = data;
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(ain_rpc_server_port(f->server)) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ain_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval limit = { .tv_sec = 20 };
  g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), ==, 0);
  g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  f->client(f, fd);
  ain_fd_close(&fd);
  ain_loop_post(f->loop, quit, f);
  return NULL;
}

static AinRpcServerConfig default_config(void) {
  return (AinRpcServerConfig){ .address = "127.0.0.1",
                               .max_frame = 1U << 20,
                               .frame_timeout_us = (gint64)5 * G_USEC_PER_SEC,
                               .max_connections = 100,
                               .max_in_flight = 4 };
}

static void fixture_init(Fixture *f) {
  g_autoptr(GError) error = NULL;
  *f = (Fixture){ 0 };
  f->loop = ain_loop_new(1, &error);
  g_assert_no_error(error);
  AinRpcServerConfig config = default_config();
  f->server = ain_rpc_server_new(f->loop, &config, handle, f, &error);
  g_assert_no_error(error);
  f->held = g_ptr_array_new_with_free_func((GDestroyNotify)ain_call_unref);
}

static void fixture_run(Fixture *f) {
  pthread_t thread;
  g_assert_cmpint(pthread_create(&thread, NULL, client_main, f), ==, 0);
  ain_loop_run(f->loop);
  pthread_join(thread, NULL);
}

static void fixture_clear(Fixture *f) {
  ain_rpc_server_free(f->server);
  g_ptr_array_unref(f->held);
  ain_loop_free(f->loop);
}

/* --- the client's side -----------------------------------------------------------------------------------
 */

static void send_call(int fd, const char *method, gint32 seqid, const char *model) {
  AinWriter w;
  ain_writer_init(&w, AIN_THRIFT_BINARY, NULL, 0);
  ain_writer_message(&w, (AinSlice){ (const guint8 *)method, strlen(method) }, AIN_MESSAGE_CALL, seqid);
  ain_writer_struct_begin(&w);
  if (model != NULL) {
    ain_writer_field(&w, AIN_THRIFT_STRUCT, -1);
    ain_writer_struct_begin(&w);
    ain_writer_field(&w, AIN_THRIFT_STRING, 1);
    ain_writer_string(&w, model);
    ain_writer_field(&w, AIN_THRIFT_STRING, 2);
    ain_writer_string(&w, "data");
    ain_writer_struct_end(&w);
  }
  ain_writer_struct_end(&w);
  g_assert_true(ain_writer_finish(&w));
  g_assert_cmpint(send(fd, w.data, w.size, MSG_NOSIGNAL), ==, (gssize)w.size);
  g_free(w.data);
}

static void receive(int fd, void *bytes, gsize size) {
  g_assert_cmpint(recv(fd, bytes, size, MSG_WAITALL), ==, (gssize)size);
}

/* The reply's message type; *code: of the status where there is one, *seqid as sent. */
static AinMessageType receive_reply(int fd, gint32 *seqid, gint32 *code) {
  guint32 length = 0;
  receive(fd, &length, sizeof length);
  length = GUINT32_FROM_BE(length);
  g_autofree guint8 *bytes = g_malloc(length);
  receive(fd, bytes, length);
  AinReader r;
  AinMessage message;
  AinField field;
  AinField inner;
  ain_reader_init(&r, bytes, length);
  g_assert_true(ain_reader_message(&r, &message));
  *seqid = message.seqid;
  *code = 0;
  g_assert_true(ain_reader_struct(&r, &field));
  g_assert_true(ain_reader_next(&r, &field));
  if (message.type == AIN_MESSAGE_REPLY) {
    g_assert_true(ain_reader_struct(&r, &inner));
    g_assert_true(ain_reader_next(&r, &inner));
    if (inner.type == AIN_THRIFT_STRUCT) { /* a response with a status in it */
      AinField status;
      g_assert_true(ain_reader_struct(&r, &status));
      g_assert_true(ain_reader_next(&r, &status));
      g_assert_true(ain_reader_i32(&r, code));
    } else if (inner.type == AIN_THRIFT_I32) {
      g_assert_true(ain_reader_i32(&r, code));
    }
  }
  return message.type;
}

static void expect_reply(int fd, gint32 seqid, gint32 code) {
  gint32 got_seqid = 0;
  gint32 got_code = 0;
  g_assert_cmpint(receive_reply(fd, &got_seqid, &got_code), ==, AIN_MESSAGE_REPLY);
  g_assert_cmpint(got_seqid, ==, seqid);
  g_assert_cmpint(got_code, ==, code);
}

/* --- replies in the order of the requests ----------------------------------------------------------------
 */

static void hold_three_answer_backwards(Fixture *f, AinCall *call) {
  g_ptr_array_add(f->held, call);
  if (f->held->len < 3) {
    g_assert_cmpuint(ain_rpc_server_unanswered(f->server), ==, f->held->len);
    return;
  }
  for (guint i = 3; i > 0; i--) {
    ain_call_reply_ok(g_ptr_array_index(f->held, i - 1), NULL);
  }
  g_ptr_array_set_size(f->held, 0);
}

static void client_three(Fixture *f, int fd) {
  (void)f;
  for (gint32 i = 1; i <= 3; i++) {
    send_call(fd, "deleteModel", i, "m1");
  }
  for (gint32 i = 1; i <= 3; i++) {
    expect_reply(fd, i, 200);
  }
}

static void test_replies_keep_order(void) {
  Fixture f;
  fixture_init(&f);
  f.on_call = hold_three_answer_backwards;
  f.client = client_three;
  fixture_run(&f);
  g_assert_cmpuint(ain_rpc_server_unanswered(f.server), ==, 0);
  fixture_clear(&f);
}

/* --- more calls than may be in flight, answered by a timer each ------------------------------------------
 */

static void answer_first(gpointer data) {
  Fixture *f = data;
  g_assert_cmpuint(f->held->len, <=, 4); /* max_in_flight */
  ain_call_reply_ok(g_ptr_array_index(f->held, 0), "late");
  g_ptr_array_remove_index(f->held, 0);
}

static void answer_later(Fixture *f, AinCall *call) {
  g_ptr_array_add(f->held, call);
  ain_loop_timer(f->loop, ain_loop_now() + 2000, answer_first, f);
}

static void client_forty(Fixture *f, int fd) {
  (void)f;
  for (gint32 i = 1; i <= 40; i++) {
    send_call(fd, "deleteModel", i, "m1");
  }
  for (gint32 i = 1; i <= 40; i++) {
    expect_reply(fd, i, 200);
  }
}

static void test_in_flight_is_bounded(void) {
  Fixture f;
  fixture_init(&f);
  f.on_call = answer_later;
  f.client = client_forty;
  fixture_run(&f);
  fixture_clear(&f);
}

/* --- a client that goes away -----------------------------------------------------------------------------
 */

static void quit_when_quiet(gpointer data) {
  Fixture *f = data;
  if (ain_rpc_server_unanswered(f->server) == 0) {
    ain_loop_quit(f->loop);
  } else {
    ain_loop_timer(f->loop, ain_loop_now() + 1000, quit_when_quiet, f);
  }
}

/* The bytes go nowhere, and that is fine. */
static void answer_the_absent(gpointer data) {
  Fixture *f = data;
  g_assert_cmpuint(ain_rpc_server_unanswered(f->server), ==, 2);
  for (guint i = 0; i < 2; i++) {
    ain_call_reply_ok(g_ptr_array_index(f->held, i), NULL);
  }
  quit_when_quiet(f);
}

static void note_abandoned(AinCall *call, gpointer data) {
  Fixture *f = data;
  g_assert_true(ain_call_is_abandoned(call));
  f->abandoned++;
  if (f->abandoned == 2) {
    ain_loop_post(f->loop, answer_the_absent, f);
  }
}

static void hold(Fixture *f, AinCall *call) {
  g_assert_false(ain_call_is_abandoned(call));
  g_assert_cmpint(ain_call_arrival(call), >, 0);
  g_assert_cmpint(ain_call_arrival(call), <=, ain_loop_now());
  ain_call_on_abandon(call, note_abandoned, f);
  g_ptr_array_add(f->held, call);
}

static void client_leaves(Fixture *f, int fd) {
  (void)f;
  send_call(fd, "deleteModel", 1, "m1");
  send_call(fd, "deleteModel", 2, "m2");
  usleep(20000);
}

static void *run_client_only(void *data) {
  Fixture *f = data;
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(ain_rpc_server_port(f->server)) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ain_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  f->client(f, fd);
  return NULL;
}

static void test_abandoned_calls(void) {
  Fixture f;
  pthread_t thread;
  fixture_init(&f);
  f.on_call = hold;
  f.client = client_leaves;
  g_assert_cmpint(pthread_create(&thread, NULL, run_client_only, &f), ==, 0);
  ain_loop_run(f.loop);
  pthread_join(thread, NULL);
  g_assert_cmpuint(f.abandoned, ==, 2);
  fixture_clear(&f);
}

/* --- what outlives what ----------------------------------------------------------------------------------
 */

static void *unref_elsewhere(void *call) {
  g_assert_true(ain_call_is_abandoned(call));
  ain_call_unref(call);
  return NULL;
}

static void hold_and_quit(Fixture *f, AinCall *call) {
  g_ptr_array_add(f->held, call);
  ain_call_on_abandon(call, note_abandoned, f);
  ain_loop_quit(f->loop);
}

static void client_waits_for_end(Fixture *f, int fd) {
  (void)f;
  char byte = 0;
  send_call(fd, "inference", 1, "m1");
  g_assert_cmpint(recv(fd, &byte, 1, 0), <=, 0);
}

static void fill_never(guint index, guint8 *dst, gsize size, gpointer data) {
  (void)index;
  (void)dst;
  (void)size;
  (void)data;
  g_assert_not_reached();
}

static void test_call_outlives_server(void) {
  Fixture f;
  pthread_t client;
  pthread_t other;
  fixture_init(&f);
  f.on_call = hold_and_quit;
  f.client = client_waits_for_end;
  g_assert_cmpint(pthread_create(&client, NULL, run_client_only, &f), ==, 0);
  ain_loop_run(f.loop);
  ain_rpc_server_free(f.server);
  f.server = NULL;
  pthread_join(client, NULL);
  g_assert_cmpuint(f.abandoned, ==, 1);
  AinCall *call = ain_call_ref(g_ptr_array_index(f.held, 0));
  g_assert_true(ain_slice_equal(ain_call_request(call)->dataset, "data")); /* the frame is still there */
  gsize size = 10;
  ain_call_reply_blocks(call, 1, &size, fill_never, NULL);
  g_ptr_array_set_size(f.held, 0);
  g_assert_cmpint(pthread_create(&other, NULL, unref_elsewhere, call), ==, 0);
  pthread_join(other, NULL);
  fixture_clear(&f);
}

/* --- evidence for the release ----------------------------------------------------------------------------
 */

static void note_evidence(AinFamilies seen, gpointer data) {
  ((Fixture *)data)->evidence = seen;
}

static void fail_everything(Fixture *f, AinCall *call) {
  static const AinFamilies seen[] = { 0, 0xF8 & AIN_FAMILY_ALL, 0x70 & AIN_FAMILY_ALL,
                                      0x70 & AIN_FAMILY_ALL };
  g_assert_cmphex(f->evidence, ==, seen[f->held->len] & AIN_FAMILY_ALL);
  g_autoptr(GError) error = g_error_new(AIN_ERROR, AIN_ERROR_MODEL_NOT_FOUND, "no such model");
  g_ptr_array_add(f->held, ain_call_ref(call));
  ain_call_reply_error(call, error);
  ain_call_unref(call);
}

/* deleteModel says nothing, showModels E..H, showAIDevices F..H; numbers follow the release that is set. */
static void client_evidence(Fixture *f, int fd) {
  (void)f;
  send_call(fd, "deleteModel", 1, "m1");
  expect_reply(fd, 1, 1505);
  send_call(fd, "showModels", 2, "m1");
  expect_reply(fd, 2, 1505);
  send_call(fd, "showAIDevices", 3, NULL);
  expect_reply(fd, 3, 1504); /* E is set, which has no such method: the newest that has */
  send_call(fd, "deleteModel", 4, "m1");
  expect_reply(fd, 4, 1505);
}

static void test_evidence(void) {
  Fixture f;
  fixture_init(&f);
  f.on_call = fail_everything;
  f.client = client_evidence;
  g_assert_cmpint(ain_rpc_server_release(f.server), ==, AIN_FAMILY_E);
  ain_rpc_server_on_evidence(f.server, note_evidence, &f);
  fixture_run(&f);
  g_assert_cmphex(f.evidence, ==, 0x70); /* F, G, H */
  ain_rpc_server_set_release(f.server, AIN_FAMILY_H);
  g_assert_cmpint(ain_rpc_server_release(f.server), ==, AIN_FAMILY_H);
  fixture_clear(&f);
}

/* --- unknown methods and broken arguments are answered, not dropped --------------------------------------
 */

static void never_called(Fixture *f, AinCall *call) {
  (void)f;
  (void)call;
  g_assert_not_reached();
}

static void client_errors(Fixture *f, int fd) {
  (void)f;
  gint32 seqid = 0;
  gint32 code = 0;
  send_call(fd, "noSuchMethod", 1, "m1");
  g_assert_cmpint(receive_reply(fd, &seqid, &code), ==, AIN_MESSAGE_EXCEPTION);
  g_assert_cmpint(seqid, ==, 1);
  send_call(fd, "deleteModel", 2, NULL);
  expect_reply(fd, 2, 1510);
  send_call(fd, "forecast", 3, "m1"); /* without outputLength */
  expect_reply(fd, 3, 1510);
}

static void test_errors_are_answered(void) {
  Fixture f;
  fixture_init(&f);
  f.on_call = never_called;
  f.client = client_errors;
  fixture_run(&f);
  fixture_clear(&f);
}

/* --- blocks ----------------------------------------------------------------------------------------------
 */

static void fill_pattern(guint index, guint8 *dst, gsize size, gpointer data) {
  guint *calls = data;
  (*calls)++;
  memset(dst, (int)index + 'a', size);
}

static void reply_blocks(Fixture *f, AinCall *call) {
  const gsize sizes[] = { 100, 0, 200000 };
  ain_call_reply_blocks(call, 3, sizes, fill_pattern, &f->abandoned);
  ain_call_unref(call);
}

static void client_blocks(Fixture *f, int fd) {
  (void)f;
  guint32 length = 0;
  send_call(fd, "inference", 1, "m1");
  receive(fd, &length, sizeof length);
  length = GUINT32_FROM_BE(length);
  g_autofree guint8 *bytes = g_malloc(length);
  receive(fd, bytes, length);
  AinReader r;
  AinMessage message;
  AinField field;
  AinField inner;
  guint32 count = 0;
  ain_reader_init(&r, bytes, length);
  g_assert_true(ain_reader_message(&r, &message) && ain_reader_struct(&r, &field)
                && ain_reader_next(&r, &field) && ain_reader_struct(&r, &inner));
  g_assert_true(ain_reader_next(&r, &inner) && ain_reader_skip(&r, inner.type));
  g_assert_true(ain_reader_next(&r, &inner) && ain_reader_list(&r, AIN_THRIFT_STRING, &count));
  g_assert_cmpuint(count, ==, 3);
  const gsize sizes[] = { 100, 0, 200000 };
  for (guint i = 0; i < 3; i++) {
    AinSlice block = { NULL, 0 };
    g_assert_true(ain_reader_string(&r, &block));
    g_assert_cmpuint(block.size, ==, sizes[i]);
    g_assert_true(block.size == 0 || (block.data[0] == 'a' + i && block.data[block.size - 1] == 'a' + i));
  }
  g_assert_false(ain_reader_next(&r, &inner) || ain_reader_next(&r, &field));
  g_assert_true(ain_reader_end(&r));
}

static void test_blocks_are_filled_in_place(void) {
  Fixture f;
  fixture_init(&f);
  f.on_call = reply_blocks;
  f.client = client_blocks;
  fixture_run(&f);
  g_assert_cmpuint(f.abandoned, ==, 3); /* here: calls of fill */
  fixture_clear(&f);
}

/* --- no more newcomers -----------------------------------------------------------------------------------
 */

static void stop_listening_and_answer(Fixture *f, AinCall *call) {
  ain_rpc_server_stop_listening(f->server);
  ain_call_reply_ok(call, NULL);
  ain_call_unref(call);
}

static void client_after_the_door_closed(Fixture *f, int fd) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(ain_rpc_server_port(f->server)) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  send_call(fd, "stopAINode", 1, NULL);
  expect_reply(fd, 1, 200);
  ain_fd int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint(connect(late, (struct sockaddr *)&address, sizeof address), ==, -1);
  send_call(fd, "stopAINode", 2, NULL); /* who is in stays in */
  expect_reply(fd, 2, 200);
}

static void test_stop_listening(void) {
  Fixture f;
  fixture_init(&f);
  f.on_call = stop_listening_and_answer;
  f.client = client_after_the_door_closed;
  fixture_run(&f);
  fixture_clear(&f);
}

/* --- listening -------------------------------------------------------------------------------------------
 */

static void test_port_in_use_names_the_holder(void) {
  Fixture f;
  fixture_init(&f);
  g_autoptr(GError) error = NULL;
  AinRpcServerConfig config = default_config();
  config.port = ain_rpc_server_port(f.server);
  g_autofree char *pid = g_strdup_printf("pid %d ", getpid());
  g_assert_null(ain_rpc_server_new(f.loop, &config, handle, &f, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT);
  g_assert_nonnull(strstr(error->message, pid));
  fixture_clear(&f);
}

static void test_addresses(void) {
  static const struct {
    const char *address;
    gint code; /* 0: works */
  } cases[] = { { "localhost", 0 },
                { "0.0.0.0", 0 },
                { "no such host", AIN_ERROR_INVALID },
                { "203.0.113.1", AIN_ERROR_INVALID } };
  Fixture f;
  fixture_init(&f);
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autoptr(GError) error = NULL;
    AinRpcServerConfig config = default_config();
    config.address = cases[i].address;
    AinRpcServer *server = ain_rpc_server_new(f.loop, &config, handle, &f, &error);
    g_assert_cmpint(error != NULL ? error->code : 0, ==, cases[i].code);
    g_assert_true((server != NULL) == (cases[i].code == 0));
    ain_rpc_server_free(server);
  }
  fixture_clear(&f);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* warnings are part of the job here */
  g_test_add_func("/rpc/server/order", test_replies_keep_order);
  g_test_add_func("/rpc/server/in-flight", test_in_flight_is_bounded);
  g_test_add_func("/rpc/server/abandoned", test_abandoned_calls);
  g_test_add_func("/rpc/server/outlived", test_call_outlives_server);
  g_test_add_func("/rpc/server/evidence", test_evidence);
  g_test_add_func("/rpc/server/errors", test_errors_are_answered);
  g_test_add_func("/rpc/server/blocks", test_blocks_are_filled_in_place);
  g_test_add_func("/rpc/server/stop-listening", test_stop_listening);
  g_test_add_func("/rpc/server/port-in-use", test_port_in_use_names_the_holder);
  g_test_add_func("/rpc/server/addresses", test_addresses);
  return g_test_run();
}
