#include "cluster/resolve.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

gboolean ain_cluster_wait(int fd, short events, gint64 deadline, int cancel_fd, GError **error) {
  for (;;) {
    /* poll() ignores entries with a negative descriptor */
    struct pollfd fds[2] = { { cancel_fd, POLLIN, 0 }, { fd, events, 0 } };
    gint64 left = deadline - ain_loop_now();
    int timeout = left <= 0 ? 0 : (int)MIN((left + 999) / 1000, 60000);
    int count = poll(fds, 2, timeout);
    if (fds[0].revents != 0 && count > 0) {
      g_set_error_literal(error, AIN_ERROR, AIN_ERROR_CANCELLED, "the node is stopping");
      return FALSE;
    }
    if (count > 0) {
      return TRUE;
    }
    if (count < 0 && errno != EINTR) {
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot wait for the network");
      return FALSE;
    }
    if (ain_loop_now() >= deadline) {
      g_set_error_literal(error, AIN_ERROR, AIN_ERROR_TIMEOUT, "the time is up");
      return FALSE;
    }
  }
}

char *ain_cluster_endpoint_text(const char *host, guint port) {
  return strchr(host, ':') != NULL ? g_strdup_printf("[%s]:%u", host, port)
                                   : g_strdup_printf("%s:%u", host, port);
}

char *ain_cluster_address_text(const struct sockaddr *address, socklen_t size) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(address, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV)
      != 0) {
    return g_strdup("unknown address");
  }
  return strchr(host, ':') != NULL ? g_strdup_printf("[%s]:%s", host, port)
                                   : g_strdup_printf("%s:%s", host, port);
}

/* One lookup, shared by the caller and its thread: whoever leaves last frees it. The caller may leave first,
 * since a resolver can take minutes and cannot be interrupted. */
typedef struct {
  gint references; /* atomic */
  char *host;
  char port[8];
  int done_fd;
  int result;
  struct addrinfo *found;
} Lookup;

static void lookup_unref(Lookup *lookup) {
  if (!g_atomic_int_dec_and_test(&lookup->references)) {
    return;
  }
  if (lookup->found != NULL) {
    freeaddrinfo(lookup->found);
  }
  ain_fd_close(&lookup->done_fd);
  g_free(lookup->host);
  g_free(lookup);
}

static int look_up(const char *host, const char *port, int flags, struct addrinfo **found) {
  struct addrinfo hints = { .ai_flags = flags | AI_NUMERICSERV,
                            .ai_family = AF_UNSPEC,
                            .ai_socktype = SOCK_STREAM };
  return getaddrinfo(host, port, &hints, found);
}

static void *lookup_main(void *data) {
  Lookup *lookup = data;
  lookup->result = look_up(lookup->host, lookup->port, AI_ADDRCONFIG, &lookup->found);
  guint64 one = 1;
  ssize_t written = write(lookup->done_fd, &one, sizeof one);
  (void)written; /* a fresh eventfd always takes it */
  lookup_unref(lookup);
  return NULL;
}

static void unresolved(const char *host, const char *reason, GError **error) {
  g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "the name %s cannot be resolved: %s", host, reason);
}

static struct addrinfo *finish_lookup(Lookup *lookup, gint64 deadline, int cancel_fd, GError **error) {
  g_autoptr(GError) waited = NULL;
  if (!ain_cluster_wait(lookup->done_fd, POLLIN, deadline, cancel_fd, &waited)) {
    if (g_error_matches(waited, AIN_ERROR, AIN_ERROR_CANCELLED)) {
      g_propagate_error(error, g_steal_pointer(&waited));
    } else {
      unresolved(lookup->host, "the name service does not answer", error);
    }
    return NULL;
  }
  guint64 count;
  ssize_t got = read(lookup->done_fd, &count, sizeof count); /* orders the thread's writes before our reads */
  (void)got;
  if (lookup->result != 0) {
    unresolved(lookup->host, gai_strerror(lookup->result), error);
    return NULL;
  }
  return g_steal_pointer(&lookup->found);
}

static gboolean start_lookup(Lookup *lookup) {
  lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (lookup->done_fd < 0) {
    return FALSE;
  }
  pthread_t thread;
  errno = pthread_create(&thread, NULL, lookup_main, lookup);
  if (errno != 0) {
    return FALSE;
  }
  pthread_detach(thread);
  return TRUE;
}

struct addrinfo *ain_cluster_resolve(const char *host, guint16 port, gint64 deadline, int cancel_fd,
                                     GError **error) {
  struct addrinfo *found = NULL;
  g_autofree char *port_text = g_strdup_printf("%u", port);
  if (look_up(host, port_text, AI_NUMERICHOST, &found) == 0) {
    return found;
  }
  Lookup *lookup = g_new0(Lookup, 1);
  lookup->references = 2;
  lookup->host = g_strdup(host);
  g_strlcpy(lookup->port, port_text, sizeof lookup->port);
  if (!start_lookup(lookup)) {
    unresolved(host, g_strerror(errno), error);
    lookup->references = 1;
    lookup_unref(lookup);
    return NULL;
  }
  found = finish_lookup(lookup, deadline, cancel_fd, error);
  lookup_unref(lookup);
  return found;
}
