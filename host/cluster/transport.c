#include "cluster/transport.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/loop.h"
#include "cluster/reply_check.h"
#include "cluster/resolve.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER 4
/* A reply names the cluster's nodes: 1,000 nodes take some 200 KB. */
#define MAX_REPLY (16U << 20)
#define LARGEST_FRAME (512U << 20) /* that IoTDB's servers write by default */
#define FIRST_READ (64U << 10)

struct _AinTransport {
  ThriftTransport parent;
  AinTransportLimits limits;
  int fd;
  AinTls *tls; /* NULL without TLS */
  char *address;
  gboolean was_sent;
  GByteArray *out; /* room for the length, then the request being written */
  guint8 *frame;   /* the reply being read by generated code */
  gsize frame_size;
  gsize frame_offset;
};

typedef struct {
  ThriftTransportClass parent;
} AinTransportClass;

static GType ain_transport_get_type(void);
G_DEFINE_TYPE(AinTransport, ain_transport, THRIFT_TYPE_TRANSPORT)
#define AIN_TRANSPORT(object) (G_TYPE_CHECK_INSTANCE_CAST((object), ain_transport_get_type(), AinTransport))

/* --- the ThriftTransport interface; the signatures are c_glib's */

static gboolean transport_is_open(ThriftTransport *transport) {
  return AIN_TRANSPORT(transport)->fd >= 0;
}

static gboolean transport_open(ThriftTransport *transport, GError **error) {
  if (!transport_is_open(transport)) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_INTERNAL, "a closed transport cannot be opened again");
    return FALSE;
  }
  return TRUE;
}

static void hang_up(AinTransport *self) {
  g_clear_pointer(&self->tls, ain_tls_free);
  ain_fd_close(&self->fd);
}

static gboolean transport_close(ThriftTransport *transport, GError **error) {
  (void)error;
  hang_up(AIN_TRANSPORT(transport));
  return TRUE;
}

/* Never the socket: only what was received and checked. */
static gint32 transport_read(ThriftTransport *transport, gpointer data, guint32 size, GError **error) {
  AinTransport *self = AIN_TRANSPORT(transport);
  if (size > self->frame_size - self->frame_offset || size > G_MAXINT32) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_MALFORMED, "the answer ends early");
    return -1;
  }
  if (size > 0) {
    memcpy(data, self->frame + self->frame_offset, size);
  }
  self->frame_offset += size;
  return (gint32)size;
}

static gboolean transport_write(ThriftTransport *transport, const gpointer data, const guint32 size,
                                GError **error) {
  (void)error;
  g_byte_array_append(AIN_TRANSPORT(transport)->out, data, size);
  return TRUE;
}

static gboolean transport_end(ThriftTransport *transport, GError **error) {
  (void)transport;
  (void)error;
  return TRUE;
}

static gboolean lost(const AinTransport *self, GError **error, int errno_value, const char *doing) {
  gboolean by_tls = self->tls != NULL && errno_value == EPROTO;
  g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "%s: %s", doing,
              by_tls ? ain_tls_failure(self->tls) : g_strerror(errno_value));
  return FALSE;
}

static ssize_t io_send(AinTransport *self, const guint8 *data, gsize size) {
  return self->tls == NULL ? send(self->fd, data, size, MSG_NOSIGNAL) : ain_tls_write(self->tls, data, size);
}

static ssize_t io_receive(AinTransport *self, guint8 *data, gsize size) {
  return self->tls == NULL ? recv(self->fd, data, size, 0) : ain_tls_read(self->tls, data, size);
}

/* ain_cluster_wait() with the sentence for a peer that is too slow. */
static gboolean wait_io(AinTransport *self, short events, gint64 deadline, const char *too_slow,
                        GError **error) {
  g_autoptr(GError) waited = NULL;
  if (self->tls != NULL) {
    events = (short)ain_tls_events(self->tls);
  }
  if (ain_cluster_wait(self->fd, events, deadline, self->limits.cancel_fd, &waited)) {
    return TRUE;
  }
  if (g_error_matches(waited, AIN_ERROR, AIN_ERROR_TIMEOUT)) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, too_slow);
  } else {
    g_propagate_error(error, g_steal_pointer(&waited));
  }
  return FALSE;
}

