/* Peers that were accepted and have yet to shake hands (TLS).
 *
 * Until the handshake is done a peer is no connection: it has a descriptor and a list entry, and only from
 * its first byte on what OpenSSL keeps. Each step is computed by a helper when bytes have come; none waits,
 * and only a few helpers do this at a time, so that a flood of handshakes does not keep the others from their
 * work. The number of peers is bounded: one more pushes out the one that was silent longest. */
#include "rpc/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_US ((gint64)10 * G_USEC_PER_SEC)
#define RECORD_HANDSHAKE 0x16 /* what TLS begins with */
#define MAX_COMPUTING 2

typedef enum {
  WAITING,   /* for its socket; watched */
  QUEUED,    /* for a helper; in server->steps */
  COMPUTING, /* a helper has it: nobody else may touch tls, fd and step */
} State;

struct AinHandshake {
  AinRpcServer *server; /* NULL once the server is gone */
  int fd;
  AinLoopFd *watch; /* while WAITING */
  AinTls *tls;      /* NULL until the first byte */
  AinTlsStep step;
  State state;
  gboolean dropped; /* while COMPUTING: to be freed after it */
  gint64 deadline;
  GList link;      /* in server->handshakes */
  GList step_link; /* in server->steps, while QUEUED */
};

static void ready(guint32 events, gpointer data);
static void check_deadlines(gpointer data);

static void discard(AinHandshake *h) {
  ain_tls_free(h->tls);
  close(h->fd);
  g_free(h);
}

static void drop(AinHandshake *h) {
  if (h->state == COMPUTING) {
    h->dropped = TRUE; /* a helper's step is not interrupted: stepped() frees */
    return;
  }
  if (h->state == QUEUED) {
    g_queue_unlink(&h->server->steps, &h->step_link);
  } else {
    ain_loop_unwatch(h->watch);
  }
  g_queue_unlink(&h->server->handshakes, &h->link);
  discard(h);
}

static void refuse(AinHandshake *h, const char *reason) {
  ain_server_log_refusal(h->server, h->fd, reason);
  drop(h);
}

static void arm_timer(AinRpcServer *server) {
  gint64 next = G_MAXINT64;
  if (server->handshake_timer != NULL) {
    return; /* one that fires early looks again */
  }
  for (const GList *at = server->handshakes.head; at != NULL; at = at->next) {
    const AinHandshake *h = at->data;
    next = h->dropped ? next : MIN(next, h->deadline);
  }
  if (next != G_MAXINT64) {
    server->handshake_timer = ain_loop_timer(server->loop, next, check_deadlines, server);
  }
}

static void check_deadlines(gpointer data) {
  AinRpcServer *server = data;
  gint64 now = ain_loop_now();
  server->handshake_timer = NULL;
  for (GList *at = server->handshakes.head; at != NULL;) {
    AinHandshake *h = at->data;
    at = at->next;
    if (!h->dropped && h->deadline <= now) {
      refuse(h, "the TLS handshake was not finished in time");
    }
  }
  arm_timer(server);
}

static void watch(AinHandshake *h, guint32 events) {
  h->state = WAITING;
  h->watch = ain_loop_watch(h->server->loop, h->fd, events, ready, h);
}

static void step(gpointer data) {
  AinHandshake *h = data;
  h->step = ain_tls_handshake(h->tls);
}

static void stepped(gpointer data);

static void start_steps(AinRpcServer *server) {
  while (server->steps_computing < MAX_COMPUTING && !g_queue_is_empty(&server->steps)) {
    AinHandshake *h = server->steps.head->data;
    g_queue_unlink(&server->steps, &h->step_link);
    h->state = COMPUTING;
    h->step = AIN_TLS_WAIT;
    server->steps_computing++;
    ain_loop_offload(server->loop, step, stepped, h);
  }
}

/* The peer becomes a connection, where there is room for one. */
static void finish(AinHandshake *h) {
  AinRpcServer *server = h->server;
  g_queue_unlink(&server->handshakes, &h->link);
  if (!ain_server_admit(server)) {
    discard(h);
    return;
  }
  ain_connection_new(server, h->fd, h->tls);
  g_free(h);
}

static void stepped(gpointer data) {
  AinHandshake *h = data;
  AinRpcServer *server = h->server;
  if (server == NULL) {
    discard(h);
    return;
  }
  server->steps_computing--;
  if (h->dropped) {
    g_queue_unlink(&server->handshakes, &h->link);
    discard(h);
  } else if (h->step == AIN_TLS_DONE) {
    finish(h);
  } else {
    watch(h, ain_tls_events(h->tls));
    if (h->step == AIN_TLS_FAILED) {
      g_autofree char *reason = g_strdup_printf("no TLS connection: %s", ain_tls_failure(h->tls));
      refuse(h, reason);
    }
  }
  start_steps(server);
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
  h->state = QUEUED;
  g_queue_push_tail_link(&h->server->steps, &h->step_link);
  start_steps(h->server);
}

gboolean ain_handshake_evict(AinRpcServer *server, const char *why) {
  for (GList *at = server->handshakes.head; at != NULL; at = at->next) {
    AinHandshake *h = at->data;
    if (h->state == WAITING) {
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
  h->link.data = h->step_link.data = h;
  g_queue_push_tail_link(&server->handshakes, &h->link);
  watch(h, EPOLLIN);
  arm_timer(server);
}

void ain_handshake_drop_all(AinRpcServer *server) {
  for (GList *at = server->handshakes.head; at != NULL;) {
    AinHandshake *h = at->data;
    at = at->next;
    if (h->state == COMPUTING) {
      g_queue_unlink(&server->handshakes, &h->link);
      h->server = NULL;
    } else {
      drop(h);
    }
  }
  ain_loop_timer_stop(server->handshake_timer);
  server->handshake_timer = NULL;
}
