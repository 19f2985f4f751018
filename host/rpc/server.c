/* Listening, accepting within limits, deadlines of all connections, and what they share. */
#include "rpc/server.h"

#include "base/error.h"
#include "base/fd.h"
#include "rpc/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define MAX_LISTENERS 8
#define FRAMES_IN_MEMORY 4 /* of the largest size: what all requests of all peers may take together */
#define ACCEPTS_PER_EVENT 64
#define LOG_WINDOW_US ((gint64)10 * G_USEC_PER_SEC)
#define LOG_LINES_PER_WINDOW 10

/* --- log lines that peers can cause ----------------------------------------------------------------------
 */

gboolean ain_server_may_log(AinRpcServer *server) {
  gint64 now = ain_loop_now();
  if (now - server->log_window > LOG_WINDOW_US) {
    if (server->log_left_out > 0) {
      g_warning("%u more messages about refused requests and connections were left out",
                server->log_left_out);
    }
    server->log_window = now;
    server->log_written = 0;
    server->log_left_out = 0;
  }
  if (server->log_written >= LOG_LINES_PER_WINDOW) {
    server->log_left_out++;
    return FALSE;
  }
  server->log_written++;
  return TRUE;
}

void ain_server_log_refusal(AinRpcServer *server, int fd, const char *reason) {
  struct sockaddr_storage peer;
  socklen_t size = sizeof peer;
  char host[64] = "unknown address";
  char port[8] = "?";
  if (!ain_server_may_log(server)) {
    return;
  }
  if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0) {
    getnameinfo((struct sockaddr *)&peer, size, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
  }
  g_warning("closing the connection of %s port %s: %s", host, port, reason);
}

/* --- deadlines -------------------------------------------------------------------------------------------
 */

static void check_deadlines(gpointer data);

static gint64 limit_of(const AinRpcServer *server, AinWait wait) {
  if (wait == AIN_WAIT_FIRST) {
    return 0;
  }
  return wait == AIN_WAIT_IDLE ? server->config.idle_timeout_us : server->config.frame_timeout_us;
}

/* The lists are in order of time, so their heads are enough. 0: nothing to wait for. */
static gint64 next_deadline(const AinRpcServer *server) {
  gint64 next = 0;
  for (guint i = 0; i < AIN_N_WAITS; i++) {
    const GList *head = server->waits[i].head;
    gint64 limit = limit_of(server, (AinWait)i);
    if (head != NULL && limit > 0) {
      const AinConnection *c = head->data;
      gint64 deadline = c->wait_since[i] + limit;
      next = next == 0 ? deadline : MIN(next, deadline);
    }
  }
  return next;
}

static void arm_timer(AinRpcServer *server) {
  gint64 next = next_deadline(server);
  if (next == 0 || (server->timer != NULL && server->timer_at <= next)) {
    return; /* one that fires early looks again: cheaper than moving it with every request */
  }
  ain_loop_timer_stop(server->timer);
  server->timer_at = next;
  server->timer = ain_loop_timer(server->loop, next, check_deadlines, server);
}

static void pass_deadline(AinConnection *c, AinWait wait) {
  if (wait == AIN_WAIT_FRAME) {
    ain_connection_refuse(c, "a message was begun but not finished in time");
  } else if (wait == AIN_WAIT_WRITE) {
    ain_connection_refuse(c, "its answer could not be delivered in time");
  } else {
    ain_connection_close(c); /* idle for long: usual with pooled clients, no line */
  }
}

static void check_deadlines(gpointer data) {
  AinRpcServer *server = data;
  server->timer = NULL;
  gint64 now = ain_loop_now();
  for (guint i = 0; i < AIN_N_WAITS; i++) {
    gint64 limit = limit_of(server, (AinWait)i);
    while (limit > 0 && server->waits[i].head != NULL) {
      AinConnection *c = server->waits[i].head->data;
      if (c->wait_since[i] + limit > now) {
        break;
      }
      pass_deadline(c, (AinWait)i);
    }
  }
  arm_timer(server);
}

void ain_server_wait(AinConnection *c, AinWait wait, gboolean on) {
  GQueue *queue = &c->server->waits[wait];
  if (c->waiting[wait] == on) {
    return;
  }
  c->waiting[wait] = on;
  if (!on) {
    g_queue_unlink(queue, &c->wait_link[wait]);
    return;
  }
  c->wait_since[wait] = ain_loop_now();
  g_queue_push_tail_link(queue, &c->wait_link[wait]);
  if (queue->length == 1) {
    arm_timer(c->server);
  }
}

/* --- what connections share ------------------------------------------------------------------------------
 */

guint8 *ain_server_take_out(AinRpcServer *server) {
  return server->n_spare_out > 0 ? server->spare_out[--server->n_spare_out] : g_malloc(AIN_BUFFER_SIZE);
}

void ain_server_give_out(AinRpcServer *server, guint8 *out, gsize capacity) {
#ifndef AIN_SANITIZED /* there every use of a freed buffer is to be seen */
  if (out != NULL && capacity == AIN_BUFFER_SIZE && server->n_spare_out < AIN_SPARE_OUT) {
    server->spare_out[server->n_spare_out++] = out;
    return;
  }
#else
  (void)server;
  (void)capacity;
#endif
  g_free(out);
}