static gint64 io_deadline(const AinTransport *self) {
  return MIN(ain_loop_now() + self->limits.reply_us, self->limits.deadline);
}

/* Who refuses this node's certificate says so behind a handshake that is done on this side (TLS 1.3), and
 * hangs up: what it said may lie there unread. */
static gboolean lost_request(AinTransport *self, int errno_value, GError **error) {
  guint8 byte = 0;
  if (self->tls != NULL && ain_tls_read(self->tls, &byte, 1) < 0 && errno == EPROTO) {
    errno_value = EPROTO;
  }
  gboolean hung_up = self->tls != NULL && errno_value != EPROTO;
  return lost(self, error, errno_value,
              hung_up ? "the request could not be sent, perhaps for this node's certificate"
                      : "the request could not be sent");
}

static gboolean send_all(AinTransport *self, const guint8 *data, gsize size, GError **error) {
  gint64 deadline = io_deadline(self);
  while (size > 0) {
    ssize_t count = io_send(self, data, size);
    if (count >= 0) {
      self->was_sent = TRUE;
      data += count;
      size -= (gsize)count;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_io(self, POLLOUT, deadline, "it does not take the request", error)) {
        return FALSE;
      }
    } else if (errno != EINTR) {
      return lost_request(self, errno, error);
    }
  }
  return TRUE;
}

static void reset_out(AinTransport *self) {
  g_byte_array_set_size(self->out, HEADER);
}

static gboolean transport_flush(ThriftTransport *transport, GError **error) {
  AinTransport *self = AIN_TRANSPORT(transport);
  guint32 length = GUINT32_TO_BE(self->out->len - HEADER);
  memcpy(self->out->data, &length, HEADER);
  gboolean sent = send_all(self, self->out->data, self->out->len, error);
  reset_out(self);
  return sent;
}

static void transport_finalize(GObject *object) {
  AinTransport *self = AIN_TRANSPORT(object);
  hang_up(self);
  g_free(self->address);
  g_free(self->frame);
  g_byte_array_unref(self->out);
  G_OBJECT_CLASS(ain_transport_parent_class)->finalize(object);
}

static void ain_transport_class_init(AinTransportClass *class) {
  ThriftTransportClass *transport = THRIFT_TRANSPORT_CLASS(class);
  G_OBJECT_CLASS(class)->finalize = transport_finalize;
  transport->is_open = transport_is_open;
  transport->open = transport_open;
  transport->close = transport_close;
  transport->read = transport_read;
  transport->read_end = transport_end;
  transport->write = transport_write;
  transport->write_end = transport_end;
  transport->flush = transport_flush;
}

static void ain_transport_init(AinTransport *self) {
  self->fd = -1;
  self->out = g_byte_array_new();
  reset_out(self);
}

/* --- connecting */

/* A loopback connect to a port of the ephemeral range can meet itself: nobody listens there. */
static gboolean is_self_connected(int fd) {
  struct sockaddr_storage own = { 0 };
  struct sockaddr_storage peer = { 0 };
  socklen_t own_size = sizeof own;
  socklen_t peer_size = sizeof peer;
  return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0
         && getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 && own_size == peer_size
         && memcmp(&own, &peer, own_size) == 0;
}

/* A connected, non-blocking socket or -1. Errors: UNREACHABLE with the bare reason, CANCELLED. */
static int connect_one(const struct addrinfo *address, gint64 deadline, int cancel_fd, GError **error) {
  ain_fd int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int failed = 0;
  if (fd < 0 || (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS)) {
    failed = errno;
  } else {
    g_autoptr(GError) waited = NULL;
    socklen_t size = sizeof failed;
    if (ain_cluster_wait(fd, POLLOUT, deadline, cancel_fd, &waited)) {
      if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0) {
        failed = errno;
      } else if (failed == 0 && is_self_connected(fd)) {
        failed = ECONNREFUSED;
      }
    } else if (g_error_matches(waited, AIN_ERROR, AIN_ERROR_TIMEOUT)) {
      failed = ETIMEDOUT;
    } else {
      g_propagate_error(error, g_steal_pointer(&waited));
      return -1;
    }
  }
  if (failed != 0) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, g_strerror(failed));
    return -1;
  }
  int one = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* only a matter of speed */
  return ain_fd_steal(&fd);
}

