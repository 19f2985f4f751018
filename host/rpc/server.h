/* The RPC server: listens, reads whole frames, decodes them, hands calls to one handler on the loop thread.
 *
 * No thread is tied to a connection. Deadlines: a frame begun must be complete within frame_timeout; a
 * connection with nothing in flight may idle for idle_timeout (0 = for ever). A frame length over max_frame,
 * a first byte that is no known protocol, or bytes that are not a message close the connection with one log
 * line; a message that is well framed but breaks its method's rules gets an answer that says so. */
#pragma once
#include "base/loop.h"
#include "base/tls.h"
#include "rpc/call.h"

#include <glib.h>

typedef struct {
  const char *address; /* numeric or name, IPv4 or IPv6; borrowed during ain_rpc_server_new only */
  guint16 port;        /* 0: any free port (tests) */
  gsize max_frame;     /* bytes; IoTDB's own limit is 536,870,912 */
  gint64 frame_timeout_us;
  gint64 idle_timeout_us;
  guint max_connections;
  guint max_in_flight; /* calls of one connection that may be unanswered; further bytes wait in the kernel */
  const AinTlsContext *tls; /* NULL: no TLS, else nothing but TLS; borrowed, outlives the server */
  guint max_handshakes;     /* TLS: peers that have yet to shake hands; they have 10 s */
} AinRpcServerConfig;

/* handler owns one reference of the call. Runs on the loop thread for every decoded request, heartbeats too.
 */
typedef void (*AinCallHandler)(AinCall *call, gpointer data);

/* Binds and listens; peers are served once the loop runs. Errors: INVALID (address), ENVIRONMENT (port in
 * use: names address, port and, where /proc tells, the pid that holds it), INTERNAL. */
AinRpcServer *ain_rpc_server_new(AinLoop *loop, const AinRpcServerConfig *config, AinCallHandler handler,
                                 gpointer data, GError **error);
guint16 ain_rpc_server_port(const AinRpcServer *server);
/* Stops accepting; existing connections go on until they are idle or the loop ends. */
void ain_rpc_server_stop_listening(AinRpcServer *server);
guint ain_rpc_server_unanswered(
    const AinRpcServer *server);                /* calls handed out and not yet answered or not yet sent */
void ain_rpc_server_free(AinRpcServer *server); /* closes everything; NULL is allowed */

/* The family whose status numbers and spellings are used when a request's own bytes leave a choice. */
void ain_rpc_server_set_release(AinRpcServer *server, AinFamily family);
AinFamily ain_rpc_server_release(const AinRpcServer *server);
/* func is told when a frame narrows the families down further than before (evidence for the release). */
void ain_rpc_server_on_evidence(AinRpcServer *server, void (*func)(AinFamilies seen, gpointer data),
                                gpointer data);
/* func is told of every connection that was accepted: its peer may be a member that was restarted or
 * upgraded.
 */
void ain_rpc_server_on_peer(AinRpcServer *server, void (*func)(gpointer data), gpointer data);
