/* Who runs here, who was here before, and the port. */
#include "app/instance.h"
#include "base/error.h"
#include "base/fd.h"
#include "cluster/identity.h"
#include "doctor/check.h"
#include "doctor/paths.h"
#include "env/mend.h"
#include "env/venv.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEFTOVERS_NAMED 3u

static gboolean no_config(AinLook *look) {
  if (look->facts->config == NULL) {
    ain_look_skip(look, "the configuration cannot be read");
    return TRUE;
  }
  return FALSE;
}

/* "java", or "?" where this user may not see it. */
static char *name_of(pid_t pid) {
  g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
  char *name = NULL;
  return g_file_get_contents(path, &name, NULL, NULL) ? g_strchomp(name) : g_strdup("?");
}

/* --- the pid file ----------------------------------------------------------------------------------------
 */

/* The number in the file; 0: empty, as an orderly end leaves it; -1: something else. */
static gint64 number_in(int fd) {
  char text[64];
  ssize_t count = pread(fd, text, sizeof text - 1, 0);
  text[count > 0 ? count : 0] = '\0';
  g_strchomp(text);
  gint64 number = -1;
  if (*text == '\0') {
    return 0;
  }
  return g_ascii_string_to_signed(text, 10, 1, G_MAXINT, &number, NULL) ? number : -1;
}

static void look_stale(AinLook *look, const char *path, gint64 number) {
  static const char mend[] =
      "nothing: the next start takes the file over; the end of logs/log_ainode_all.log may tell the cause";
  g_autofree char *process = g_strdup_printf("/proc/%" G_GINT64_FORMAT, number);
  if (number < 0) {
    ain_look_warn(look, mend, "%s holds no process number, and no AINode holds it: it is damaged", path);
  } else if (access(process, F_OK) == 0) {
    g_autofree char *name = name_of((pid_t)number);
    ain_look_warn(look, mend,
                  "%s is stale: it names process %" G_GINT64_FORMAT
                  ", which is now another program (%s); the AINode "
                  "ended without an orderly stop",
                  path, number, name);
  } else {
    ain_look_warn(look, mend,
                  "%s is stale: it names process %" G_GINT64_FORMAT
                  ", which is gone; the AINode ended without an "
                  "orderly stop (crash, kill -9, power)",
                  path, number);
  }
}

void ain_check_instance(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const char *system_dir = look->facts->config->system_dir;
  g_autofree char *path = g_build_filename(system_dir, "ainode.pid", NULL);
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) {
    ain_look_ok(look, "no AINode runs on %s", system_dir);
    return;
  }
  if (fd < 0) {
    g_autofree char *mend = ain_path_mend_owner(system_dir);
    ain_look_error(look, mend, "%s cannot be read: %s", path, g_strerror(errno));
    return;
  }
  look->found.holder = ain_instance_holder(system_dir);
  if (look->found.holder != 0) {
    ain_look_ok(look, "an AINode runs on %s, as process %d; a second start would be refused", system_dir,
                (int)look->found.holder);
    return;
  }
  if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno != EWOULDBLOCK) {
    ain_look_error(look, "put ain_system_dir on a local file system",
                   "%s cannot be locked: %s; the file system does not support it", path, g_strerror(errno));
    return;
  }
  gint64 number = number_in(fd);
  if (number != 0) {
    look_stale(look, path, number);
  } else {
    ain_look_ok(look, "no AINode runs on %s; the last one ended in order", system_dir);
  }
}

/* --- identity --------------------------------------------------------------------------------------------
 */

void ain_check_identity(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  g_autoptr(GError) error = NULL;
  look->found.identity = ain_identity_load(look->facts->config->system_dir, &error);
  if (look->found.identity == NULL) {
    ain_look_error(look, NULL, "%s", error->message);
    return;
  }
  if (look->found.identity->node_id < 0) {
    ain_look_ok(look, "this node was never registered; the first start does it");
    return;
  }
  g_autoptr(GPtrArray) notes = ain_identity_notes(look->found.identity, look->facts->config);
  for (guint i = 0; i < notes->len; i++) {
    ain_look_warn(look, NULL, "%s", (const char *)g_ptr_array_index(notes, i));
  }
  if (notes->len == 0) {
    ain_look_ok(look, "this is node %d of cluster %s", (int)look->found.identity->node_id,
                look->found.identity->cluster_name != NULL ? look->found.identity->cluster_name
                                                           : "(not named)");
  }
}

/* --- leftovers -------------------------------------------------------------------------------------------
 */

static void add_entries(GPtrArray *found, const char *directory, const char *prefix) {
  g_autoptr(GDir) folder = g_dir_open(directory, 0, NULL);
  const char *name;
  while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
    if (g_str_has_prefix(name, prefix)) {
      g_ptr_array_add(found, g_build_filename(directory, name, NULL));
    }
  }
}

