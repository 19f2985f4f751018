/* The life of a call: references, abandonment, and the way of a reply from its struct to the connection. */
#include "rpc/internal.h"

#include "base/error.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

AinCall *ain_call_new(AinConnection *connection, AinBuffer *frame) {
  AinCall *call = g_new(AinCall, 1);
  memset(call, 0, offsetof(AinCall, store)); /* the store is filled by the decoder */
  call->store.request = (AinRequest){ .method = AIN_METHOD_UNKNOWN, .families = AIN_FAMILY_ALL };
  call->store.more_pairs = NULL;
  call->store.more_devices = NULL;
  call->store.more_order = NULL;
  call->refs = 1;
  call->server = connection->server;
  call->connection = connection;
  call->first = !connection->asked;
  connection->asked = TRUE;
  call->frame = ain_buffer_ref(frame);
  call->server_link.data = call;
  call->queue_link.data = call;
  g_queue_push_tail_link(&call->server->calls, &call->server_link);
  g_queue_push_tail_link(&connection->calls, &call->queue_link);
  return call;
}

const AinRequest *ain_call_request(const AinCall *call) {
  return &call->store.request;
}

AinCall *ain_call_ref(AinCall *call) {
  g_atomic_int_inc(&call->refs);
  return call;
}

void ain_call_unref(AinCall *call) {
  if (call == NULL || !g_atomic_int_dec_and_test(&call->refs)) {
    return;
  }
  ain_rpc_request_clear(&call->store);
  ain_buffer_unref(call->frame);
  g_free(call->out);
  g_free(call);
}

gboolean ain_call_is_abandoned(const AinCall *call) {
  return g_atomic_int_get(&call->abandoned) != 0;
}

void ain_call_on_abandon(AinCall *call, void (*func)(AinCall *call, gpointer data), gpointer data) {
  call->abandon = func;
  call->abandon_data = data;
}

gint64 ain_call_arrival(const AinCall *call) {
  return call->arrival;
}

gboolean ain_call_is_first(const AinCall *call) {
  return call->first;
}

/* Address of the peer without its port, as bytes; 0 when it is not known. */
static gsize peer_host(const AinConnection *connection, guint8 host[16]) {
  struct sockaddr_storage peer = { 0 };
  socklen_t size = sizeof peer;
  if (connection->fd < 0 || getpeername(connection->fd, (struct sockaddr *)&peer, &size) != 0) {
    return 0;
  }
  if (peer.ss_family == AF_INET) {
    memcpy(host, &((const struct sockaddr_in *)&peer)->sin_addr, 4);
    return 4;
  }
  if (peer.ss_family == AF_INET6) {
    memcpy(host, &((const struct sockaddr_in6 *)&peer)->sin6_addr, 16);
    return 16;
  }
  return 0;
}

gboolean ain_call_may_repeat(const AinCall *again, const AinCall *earlier) {
  const AinConnection *from = again->connection;
  const AinConnection *old = earlier->connection;
  if (!again->first || from == NULL || old == NULL || from == old || old->calls.tail->data != earlier) {
    return FALSE;
  }
  guint8 host[16];
  guint8 old_host[16];
  gsize size = peer_host(from, host);
  return size > 0 && peer_host(old, old_host) == size && memcmp(host, old_host, size) == 0;
}

void ain_call_mark_abandoned(AinCall *call) {
  if (call->answered || ain_call_is_abandoned(call)) {
    return;
  }
  g_atomic_int_set(&call->abandoned, 1);
  if (call->abandon != NULL) {
    call->abandon(call, call->abandon_data);
  }
}

void ain_call_finish(AinCall *call) {
  AinRpcServer *server = call->server;
  if (call->connection != NULL) {
    g_queue_unlink(&call->connection->calls, &call->queue_link);
    call->connection = NULL;
  }
  if (server == NULL) {
    return;
  }
  g_queue_unlink(&server->calls, &call->server_link);
  ain_server_give_out(server, g_steal_pointer(&call->out), call->out_capacity);
  call->server = NULL;
  ain_call_unref(call);
}

gboolean ain_call_reply_begin(AinCall *call, AinWriter *writer, gsize estimate) {
  if (call->answered) {
    g_critical("a call of %s was answered twice", ain_rpc_method_name(call->store.request.method));
    return FALSE;
  }
  call->answered = TRUE;
  if (call->server == NULL) {
    return FALSE;
  }
  if (call->connection == NULL) {
    ain_call_finish(call);
    return FALSE;
  }
  if (call->oneway) {
    ain_connection_flush(call->connection); /* an empty reply: it may be what others wait behind */
    return FALSE;
  }
  guint8 *out = estimate <= AIN_BUFFER_SIZE ? ain_server_take_out(call->server) : NULL;
  ain_writer_init(writer, call->protocol, out, out != NULL ? AIN_BUFFER_SIZE : 0);
  ain_writer_reserve(writer, MIN(estimate, AIN_WRITER_MAX / 2));
  return TRUE;
}

void ain_call_reply_end(AinCall *call, AinWriter *writer) {
  if (!ain_writer_finish(writer)) {
    g_free(writer->data);
    g_autoptr(GError) error = NULL;
    if (writer->starved) {
      ain_error_set_os(&error, ENOMEM, "cannot hold the answer");
    } else {
      g_set_error(&error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                  "the answer has more than the %u bytes that a frame may have; ask for fewer rows",
                  AIN_WRITER_MAX);
    }
    call->answered = FALSE;
    ain_call_reply_error(call, error);
    return;
  }
  call->out = writer->data;
  call->out_capacity = writer->capacity;
  call->out_size = writer->size;
  ain_connection_flush(call->connection);
}
