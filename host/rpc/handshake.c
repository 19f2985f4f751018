/* Peers that were accepted and have yet to shake hands (TLS).
 *
 * Until the handshake is done a peer is no connection: it has a descriptor and a list entry, and only from
 * its first byte on what OpenSSL keeps. Each step is computed by a helper when bytes have come; none waits.
 * Their number is bounded: one more pushes out the one that was silent longest. */
#include "rpc/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_US ((gint64)10 * G_USEC_PER_SEC)
#define RECORD_HANDSHAKE 0x16 /* what TLS begins with */

struct AinHandshake {
  AinRpcServer *server; /* NULL once the server is gone */
  int fd;
  AinLoopFd *watch; /* NULL while a helper computes */
  AinTls *tls;      /* NULL until the first byte */
  AinTlsStep step;
  gint64 deadline;
  GList link; /* in server->handshakes, in the order of the deadlines */
};

static void ready(guint32 events, gpointer data);

static void leave(AinHandshake *h) {
  if (h->server != NULL) {
    g_queue_unlink(&h->server->handshakes, &h->link);
    h->server = NULL;
  }
}

/* A helper's step is not interrupted: stepped() frees. */
static void drop(AinHandshake *h) {
  leave(h);
  if (h->watch != NULL) {
    ain_loop_unwatch(h->watch);
    ain_tls_free(h->tls);
    close(h->fd);
    g_free(h);
  }
}

static void refuse(AinHandshake *h, const char *reason) {
  ain_server_log_refusal(h->server, h->fd, reason);
  drop(h);
}

static void check_deadlines(gpointer data);

static void arm_timer(AinRpcServer *server) {
  const AinHandshake *first = g_queue_peek_head(&server->handshakes);
  if (first != NULL && server->handshake_timer == NULL) {
    server->handshake_timer = ain_loop_timer(server->loop, first->deadline, check_deadlines, server);
  }
}

static void check_deadlines(gpointer data) {
  AinRpcServer *server = data;
  gint64 now = ain_loop_now();
  server->handshake_timer = NULL;
  for (GList *at = server->handshakes.head; at != NULL;) {
    AinHandshake *h = at->data;
    at = at->next;
    if (h->deadline > now) {
      break;
    }
    refuse(h, "the TLS handshake was not finished in time");
  }
  arm_timer(server);
}

static void watch(AinHandshake *h, guint32 events) {
  h->watch = ain_loop_watch(h->server->loop, h->fd, events, ready, h);
}

static void step(gpointer data) {
  AinHandshake *h = data;
  h->step = ain_tls_handshake(h->tls);
}

static void finish(AinHandshake *h) {
  AinRpcServer *server = h->server;
  leave(h);
  if (ain_server_admit(server)) {
    ain_connection_new(server, h->fd, h->tls);
    g_free(h);
    return;
  }
  ain_tls_free(h->tls);
  close(h->fd);
  g_free(h);
}

static void stepped(gpointer data) {
  AinHandshake *h = data;
  if (h->server == NULL) {
    ain_tls_free(h->tls);
    close(h->fd);
    g_free(h);
    return;
  }
  if (h->step == AIN_TLS_DONE) {
    finish(h);
    return;
  }
  watch(h, ain_tls_events(h->tls));
  if (h->step == AIN_TLS_FAILED) {
    g_autofree char *reason = g_strdup_printf("no TLS connection: %s", ain_tls_failure(h->tls));
    refuse(h, reason);
  }
}

/* FALSE: there is nothing to begin with, and the peer may be gone. */
static gboolean look_at_first_byte(AinHandshake *h) {
  guint8 first = 0;
  ssize_t got = recv(h->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    return FALSE;
  }
  if (got != 1) {
    drop(h); /* came and went: port scans and health checks do that, no line */
    return FALSE;
  }
  if (first != RECORD_HANDSHAKE) {
    refuse(h, "it speaks no TLS, and this port speaks nothing else (ain_internal_ssl_enabled)");
    return FALSE;
  }
  h->tls = ain_tls_new(h->server->config.tls, h->fd, NULL);
  return TRUE;
}

static void ready(guint32 events, gpointer data) {
  (void)events; /* an error shows in the next step, too */
  AinHandshake *h = data;
  if (h->tls == NULL && !look_at_first_byte(h)) {
    return;
  }
  ain_loop_unwatch(h->watch);
  h->watch = NULL;
  h->step = AIN_TLS_WAIT;
  ain_loop_offload(h->server->loop, step, stepped, h);
}

gboolean ain_handshake_evict(AinRpcServer *server, const char *why) {
  for (GList *at = server->handshakes.head; at != NULL; at = at->next) {
    AinHandshake *h = at->data;
    if (h->watch != NULL) {
      refuse(h, why);
      return TRUE;
    }
  }
  return FALSE;
}

void ain_handshake_new(AinRpcServer *server, int fd) {
  if (server->handshakes.length >= server->config.max_handshakes
      && !ain_handshake_evict(server, "too many TLS handshakes are unfinished and it began first")) {
    ain_server_log_refusal(server, fd, "too many TLS handshakes are being computed");
    close(fd);
    return;
  }
  AinHandshake *h = g_new0(AinHandshake, 1);
  h->server = server;
  h->fd = fd;
  h->deadline = ain_loop_now() + DEADLINE_US;
  h->link.data = h;
  g_queue_push_tail_link(&server->handshakes, &h->link);
  watch(h, EPOLLIN);
  arm_timer(server);
}

void ain_handshake_drop_all(AinRpcServer *server) {
  while (server->handshakes.head != NULL) {
    drop(server->handshakes.head->data);
  }
  ain_loop_timer_stop(server->handshake_timer);
  server->handshake_timer = NULL;
}