void ain_check_leftovers(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const AinConfig *config = look->facts->config;
  if (look->facts->holder != 0) {
    ain_look_ok(look, "not looked for: the AINode that runs is using its working files");
    return;
  }
  g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *staging = g_build_filename(config->models_dir, ".staging", NULL);
  g_autofree char *workers = g_build_filename(config->system_dir, "workers", NULL);
  add_entries(found, staging, "");
  add_entries(found, workers, "worker-");
  add_entries(found, config->system_dir, ".ainode-write-test-");
  add_entries(found, config->models_dir, ".ainode-write-test-");
  add_entries(found, config->logs_dir, ".ainode-write-test-");
  if (found->len == 0) {
    ain_look_ok(look, "an earlier run left nothing unfinished");
    return;
  }
  guint named = MIN(found->len, LEFTOVERS_NAMED);
  g_autoptr(GString) names = g_string_new(NULL);
  for (guint i = 0; i < named; i++) {
    g_string_append_printf(names, "%s%s", i > 0 ? ", " : "", (const char *)g_ptr_array_index(found, i));
  }
  ain_look_warn(look, "nothing: the next start removes what registrations and workers left",
                "an earlier run ended in the middle of its work and left %u entries: %s%s", found->len,
                names->str, found->len > named ? ", ..." : "");
}

/* --- port ------------------------------------------------------------------------------------------------
 */

/* 0: it can be bound now; else an errno value, or -1 when the name means no address. Nothing listens. */
static int try_bind(const char *host, guint16 port) {
  const struct addrinfo hints = { .ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
  struct addrinfo *found = NULL;
  g_autofree char *text = g_strdup_printf("%u", port);
  if (getaddrinfo(host, text, &hints, &found) != 0) {
    return -1;
  }
  int failed = EADDRNOTAVAIL;
  for (const struct addrinfo *one = found; one != NULL && failed != 0; one = one->ai_next) {
    int on = 1;
    ain_fd int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    failed = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0
                     || bind(fd, one->ai_addr, one->ai_addrlen) != 0
                 ? errno
                 : 0;
  }
  freeaddrinfo(found);
  return failed;
}

static void look_taken(AinLook *look, const char *endpoint, pid_t pid) {
  g_autofree char *name = name_of(pid);
  g_autofree char *mend = NULL;
  if (strcmp(name, "ainode") == 0) {
    mend =
        g_strdup_printf("sbin/stop-ainode.sh -t %s, or set ain_inference_rpc_port to another port", endpoint);
    ain_look_error(look, mend, "%s is taken by process %d (%s), an AINode of another directory", endpoint,
                   (int)pid, name);
  } else {
    mend = g_strdup_printf("set ain_inference_rpc_port to a free port, or end it: kill %d", (int)pid);
    ain_look_error(look, mend, "%s is taken by process %d (%s)", endpoint, (int)pid, name);
  }
}

void ain_check_port(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const AinConfig *config = look->facts->config;
  g_autofree char *endpoint = strchr(config->rpc_address, ':') != NULL
                                  ? g_strdup_printf("[%s]:%u", config->rpc_address, config->rpc_port)
                                  : g_strdup_printf("%s:%u", config->rpc_address, config->rpc_port);
  g_autoptr(GError) error = NULL;
  pid_t pid = ain_instance_listener(endpoint, &error);
  if (pid != 0 && pid == look->facts->holder) {
    ain_look_ok(look, "%s is served by the AINode that runs here", endpoint);
    return;
  }
  if (pid != 0) {
    look_taken(look, endpoint, pid);
    return;
  }
  int failed = try_bind(config->rpc_address, config->rpc_port);
  if (g_error_matches(error, AIN_ERROR, AIN_ERROR_BUSY) || failed == EADDRINUSE) {
    g_autofree char *mend =
        g_strdup_printf("sudo ss -ltnp 'sport = :%u' names it; or set ain_inference_rpc_port to a free port",
                        config->rpc_port);
    ain_look_error(look, mend, "%s is taken by a process of another user", endpoint);
  } else if (failed == 0) {
    ain_look_ok(look, "%s is free", endpoint);
  } else if (failed == EACCES) {
    ain_look_error(look, "set ain_inference_rpc_port to a port above 1023",
                   "%s may not be used by uid %u: %s", endpoint, (unsigned)geteuid(), g_strerror(failed));
  } else {
    ain_look_error(look, "set ain_rpc_address to an address of this machine (ip -brief address)",
                   "%s cannot be listened on: %s", endpoint,
                   failed == -1              ? "the name is not known here"
                   : failed == EADDRNOTAVAIL ? "this machine does not have that address"
                                             : g_strerror(failed));
  }
}
