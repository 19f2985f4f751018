/* What the files of rpc share: the call, the connection and the server. Private; loop thread only, except for
 * the reference count and the abandoned flag of a call. */
#pragma once
#include "protocol/reader.h"
#include "rpc/call.h"
#include "rpc/pool.h"
#include "rpc/request.h"
#include "rpc/server.h"
#include "rpc/writer.h"

typedef struct AinConnection AinConnection;
typedef struct AinHandshake AinHandshake;

struct AinCall {
  gint refs;                 /* atomic: the server's until the call is finished, and the handler's */
  gint abandoned;            /* atomic */
  AinRpcServer *server;      /* NULL once the call is finished or the server is gone */
  AinConnection *connection; /* NULL once the connection is closed */
  GList server_link;         /* in server->calls */
  GList queue_link;          /* in connection->calls */
  AinBuffer *frame;
  AinSlice method_name; /* in frame */
  AinThriftProtocol protocol;
  gint32 seqid;
  gboolean oneway;
  gboolean answered;
  gboolean first; /* of its connection */
  gint64 arrival;
  void (*abandon)(AinCall *call, gpointer data);
  gpointer abandon_data;
  guint8 *out; /* the reply from when it is built until it is sent */
  gsize out_capacity;
  gsize out_size;
  gsize out_sent;
  AinRequestStore store;
};

/* Connections wait for something in one of these lists, each in the order of its deadlines. */
typedef enum {
  AIN_WAIT_FRAME, /* for the rest of a frame */
  AIN_WAIT_WRITE, /* for the peer to take its replies */
  AIN_WAIT_IDLE,  /* for a request */
  AIN_WAIT_FIRST, /* for the first request of its life; has no deadline of its own */
  AIN_N_WAITS,
} AinWait;

struct AinConnection {
  AinRpcServer *server;
  int fd;      /* -1 once closed */
  AinTls *tls; /* NULL without TLS */
  AinLoopFd *watch;
  guint32 interest; /* epoll events asked for */
  AinBuffer *in;    /* NULL when no byte of a frame is waiting */
  gsize in_at;      /* first byte not yet handed out */
  gsize in_size;    /* bytes read into `in` */
  GQueue calls;     /* in the order of the requests; unanswered, or not yet sent */
  gboolean protocol_known;
  AinThriftProtocol protocol;
  gboolean asked;   /* a request has come */
  gboolean busy;    /* inside its own event: replies are collected, closing is put off */
  gboolean broken;  /* a send failed: to be closed by its next event */
  gboolean at_end;  /* the peer sends no more */
  gboolean paused;  /* reading waits for calls to be answered */
  gboolean blocked; /* the kernel takes no more output for now */
  gboolean unread;  /* TLS: reading stopped short of EAGAIN; no event will say so */
  GList link;       /* in server->connections */
  GList wait_link[AIN_N_WAITS];
  gint64 wait_since[AIN_N_WAITS];
  gboolean waiting[AIN_N_WAITS];
};

#define AIN_SPARE_OUT 16

typedef struct {
  AinRpcServer *server;
  int fd;
  AinLoopFd *watch;
} AinListener;

struct AinRpcServer {
  AinLoop *loop;
  AinRpcServerConfig config;
  AinCallHandler handler;
  gpointer handler_data;
  guint16 port;
  AinListener *listeners;
  guint n_listeners;
  int spare_fd; /* given up for a moment when descriptors run out, to turn a peer away */
  GQueue connections;
  GQueue handshakes;
  GQueue steps; /* handshakes that wait for a helper */
  guint steps_computing;
  AinLoopTimer *handshake_timer;
  GQueue calls;
  GQueue waits[AIN_N_WAITS];
  AinLoopTimer *timer;
  gint64 timer_at;
  AinBufferPool *pool;
  guint8 *spare_out[AIN_SPARE_OUT]; /* each of AIN_BUFFER_SIZE */
  guint n_spare_out;
  AinFamily release;
  AinFamilies seen;
  void (*evidence)(AinFamilies seen, gpointer data);
  gpointer evidence_data;
  void (*peer)(gpointer data); /* a connection was accepted */
  gpointer peer_data;
  gint64 log_window; /* start of the current window, lines written and left out in it */
  guint log_written;
  guint log_left_out;
};

/* --- call.c */
AinCall *ain_call_new(AinConnection *connection, AinBuffer *frame);
/* Starts the reply: FALSE when nobody can receive it, and then the call is finished. */
gboolean ain_call_reply_begin(AinCall *call, AinWriter *writer, gsize estimate);
/* Takes the writer's buffer and sends it, or an error in its place when it is too large. */
void ain_call_reply_end(AinCall *call, AinWriter *writer);
void ain_call_reply_unknown_method(AinCall *call);
/* Sent or given up: leaves all lists and drops the server's reference. */
void ain_call_finish(AinCall *call);
void ain_call_mark_abandoned(AinCall *call); /* runs the callback, once, unless the call is answered */

/* --- connection.c */
void ain_connection_new(AinRpcServer *server, int fd, AinTls *tls); /* takes both */
void ain_connection_close(AinConnection *connection);
/* Tells an idle peer that this end is gone for good, by a frame of negative size. ConfigNodes and DataNodes
 * up to 2.0.5 never throw away a pooled connection that was merely closed: every call on it fails until it
 * was idle for a minute. A frame they cannot accept makes them close it, so that only the first call after a
 * restart fails. */
void ain_connection_farewell(AinConnection *connection);
/* As above, with one log line that names the peer. */
void ain_connection_refuse(AinConnection *connection, const char *reason);
/* Sends what is answered, in order, as far as the kernel takes it. */
void ain_connection_flush(AinConnection *connection);

/* --- handshake.c */
void ain_handshake_new(AinRpcServer *server, int fd);
/* Drops the oldest that waits for its peer; FALSE when there is none. */
gboolean ain_handshake_evict(AinRpcServer *server, const char *why);
void ain_handshake_drop_all(AinRpcServer *server);

/* --- server.c */
/* Makes room for one more connection where that is needed and possible. */
gboolean ain_server_admit(AinRpcServer *server);
/* One line that names the peer, unless enough were written lately. */
void ain_server_log_refusal(AinRpcServer *server, int fd, const char *reason);
void ain_server_wait(AinConnection *connection, AinWait wait, gboolean on);
void ain_server_note_families(AinRpcServer *server, AinFamilies families);
/* FALSE when enough lines were written lately. */
gboolean ain_server_may_log(AinRpcServer *server);
guint8 *ain_server_take_out(AinRpcServer *server);
void ain_server_give_out(AinRpcServer *server, guint8 *out, gsize capacity);

/* --- holder.c: the pid that listens on a TCP port of this machine, or 0 when /proc does not tell. */
gint64 ain_port_holder(guint16 port);