void ain_server_note_families(AinRpcServer *server, AinFamilies families) {
  AinFamilies seen = server->seen & families;
  if (seen == 0) {
    seen = families; /* the cluster was upgraded, or has two releases: the newest evidence counts */
  }
  if (seen != server->seen) {
    server->seen = seen;
    if (server->evidence != NULL) {
      server->evidence(seen, server->evidence_data);
    }
  }
}

/* --- accepting -------------------------------------------------------------------------------------------
 */

static void set_options(int fd) {
  static const struct {
    int level, name, value;
  } options[] = {
    { IPPROTO_TCP, TCP_NODELAY, 1 },    { SOL_SOCKET, SO_KEEPALIVE, 1 }, { IPPROTO_TCP, TCP_KEEPIDLE, 60 },
    { IPPROTO_TCP, TCP_KEEPINTVL, 10 }, { IPPROTO_TCP, TCP_KEEPCNT, 3 },
  };
  for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
    /* Nothing depends on one of them. */
    (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
  }
}

/* Room for one more is made at the cost of peers that never asked anything, else of the one that was silent
 * longest, else of the slowest sender: a flood pushes out itself, not the heartbeat. */
static gboolean evict(AinRpcServer *server, const char *why) {
  static const AinWait order[] = { AIN_WAIT_FIRST, AIN_WAIT_IDLE, AIN_WAIT_FRAME };
  GList *oldest = NULL;
  for (guint i = 0; i < G_N_ELEMENTS(order) && oldest == NULL; i++) {
    oldest = server->waits[order[i]].head;
  }
  if (oldest == NULL) {
    return FALSE;
  }
  ain_connection_refuse(oldest->data, why);
  return TRUE;
}

/* Out of descriptors: the waiting peer is accepted with the spare one and turned away, else epoll would
 * report it for ever. */
static void turn_away(AinListener *listener) {
  AinRpcServer *server = listener->server;
  if (ain_server_may_log(server)) {
    g_warning("a connection is turned away: no file descriptors are left; raise the limit (ulimit -n)");
  }
  ain_fd_close(&server->spare_fd);
  ain_fd int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  ain_fd_close(&fd);
  server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

gboolean ain_server_admit(AinRpcServer *server) {
  if (server->connections.length < server->config.max_connections
      || evict(server, "all connections are taken and it was silent longest")) {
    return TRUE;
  }
  if (ain_server_may_log(server)) {
    g_warning("a connection is turned away: all %u are taken and busy", server->config.max_connections);
  }
  return FALSE;
}

static void accept_event(guint32 events, gpointer data) {
  (void)events;
  AinListener *listener = data;
  AinRpcServer *server = listener->server;
  for (guint i = 0; i < ACCEPTS_PER_EVENT; i++) {
    ain_fd int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      static const char why[] = "file descriptors ran out";
      if ((errno == EMFILE || errno == ENFILE) && !ain_handshake_evict(server, why) && !evict(server, why)) {
        turn_away(listener);
      }
      return; /* level-triggered: who still waits is reported again */
    }
    if (server->config.tls != NULL) {
      set_options(fd);
      ain_handshake_new(server, ain_fd_steal(&fd));
    } else if (ain_server_admit(server)) {
      set_options(fd);
      ain_connection_new(server, ain_fd_steal(&fd), NULL);
    } else {
      continue;
    }
    if (server->peer != NULL) {
      server->peer(server->peer_data);
    }
  }
}

/* --- listening -------------------------------------------------------------------------------------------
 */

static void set_bind_error(GError **error, const AinRpcServerConfig *config, int failure) {
  if (failure != EADDRINUSE) {
    ain_error_set_errno(error, failure == EADDRNOTAVAIL ? AIN_ERROR_INVALID : AIN_ERROR_ENVIRONMENT, failure,
                        "cannot listen on %s port %u", config->address, config->port);
    return;
  }
  gint64 pid = ain_port_holder(config->port);
  g_autofree char *holder =
      pid > 0 ? g_strdup_printf("the process with pid %" G_GINT64_FORMAT, pid) : g_strdup("another process");
  g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
              "cannot listen on %s port %u: %s holds it; stop that or set another ain_inference_rpc_port",
              config->address, config->port, holder);
}

/* A listening descriptor, or -1 with errno. port 0 becomes the one chosen. */
static int listen_on(const struct addrinfo *address, guint16 *port, gboolean dual_stack) {
  struct sockaddr_storage local;
  socklen_t size = sizeof local;
  int on = 1;
  int v6_only = dual_stack ? 0 : 1;
  memcpy(&local, address->ai_addr, address->ai_addrlen);
  in_port_t *place = address->ai_family == AF_INET6 ? &((struct sockaddr_in6 *)&local)->sin6_port
                                                    : &((struct sockaddr_in *)&local)->sin_port;
  *place = g_htons(*port);
  ain_fd int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return -1;
  }
  if (address->ai_family == AF_INET6
      && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) != 0) {
    return -1;
  }
  if (bind(fd, (struct sockaddr *)&local, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0
      || getsockname(fd, (struct sockaddr *)&local, &size) != 0) {
    return -1;
  }
  *port = g_ntohs(*place);
  return ain_fd_steal(&fd);
}