static int connect_any(const struct addrinfo *addresses, const char *name, gint64 deadline, int cancel_fd,
                       char **used, GError **error) {
  guint left = 0;
  for (const struct addrinfo *at = addresses; at != NULL; at = at->ai_next) {
    left++;
  }
  g_autoptr(GString) reasons = g_string_new(NULL);
  for (const struct addrinfo *at = addresses; at != NULL; at = at->ai_next, left--) {
    g_autofree char *address = ain_cluster_address_text(at->ai_addr, at->ai_addrlen);
    g_autoptr(GError) failed = NULL;
    gint64 now = ain_loop_now();
    /* One address that swallows packets must not use up the time of the others. */
    int fd = connect_one(at, now + (deadline - now) / left, cancel_fd, &failed);
    if (fd >= 0) {
      *used = g_steal_pointer(&address);
      return fd;
    }
    if (g_error_matches(failed, AIN_ERROR, AIN_ERROR_CANCELLED)) {
      g_propagate_error(error, g_steal_pointer(&failed));
      return -1;
    }
    gboolean is_news = strcmp(address, name) != 0;
    g_string_append_printf(reasons, "%s%s%s%s", reasons->len > 0 ? "; " : "", is_news ? address : "",
                           is_news ? ": " : "", failed != NULL ? failed->message : "failed");
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "cannot connect (%s)", reasons->str);
  return -1;
}

AinTlsContext *ain_transport_tls(const AinConfig *config, GError **error) {
  AinTlsFiles files = { .cert_file = config->ssl_cert_file,
                        .key_file = config->ssl_key_file,
                        .ca_file = config->ssl_ca_file,
                        .verify_host = config->ssl_verify_host };
  return ain_tls_client_new(&files, error);
}

static gboolean shake_hands(AinTransport *self, gint64 deadline, GError **error) {
  for (;;) {
    AinTlsStep step = ain_tls_handshake(self->tls);
    if (step == AIN_TLS_DONE) {
      return TRUE;
    }
    if (step == AIN_TLS_FAILED) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "no TLS connection: %s",
                  ain_tls_failure(self->tls));
      return FALSE;
    }
    if (!wait_io(self, POLLIN, deadline,
                 "no TLS connection: it does not answer the handshake; perhaps it speaks no TLS", error)) {
      return FALSE;
    }
  }
}

AinTransport *ain_transport_connect(const AinEndpoint *peer, const AinTransportLimits *limits,
                                    GError **error) {
  gint64 deadline = MIN(ain_loop_now() + limits->connect_us, limits->deadline);
  struct addrinfo *addresses =
      ain_cluster_resolve(peer->host, peer->port, deadline, limits->cancel_fd, error);
  if (addresses == NULL) {
    return NULL;
  }
  g_autofree char *used = NULL;
  g_autofree char *name = ain_cluster_endpoint_text(peer->host, peer->port);
  int fd = connect_any(addresses, name, deadline, limits->cancel_fd, &used, error);
  freeaddrinfo(addresses);
  if (fd < 0) {
    return NULL;
  }
  g_autoptr(AinTransport) self = g_object_new(ain_transport_get_type(), NULL);
  self->limits = *limits;
  self->limits.max_reply = limits->max_reply > 0 ? limits->max_reply : MAX_REPLY;
  self->limits.peer = limits->peer != NULL ? limits->peer : "ConfigNode";
  self->limits.tls = NULL; /* was borrowed */
  self->fd = fd;
  self->address = g_steal_pointer(&used);
  if (limits->tls != NULL) {
    self->tls = ain_tls_new(limits->tls, fd, peer->host);
    if (!shake_hands(self, deadline, error)) {
      return NULL;
    }
  }
  return g_steal_pointer(&self);
}

const char *ain_transport_address(const AinTransport *transport) {
  return transport->address;
}

void ain_transport_set_deadline(AinTransport *transport, gint64 deadline) {
  transport->limits.deadline = deadline;
}

gboolean ain_transport_was_sent(const AinTransport *transport) {
  return transport->was_sent;
}

/* --- receiving */

