/* A ThriftTransport over one outbound TCP connection: whole frames, deadlines, cancellable, no SIGPIPE, IPv4
 * and IPv6. Generated readers only ever see the frame that ain_transport_receive() fetched and its caller
 * checked.
 *
 * One thread at a time. Reference counted by GObject (g_object_unref). Times: ain_loop_now() scale. */
#pragma once
#include "base/slice.h"
#include "base/tls.h"
#include "config/config.h"

#include <glib.h>
#include <thrift/c_glib/thrift.h>
#include <thrift/c_glib/transport/thrift_transport.h>

typedef struct _AinTransport AinTransport;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinTransport, g_object_unref)

typedef struct {
  gint64 connect_us;        /* for the name and all its addresses together */
  gint64 reply_us;          /* for sending a request, and again for its reply */
  gint64 deadline;          /* nothing goes on past this; G_MAXINT64 for none */
  int cancel_fd;            /* borrowed; readable: give up at once; -1 for none */
  gsize max_reply;          /* bytes of a reply; 0 for 16 MiB */
  const char *peer;         /* what the peer should be, for messages; static; NULL for "ConfigNode" */
  const AinTlsContext *tls; /* NULL: no TLS; borrowed during ain_transport_connect() only */
} AinTransportLimits;

/* The TLS side of connections that this node makes, from the ain_thrift_ssl_ keys; made once and kept for
 * all of them. Owned. Errors: INVALID (a file; see ain_tls_client_new()), INTERNAL. */
AinTlsContext *ain_transport_tls(const AinConfig *config, GError **error);

/* Resolves and connects, each address in turn, then shakes hands where limits->tls is given. Errors:
 * UNREACHABLE (the message has each address tried and why; the certificate that was not accepted),
 * CANCELLED. */
AinTransport *ain_transport_connect(const AinEndpoint *peer, const AinTransportLimits *limits,
                                    GError **error);

/* The address in use, for logs, e.g. "[::1]:10710". Borrowed. */
const char *ain_transport_address(const AinTransport *transport);

/* TRUE once a request has been written in part or whole: the peer may have acted on it. */
gboolean ain_transport_was_sent(const AinTransport *transport);

/* A new end of all time for the calls to come, instead of the one given to connect. */
void ain_transport_set_deadline(AinTransport *transport, gint64 deadline);

/* Reads the next frame (up to max_reply) and returns it, borrowed until the next call; the generated reader
 * then reads it through the transport. Errors: UNREACHABLE (closed, too slow), MALFORMED (not a framed Thrift
 * service; the message says what it looks like), TOO_LARGE, CANCELLED. The connection is of no use
 * afterwards. */
gboolean ain_transport_receive(AinTransport *transport, AinSlice *frame, GError **error);
