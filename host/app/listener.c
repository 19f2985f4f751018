/* Who listens on a port: /proc/net/tcp gives the socket's number, /proc/PID/fd its owner. */
#include "app/instance.h"
#include "base/error.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STATE_LISTEN "0A"
#define ADDRESSES_MAX 16u

/* Every address as IPv6, IPv4 mapped: one comparison for both tables. */
typedef struct {
  struct in6_addr addresses[ADDRESSES_MAX]; /* none: any address will do */
  guint n_addresses;
  guint16 port;
} Wanted;

static struct in6_addr mapped(const struct in_addr *address) {
  struct in6_addr result = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
  memcpy(result.s6_addr + 12, address, 4);
  return result;
}

static gboolean is_any(const struct in6_addr *address) {
  const struct in_addr none = { 0 };
  const struct in6_addr any4 = mapped(&none);
  return memcmp(address, &any4, sizeof any4) == 0 || memcmp(address, &in6addr_any, sizeof in6addr_any) == 0;
}

static gboolean resolve(const char *host, Wanted *wanted) {
  const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
  struct addrinfo *found = NULL;
  if (getaddrinfo(host, NULL, &hints, &found) != 0) {
    return FALSE;
  }
  for (struct addrinfo *one = found; one != NULL && wanted->n_addresses < ADDRESSES_MAX; one = one->ai_next) {
    if (one->ai_family == AF_INET) {
      wanted->addresses[wanted->n_addresses++] = mapped(&((struct sockaddr_in *)one->ai_addr)->sin_addr);
    } else if (one->ai_family == AF_INET6) {
      wanted->addresses[wanted->n_addresses++] = ((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
    }
  }
  freeaddrinfo(found);
  return wanted->n_addresses > 0;
}

static gboolean parse_endpoint(const char *endpoint, Wanted *wanted, GError **error) {
  const char *colon = strrchr(endpoint, ':');
  guint64 port = 0;
  gboolean good =
      g_ascii_string_to_unsigned(colon == NULL ? endpoint : colon + 1, 10, 1, G_MAXUINT16, &port, NULL);
  wanted->port = (guint16)port;
  if (good && colon != NULL && colon != endpoint) {
    g_autofree char *host = g_strndup(endpoint, (gsize)(colon - endpoint));
    gsize size = strlen(host);
    if (host[0] == '[' && host[size - 1] == ']') {
      memmove(host, host + 1, size);
      host[size - 2] = '\0';
    }
    good = resolve(host, wanted);
  }
  if (!good) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "'%s' is not the address of an AINode: ADDRESS:PORT is expected, for example 127.0.0.1:10810",
                endpoint);
  }
  return good;
}

/* The kernel prints each 32-bit word of the address as a number. */
static gboolean parse_address(const char *text, struct in6_addr *address) {
  gsize size = strspn(text, "0123456789ABCDEFabcdef");
  if (size != 8 && size != 32) {
    return FALSE;
  }
  guint32 words[4] = { 0 };
  for (gsize i = 0; i < size / 8; i++) {
    g_autofree char *word = g_strndup(text + 8 * i, 8);
    words[i] = (guint32)strtoul(word, NULL, 16);
  }
  if (size == 8) {
    *address = mapped((const struct in_addr *)&words[0]);
  } else {
    memcpy(address, words, sizeof words);
  }
  return TRUE;
}

static gboolean matches(const Wanted *wanted, const struct in6_addr *address, guint port) {
  if (port != wanted->port) {
    return FALSE;
  }
  if (wanted->n_addresses == 0 || is_any(address)) {
    return TRUE;
  }
  for (guint i = 0; i < wanted->n_addresses; i++) {
    if (memcmp(&wanted->addresses[i], address, sizeof *address) == 0) {
      return TRUE;
    }
  }
  return FALSE;
}

/* The inode in a line of the table when it is a listening socket that matches, or 0. */
static guint64 match_line(const char *line, const Wanted *wanted) {
  char local[80];
  char state[8];
  char number[24];
  if (sscanf(line, "%*s %79s %*s %7s %*s %*s %*s %*s %*s %23s", local, state, number) != 3) {
    return 0;
  }
  char *colon = strchr(local, ':');
  guint64 port = 0;
  guint64 inode = 0;
  struct in6_addr address;
  gboolean good = colon != NULL && strcmp(state, STATE_LISTEN) == 0
                  && g_ascii_string_to_unsigned(colon + 1, 16, 1, G_MAXUINT16, &port, NULL)
                  && g_ascii_string_to_unsigned(number, 10, 1, G_MAXUINT64, &inode, NULL)
                  && parse_address(local, &address) && matches(wanted, &address, (guint)port);
  return good ? inode : 0;
}

static guint64 find_socket(const char *table, const Wanted *wanted) {
  FILE *file = fopen(table, "re");
  if (file == NULL) {
    return 0;
  }
  char line[512];
  guint64 inode = 0;
  while (inode == 0 && fgets(line, sizeof line, file) != NULL) {
    inode = match_line(line, wanted);
  }
  (void)fclose(file);
  return inode;
}

static gboolean has_socket(const char *pid, const char *target) {
  g_autofree char *folder = g_strdup_printf("/proc/%s/fd", pid);
  g_autoptr(GDir) directory = g_dir_open(folder, 0, NULL);
  const char *name;
  while (directory != NULL && (name = g_dir_read_name(directory)) != NULL) {
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *link = g_file_read_link(path, NULL);
    if (g_strcmp0(link, target) == 0) {
      return TRUE;
    }
  }
  return FALSE;
}

static pid_t find_owner(guint64 inode) {
  g_autofree char *target = g_strdup_printf("socket:[%" G_GUINT64_FORMAT "]", inode);
  g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
  const char *name;
  while (processes != NULL && (name = g_dir_read_name(processes)) != NULL) {
    if (g_ascii_isdigit(*name) && has_socket(name, target)) {
      return (pid_t)g_ascii_strtoll(name, NULL, 10);
    }
  }
  return 0;
}

pid_t ain_instance_listener(const char *endpoint, GError **error) {
  Wanted wanted = { 0 };
  if (!parse_endpoint(endpoint, &wanted, error)) {
    return 0;
  }
  guint64 inode = find_socket("/proc/net/tcp", &wanted);
  if (inode == 0) {
    inode = find_socket("/proc/net/tcp6", &wanted);
  }
  if (inode == 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "No AINode to stop: nothing listens on %s",
                endpoint);
    return 0;
  }
  pid_t pid = find_owner(inode);
  if (pid == 0) {
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_BUSY,
        "something listens on %s, but this user may not see which process it is: try as the user that "
        "started it, or with sudo",
        endpoint);
  }
  return pid;
}
