/* Names to addresses, with a deadline and a way to give up: getaddrinfo() has neither. */
#pragma once
#include <glib.h>
#include <netdb.h>

/* Addresses of host for TCP; free with freeaddrinfo(). A numeric host is never looked up. cancel_fd: -1 for
 * none. Errors: UNREACHABLE, CANCELLED. */
struct addrinfo *ain_cluster_resolve(const char *host, guint16 port, gint64 deadline, int cancel_fd,
                                     GError **error);

/* "1.2.3.4:80" or "[::1]:80". Owned. */
char *ain_cluster_address_text(const struct sockaddr *address, socklen_t size);
char *ain_cluster_endpoint_text(const char *host, guint port);

/* Waits for poll events on fd (-1: only for time to pass). TRUE when they came; FALSE with TIMEOUT (deadline)
 * or CANCELLED set. */
gboolean ain_cluster_wait(int fd, short events, gint64 deadline, int cancel_fd, GError **error);