static gboolean ended(AinTransport *self, gsize got, gsize size, GError **error) {
  if (got == 0 && size == HEADER) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_UNREACHABLE,
                        "it closed the connection without an answer");
  } else {
    g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE,
                "it closed the connection in the middle of its answer, %" G_GSIZE_FORMAT
                " bytes short of at least %" G_GSIZE_FORMAT,
                size - got, size);
  }
  hang_up(self);
  return FALSE;
}

static gboolean receive_exactly(AinTransport *self, guint8 *data, gsize size, gint64 deadline,
                                GError **error) {
  gsize got = 0;
  while (got < size) {
    ssize_t count = io_receive(self, data + got, size - got);
    if (count > 0) {
      got += (gsize)count;
    } else if (count == 0 || errno == ECONNRESET) {
      return ended(self, got, size, error);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_io(self, POLLIN, deadline, "it took the request but did not answer in time", error)) {
        return FALSE;
      }
    } else if (errno != EINTR) {
      return lost(self, error, errno, "its answer could not be read");
    }
  }
  return TRUE;
}

static gboolean is_tls_record(const guint8 header[HEADER]) {
  return header[0] >= 0x14 && header[0] <= 0x17 && header[1] == 3;
}

/* The four bytes are no length of ours: says what they and their successors look like. */
static gboolean not_framed(AinTransport *self, const guint8 header[HEADER], GError **error) {
  guint8 text[80];
  memcpy(text, header, HEADER);
  ssize_t more = io_receive(self, text + HEADER, sizeof text - HEADER);
  gsize size = HEADER + (gsize)MAX(more, 0);
  gboolean is_text = TRUE;
  for (guint i = 0; i < HEADER; i++) {
    is_text = is_text && (g_ascii_isprint(header[i]) || g_ascii_isspace(header[i]));
  }
  if (is_text) {
    g_autofree char *quoted = ain_reply_printable((const char *)text, size);
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "it is not a %s: it answered \"%s\"",
                self->limits.peer, g_strstrip(quoted));
  } else if (is_tls_record(header)) {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                        "it speaks TLS and this node does not (ain_internal_ssl_enabled for ConfigNodes, "
                        "ain_cluster_ingress_ssl_enabled for DataNodes)");
  } else if (header[0] == 0x80 || header[0] == 0x82) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED, "it is a Thrift service without frames, not a %s",
                self->limits.peer);
  } else {
    g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
                "it is not a %s: its answer begins with the bytes %02x %02x %02x %02x", self->limits.peer,
                header[0], header[1], header[2], header[3]);
  }
  return FALSE;
}

/* A length that could be one of this service's is too large; other bytes are no length at all. */
static gboolean refuse_size(AinTransport *self, const guint8 header[HEADER], gsize size, GError **error) {
  if (size == 0 || size > LARGEST_FRAME || is_tls_record(header)) {
    return not_framed(self, header, error);
  }
  g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
              "its answer has %" G_GSIZE_FORMAT " bytes, at most %" G_GSIZE_FORMAT " are accepted", size,
              self->limits.max_reply);
  return FALSE;
}

/* Grows as the bytes come, so that a length alone costs no memory. */
static gboolean receive_body(AinTransport *self, gsize size, gint64 deadline, GError **error) {
  for (gsize have = 0; have < size;) {
    gsize part = MIN(size - have, MAX(have, FIRST_READ));
    self->frame = g_realloc(self->frame, have + part);
    if (!receive_exactly(self, self->frame + have, part, deadline, error)) {
      return FALSE;
    }
    have += part;
  }
  self->frame_size = size;
  return TRUE;
}

gboolean ain_transport_receive(AinTransport *transport, AinSlice *frame, GError **error) {
  gint64 deadline = io_deadline(transport);
  guint8 header[HEADER];
  g_clear_pointer(&transport->frame, g_free);
  transport->frame_size = transport->frame_offset = 0;
  if (!receive_exactly(transport, header, HEADER, deadline, error)) {
    return FALSE;
  }
  gsize size = (gsize)header[0] << 24 | (gsize)header[1] << 16 | (gsize)header[2] << 8 | header[3];
  if (size == 0 || size > transport->limits.max_reply) {
    return refuse_size(transport, header, size, error);
  }
  if (!receive_body(transport, size, deadline, error)) {
    return FALSE;
  }
  *frame = (AinSlice){ transport->frame, transport->frame_size };
  return TRUE;
}