static gboolean is_wildcard(const struct addrinfo *address) {
  return address->ai_family == AF_INET6
         && IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)address->ai_addr)->sin6_addr);
}

/* Every address of a name is listened on: with "localhost" clients dial 127.0.0.1 or ::1 as they like. One
 * that this machine lacks is passed over, as long as another works. */
static gboolean listen_all(AinRpcServer *server, const struct addrinfo *addresses, GError **error) {
  int failure = 0;
  for (const struct addrinfo *a = addresses; a != NULL && server->n_listeners < MAX_LISTENERS;
       a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) {
      continue;
    }
    int fd = listen_on(a, &server->port, is_wildcard(a));
    if (fd < 0) {
      failure = errno;
      if (failure == EADDRINUSE) {
        break;
      }
      continue;
    }
    AinListener *listener = &server->listeners[server->n_listeners++];
    *listener = (AinListener){ .server = server, .fd = fd };
    listener->watch = ain_loop_watch(server->loop, fd, EPOLLIN, accept_event, listener);
  }
  if (failure == EADDRINUSE || server->n_listeners == 0) {
    set_bind_error(error, &server->config, failure != 0 ? failure : EAFNOSUPPORT);
    return FALSE;
  }
  return TRUE;
}

static gboolean start_listening(AinRpcServer *server, GError **error) {
  const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                  .ai_socktype = SOCK_STREAM,
                                  .ai_flags = AI_PASSIVE };
  struct addrinfo *addresses = NULL;
  int failed = getaddrinfo(server->config.address, NULL, &hints, &addresses);
  if (failed != 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "cannot listen on '%s': %s; give ain_rpc_address an address or a name of this machine",
                server->config.address, gai_strerror(failed));
    return FALSE;
  }
  gboolean listening = listen_all(server, addresses, error);
  freeaddrinfo(addresses);
  return listening;
}

AinRpcServer *ain_rpc_server_new(AinLoop *loop, const AinRpcServerConfig *config, AinCallHandler handler,
                                 gpointer data, GError **error) {
  AinRpcServer *server = g_new0(AinRpcServer, 1);
  server->loop = loop;
  server->config = *config;
  server->config.max_in_flight = MAX(config->max_in_flight, 1);
  server->config.max_connections = MAX(config->max_connections, 1);
  server->config.max_handshakes = MAX(config->max_handshakes, 1);
  server->config.max_frame = CLAMP(config->max_frame, 1, G_MAXINT32);
  server->handler = handler;
  server->handler_data = data;
  server->port = config->port;
  server->listeners = g_new0(AinListener, MAX_LISTENERS);
  server->pool = ain_buffer_pool_new(server->config.max_frame * FRAMES_IN_MEMORY);
  server->release = AIN_FAMILY_E; /* what is assumed of a cluster that says nothing: 2.0.5 */
  server->seen = AIN_FAMILY_ALL;
  server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  gboolean listening = start_listening(server, error);
  server->config.address = NULL; /* was borrowed */
  if (!listening) {
    ain_rpc_server_free(server);
    return NULL;
  }
  return server;
}

guint16 ain_rpc_server_port(const AinRpcServer *server) {
  return server->port;
}

void ain_rpc_server_stop_listening(AinRpcServer *server) {
  for (guint i = 0; i < server->n_listeners; i++) {
    ain_loop_unwatch(server->listeners[i].watch);
    ain_fd_close(&server->listeners[i].fd);
  }
  server->n_listeners = 0;
}

guint ain_rpc_server_unanswered(const AinRpcServer *server) {
  return server->calls.length;
}

void ain_rpc_server_free(AinRpcServer *server) {
  if (server == NULL) {
    return;
  }
  ain_rpc_server_stop_listening(server);
  ain_handshake_drop_all(server);
  while (server->connections.head != NULL) {
    ain_connection_farewell(server->connections.head->data);
    ain_connection_close(server->connections.head->data);
  }
  while (server->calls.head != NULL) {
    ain_call_finish(server->calls.head->data); /* its later reply finds nobody */
  }
  ain_loop_timer_stop(server->timer);
  for (guint i = 0; i < server->n_spare_out; i++) {
    g_free(server->spare_out[i]);
  }
  ain_buffer_pool_unref(server->pool);
  ain_fd_close(&server->spare_fd);
  g_free(server->listeners);
  g_free(server);
}

void ain_rpc_server_set_release(AinRpcServer *server, AinFamily family) {
  server->release = family;
}

AinFamily ain_rpc_server_release(const AinRpcServer *server) {
  return server->release;
}

void ain_rpc_server_on_evidence(AinRpcServer *server, void (*func)(AinFamilies seen, gpointer data),
                                gpointer data) {
  server->evidence = func;
  server->evidence_data = data;
}

void ain_rpc_server_on_peer(AinRpcServer *server, void (*func)(gpointer data), gpointer data) {
  server->peer = func;
  server->peer_data = data;
}
