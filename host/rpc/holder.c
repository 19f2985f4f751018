/* Which process listens on a port: /proc/net/tcp names the socket, /proc/<pid>/fd its owner. Only ever a help
 * in an error message: anything unexpected means "unknown". */
#include "rpc/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TCP_LISTEN_STATE 0x0A
#define MAX_LINE 512

/* The inode of the socket that listens on the port, or 0. */
static guint64 inode_of(const char *table, guint16 port) {
  char line[MAX_LINE];
  guint64 found = 0;
  FILE *file = fopen(table, "re");
  if (file == NULL) {
    return 0;
  }
  while (found == 0 && fgets(line, sizeof line, file) != NULL) {
    /* sl local:port remote:port state tx:rx tr:when retransmits uid timeout inode ... */
    g_auto(GStrv) words = g_strsplit_set(g_strstrip(line), " ", -1);
    const char *word[10] = { NULL };
    guint n_words = 0;
    for (guint i = 0; words[i] != NULL && n_words < G_N_ELEMENTS(word); i++) {
      if (*words[i] != '\0') {
        word[n_words++] = words[i];
      }
    }
    const char *colon = n_words == G_N_ELEMENTS(word) ? strrchr(word[1], ':') : NULL;
    if (colon != NULL && g_ascii_strtoull(colon + 1, NULL, 16) == port
        && g_ascii_strtoull(word[3], NULL, 16) == TCP_LISTEN_STATE) {
      found = g_ascii_strtoull(word[9], NULL, 10);
    }
  }
  (void)fclose(file);
  return found;
}

static gboolean holds(const char *pid, const char *wanted) {
  g_autofree char *path = g_build_filename("/proc", pid, "fd", NULL);
  g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
  const char *name = NULL;
  while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
    g_autofree char *link = g_build_filename(path, name, NULL);
    char target[64];
    ssize_t size = readlink(link, target, sizeof target - 1);
    if (size > 0) {
      target[size] = '\0';
      if (strcmp(target, wanted) == 0) {
        return TRUE;
      }
    }
  }
  return FALSE;
}

gint64 ain_port_holder(guint16 port) {
  guint64 inode = inode_of("/proc/net/tcp", port);
  if (inode == 0) {
    inode = inode_of("/proc/net/tcp6", port);
  }
  g_autoptr(GDir) dir = inode != 0 ? g_dir_open("/proc", 0, NULL) : NULL;
  g_autofree char *wanted = g_strdup_printf("socket:[%" G_GUINT64_FORMAT "]", inode);
  const char *name = NULL;
  while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
    if (g_ascii_isdigit(*name) && holds(name, wanted)) {
      return g_ascii_strtoll(name, NULL, 10);
    }
  }
  return 0;
}
