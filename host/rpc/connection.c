/* One peer: reads frames, hands out calls, sends replies in the order of the requests.
 *
 * The descriptor is watched level-triggered. One recv() takes what fits; frames that lie whole in its buffer
 * are handed out where they lie. Only the start of a longer one is moved, once, into a buffer that then grows
 * with the bytes that really come. Nothing is closed inside a reply or a handler: a failed send only marks
 * the connection, and its next event closes it. */
#include "rpc/internal.h"

#include "base/error.h"

#include <errno.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LENGTH_BYTES 4
#define FIRST_PARTIAL 1024      /* a half-sent small frame holds no more than this */
#define READ_PER_EVENT 1048576U /* bytes of one peer before the others get their turn */
#define SEND_AT_ONCE 32         /* replies in one system call */
#define SEND_PER_CALL 4194304U  /* bytes the kernel is offered at a time */

static void event(guint32 events, gpointer data);

/* --- interest and lists ----------------------------------------------------------------------------------
 */

static void update_interest(AinConnection *c, gboolean come_back) {
  guint32 wanted = c->at_end ? 0 : EPOLLRDHUP;
  if (!c->at_end && !c->paused) {
    wanted |= EPOLLIN;
  }
  if (c->blocked || come_back) {
    wanted |= EPOLLOUT;
  }
  if (c->fd >= 0 && wanted != c->interest) {
    c->interest = wanted;
    ain_loop_watch_change(c->watch, wanted);
  }
}

static void update_waits(AinConnection *c) {
  gboolean quiet = g_queue_is_empty(&c->calls);
  ain_server_wait(c, AIN_WAIT_WRITE, c->blocked || (c->at_end && !quiet));
  ain_server_wait(c, AIN_WAIT_IDLE, quiet && c->in == NULL);
}

void ain_connection_new(AinRpcServer *server, int fd, AinTls *tls) {
  AinConnection *c = g_new0(AinConnection, 1);
  c->server = server;
  c->fd = fd;
  c->tls = tls;
  c->unread = tls != NULL; /* the first request may have come with the handshake's last message */
  c->link.data = c;
  g_queue_push_tail_link(&server->connections, &c->link);
  for (guint i = 0; i < AIN_N_WAITS; i++) {
    c->wait_link[i].data = c;
  }
  c->interest = EPOLLIN | EPOLLRDHUP | (c->unread ? EPOLLOUT : 0U);
  c->watch = ain_loop_watch(server->loop, fd, c->interest, event, c);
  ain_server_wait(c, AIN_WAIT_IDLE, TRUE);
  ain_server_wait(c, AIN_WAIT_FIRST, TRUE);
}

static void release_input(AinConnection *c) {
  g_clear_pointer(&c->in, ain_buffer_unref);
  c->in_at = 0;
  c->in_size = 0;
}

/* Takes the calls off first and tells their owners afterwards: a callback may answer any of them. */
static void abandon_calls(AinConnection *c, gboolean detach) {
  g_autoptr(GPtrArray) calls = g_ptr_array_new_with_free_func((GDestroyNotify)ain_call_unref);
  for (GList *link = c->calls.head; link != NULL; link = link->next) {
    g_ptr_array_add(calls, ain_call_ref(link->data));
  }
  for (guint i = 0; i < calls->len && detach; i++) {
    AinCall *call = g_ptr_array_index(calls, i);
    g_queue_unlink(&c->calls, &call->queue_link);
    call->connection = NULL;
    if (call->answered) {
      ain_call_finish(call);
    }
  }
  for (guint i = 0; i < calls->len; i++) {
    ain_call_mark_abandoned(g_ptr_array_index(calls, i));
  }
}

void ain_connection_farewell(AinConnection *c) {
  static const guint8 negative_size[4] = { 0xff, 0xff, 0xff, 0xff };
  gboolean idle = c->protocol_known && g_queue_is_empty(&c->calls) && c->in == NULL && !c->at_end;
  if (c->fd >= 0 && idle) {
    ssize_t sent = c->tls != NULL
                       ? ain_tls_write(c->tls, negative_size, sizeof negative_size)
                       : send(c->fd, negative_size, sizeof negative_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* a courtesy */
  }
}

void ain_connection_close(AinConnection *c) {
  if (c->fd >= 0) {
    ain_loop_unwatch(c->watch);
    g_clear_pointer(&c->tls, ain_tls_free);
    close(c->fd);
    c->fd = -1;
    for (guint i = 0; i < AIN_N_WAITS; i++) {
      ain_server_wait(c, (AinWait)i, FALSE);
    }
    g_queue_unlink(&c->server->connections, &c->link);
    release_input(c);
    if (!g_queue_is_empty(&c->calls)) {
      abandon_calls(c, TRUE);
    }
  }
  if (!c->busy) {
    g_free(c);
  }
}

void ain_connection_refuse(AinConnection *c, const char *reason) {
  if (c->fd >= 0) {
    ain_server_log_refusal(c->server, c->fd, reason);
  }
  ain_connection_close(c);
}

/* --- output ----------------------------------------------------------------------------------------------
 */

static guint gather(AinConnection *c, struct iovec *parts, gsize *total) {
  guint n_parts = 0;
  *total = 0;
  for (GList *link = c->calls.head; link != NULL && n_parts < SEND_AT_ONCE && *total < SEND_PER_CALL;
       link = link->next) {
    AinCall *call = link->data;
    if (!call->answered) {
      break;
    }
    gsize left = MIN(call->out_size - call->out_sent, SEND_PER_CALL);
    parts[n_parts++] = (struct iovec){ call->out + call->out_sent, left };
    *total += left;
    if (call->out_sent + left < call->out_size) {
      break;
    }
  }
  return n_parts;
}

static void take_sent(AinConnection *c, gsize sent) {
  for (GList *link = c->calls.head; link != NULL;) {
    AinCall *call = link->data;
    if (!call->answered) {
      return;
    }
    gsize part = MIN(sent, call->out_size - call->out_sent);
    call->out_sent += part;
    sent -= part;
    if (call->out_sent < call->out_size) {
      return;
    }
    link = link->next;
    ain_call_finish(call);
  }
}

/* One part after the other, as sendmsg() counts them: what was written before a failure is no failure. */
static ssize_t send_encrypted(AinConnection *c, const struct iovec *parts, guint n_parts) {
  gsize total = 0;
  for (guint i = 0; i < n_parts; i++) {
    const guint8 *data = parts[i].iov_base;
    for (gsize at = 0; at < parts[i].iov_len;) {
      gssize sent = ain_tls_write(c->tls, data + at, parts[i].iov_len - at);
      if (sent < 0) {
        return total > 0 && errno == EAGAIN ? (ssize_t)total : -1;
      }
      at += (gsize)sent;
      total += (gsize)sent;
    }
  }
  return (ssize_t)total;
}

static ssize_t send_parts(AinConnection *c, struct iovec *parts, guint n_parts) {
  if (c->tls != NULL) {
    return send_encrypted(c, parts, n_parts);
  }
  struct msghdr message = { .msg_iov = parts, .msg_iovlen = n_parts };
  ssize_t sent = 0;
  do {
    sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

/* TRUE when there may be more to send at once. */
static gboolean send_some(AinConnection *c) {
  struct iovec parts[SEND_AT_ONCE];
  gsize total = 0;
  guint n_parts = gather(c, parts, &total);
  if (n_parts == 0) {
    return FALSE;
  }
  ssize_t sent = total > 0 ? send_parts(c, parts, n_parts) : 0;
  if (sent < 0) {
    c->blocked = errno == EAGAIN || errno == EWOULDBLOCK;
    c->broken = !c->blocked;
    return FALSE;
  }
  if (sent > 0) {
    ain_server_wait(c, AIN_WAIT_WRITE, FALSE); /* progress: its deadline starts anew */
  }
  take_sent(c, (gsize)sent);
  c->blocked = (gsize)sent < total;
  return !c->blocked;
}

void ain_connection_flush(AinConnection *c) {
  if (c->busy || c->fd < 0 || c->broken) {
    return;
  }
  while (!c->blocked && send_some(c)) {
  }
  gboolean room = c->paused && c->calls.length < c->server->config.max_in_flight;
  gboolean over = c->at_end && g_queue_is_empty(&c->calls);
  update_waits(c);
  /* What is left to do could run a handler or close: that belongs into an event of its own. */
  update_interest(c, room || over || c->broken || (c->unread && !c->paused));
}

/* --- input -----------------------------------------------------------------------------------------------
 */

/* What a peer may be that begins with these four bytes, which are no length. */
static const char *hint_of(guint32 length) {
  if (length >> 16 == 0x8001 || length >> 24 == 0x82) {
    return "; this looks like Thrift without framing";
  }
  if (length >> 16 == 0x1603) {
    return "; this looks like TLS, which is off here (ain_internal_ssl_enabled)";
  }
  if (g_ascii_isupper((gchar)(length >> 24)) && g_ascii_isupper((gchar)(length >> 16))) {
    return "; this looks like HTTP";
  }
  return "";
}

static void refuse_length(AinConnection *c, guint32 length) {
  g_autofree char *reason =
      g_strdup_printf("a frame of %u bytes was announced, between 1 and %" G_GSIZE_FORMAT " are accepted%s",
                      length, c->server->config.max_frame, hint_of(length));
  ain_connection_refuse(c, reason);
}

static gboolean check_protocol(AinConnection *c, guint32 length, guint8 first) {
  AinThriftProtocol protocol = AIN_THRIFT_BINARY;
  if (!ain_reader_protocol_of(first, &protocol)) {
    g_autofree char *reason =
        g_strdup_printf("a message starts with byte 0x%02x, which is neither Thrift's strict binary (0x80) "
                        "nor its compact protocol (0x82)%s",
                        first, hint_of(length));
    ain_connection_refuse(c, reason);
    return FALSE;
  }
  if (c->protocol_known && protocol != c->protocol) {
    ain_connection_refuse(c, "the protocol changed between two messages");
    return FALSE;
  }
  c->protocol = protocol;
  c->protocol_known = TRUE;
  return TRUE;
}

static void dispatch(AinConnection *c, const guint8 *data, gsize size, gint64 now) {
  AinRpcServer *server = c->server;
  AinReader reader;
  AinMessage message;
  ain_reader_init(&reader, data, size);
  if (!ain_reader_message(&reader, &message)
      || (message.type != AIN_MESSAGE_CALL && message.type != AIN_MESSAGE_ONEWAY)) {
    g_autofree char *reason = ain_reader_ok(&reader) ? g_strdup("it sent a reply instead of a request")
                                                     : ain_reader_failure(&reader);
    ain_connection_refuse(c, reason);
    return;
  }
  AinCall *call = ain_call_new(c, c->in);
  call->method_name = message.name;
  call->protocol = reader.protocol;
  call->seqid = message.seqid;
  call->oneway = message.type == AIN_MESSAGE_ONEWAY;
  call->arrival = now;
  ain_server_wait(c, AIN_WAIT_IDLE, FALSE);
  ain_server_wait(c, AIN_WAIT_FIRST, FALSE);
  AinMethod method = ain_rpc_method_of(message.name);
  if (method == AIN_METHOD_UNKNOWN) {
    ain_call_reply_unknown_method(call);
    return;
  }
  g_autoptr(GError) error = NULL;
  if (!ain_rpc_decode(&reader, method, server->release, &call->store, &error)) {
    if (ain_server_may_log(server)) {
      g_warning("%s", error->message);
    }
    ain_call_reply_error(call, error);
    return;
  }
  ain_server_note_families(server, call->store.request.families);
  server->handler(ain_call_ref(call), server->handler_data);
}

/* The whole size of the frame whose bytes start at in_at: 0 when its length is not there yet, or the
 * connection was refused. */
static gsize frame_size(AinConnection *c) {
  const guint8 *start = c->in->data + c->in_at;
  gsize available = c->in_size - c->in_at;
  guint32 length = 0;
  if (available < LENGTH_BYTES) {
    return 0;
  }
  memcpy(&length, start, sizeof length);
  length = GUINT32_FROM_BE(length);
  if (length == 0 || length > c->server->config.max_frame) {
    refuse_length(c, length);
    return 0;
  }
  if (available > LENGTH_BYTES && !check_protocol(c, length, start[LENGTH_BYTES])) {
    return 0;
  }
  return LENGTH_BYTES + (gsize)length;
}

/* Gives the bytes of a begun frame a buffer of their own: small at first, so that a length alone costs
 * nothing, and a multiple of what has come later. */
static void make_room(AinConnection *c, gsize frame) {
  gsize have = c->in_size - c->in_at;
  gboolean alone = c->in->sized && c->in_at == 0 && !ain_buffer_is_shared(c->in);
  if (alone && c->in_size < c->in->capacity) {
    return;
  }
  gsize wanted = MAX(have * 4, FIRST_PARTIAL);
  gsize capacity = frame == 0 ? wanted : MAX(MIN(wanted, frame), have);
  AinBuffer *room =
      alone ? ain_buffer_resize(c->in, capacity) : ain_buffer_new_sized(c->server->pool, capacity);
  if (room == NULL) {
    ain_connection_refuse(c, "all memory for requests is in use");
    return;
  }
  if (!alone) {
    memcpy(room->data, c->in->data + c->in_at, have);
    release_input(c);
  }
  c->in = room;
  c->in_at = 0;
  c->in_size = have;
}

/* Hands out the whole frames that are there, then sees to the rest. */
static void take_frames(AinConnection *c, gint64 now) {
  gboolean handed_out = FALSE;
  gsize frame = 0;
  while (c->in != NULL && c->in_at < c->in_size) {
    frame = frame_size(c);
    if (c->fd < 0) {
      return;
    }
    if (frame == 0 || c->in_size - c->in_at < frame) {
      break;
    }
    if (c->calls.length >= c->server->config.max_in_flight) {
      c->paused = TRUE;
      ain_server_wait(c, AIN_WAIT_FRAME, FALSE); /* it is we who do not read on */
      return;
    }
    const guint8 *message = c->in->data + c->in_at + LENGTH_BYTES;
    c->in_at += frame;
    dispatch(c, message, frame - LENGTH_BYTES, now);
    handed_out = TRUE;
    if (c->fd < 0) {
      return;
    }
  }
  if (handed_out) {
    ain_server_wait(c, AIN_WAIT_FRAME, FALSE); /* the next frame has its own deadline */
  }
  if (c->in_at == c->in_size) {
    release_input(c);
    return;
  }
  ain_server_wait(c, AIN_WAIT_FRAME, TRUE);
  make_room(c, frame);
}

static void see_end(AinConnection *c) {
  c->at_end = TRUE;
  ain_server_wait(c, AIN_WAIT_FRAME, FALSE);
  release_input(c);
  abandon_calls(c, FALSE);
}

static void read_failed(AinConnection *c, int failure) {
  c->broken = failure != EAGAIN && failure != EWOULDBLOCK && failure != EINTR;
  if (c->tls != NULL && !c->broken && (ain_tls_events(c->tls) & EPOLLOUT) != 0) {
    c->unread = c->blocked = TRUE; /* TLS has to answer before it reads on */
  } else if (c->tls != NULL && failure == EPROTO) {
    ain_server_log_refusal(c->server, c->fd, ain_tls_failure(c->tls));
  }
  if (c->in_size == 0) {
    release_input(c);
  }
}

static void read_some(AinConnection *c) {
  gsize total = 0;
  c->unread = FALSE;
  while (c->fd >= 0 && !c->paused && !c->at_end && total < READ_PER_EVENT) {
    if (c->in == NULL) {
      c->in = ain_buffer_new(c->server->pool);
    }
    gsize space = c->in->capacity - c->in_size;
    guint8 *to = c->in->data + c->in_size;
    ssize_t got = c->tls != NULL ? ain_tls_read(c->tls, to, space) : recv(c->fd, to, space, MSG_DONTWAIT);
    if (got == 0) {
      see_end(c);
      return;
    }
    if (got < 0) {
      read_failed(c, errno);
      return;
    }
    c->in_size += (gsize)got;
    total += (gsize)got;
    take_frames(c, ain_loop_now());
    if (c->tls != NULL ? c->fd >= 0 && !ain_tls_may_read(c->tls) : (gsize)got < space) {
      return; /* the kernel has no more: one system call less */
    }
  }
  c->unread = c->tls != NULL && !c->at_end;
}

static void resume(AinConnection *c) {
  if (c->paused && c->calls.length < c->server->config.max_in_flight) {
    c->paused = FALSE;
    if (c->in != NULL) {
      take_frames(c, ain_loop_now());
    }
  }
}

static void event(guint32 events, gpointer data) {
  AinConnection *c = data;
  c->busy = TRUE;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    c->broken = TRUE;
  }
  if ((events & EPOLLOUT) != 0) {
    c->blocked = FALSE;
  }
  if (!c->broken) {
    resume(c);
    if (c->fd >= 0 && ((events & EPOLLIN) != 0 || (c->unread && !c->paused))) {
      read_some(c);
    } else if (c->fd >= 0 && (events & EPOLLRDHUP) != 0 && !c->at_end) {
      see_end(c); /* reading is paused; what it sent before is not worth an answer any more */
    }
  }
  c->busy = FALSE;
  if (c->fd < 0) {
    g_free(c);
    return;
  }
  ain_connection_flush(c);
  if (c->broken || (c->at_end && g_queue_is_empty(&c->calls))) {
    ain_connection_close(c);
  }
}
