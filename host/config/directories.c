/* Making sure at start that the node can write where it must. */
#include "base/error.h"
#include "base/fd.h"
#include "config/load.h"
#include "config/properties.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

G_GNUC_PRINTF(5, 6)
static gboolean refuse(const AinConfig *config, const char *name, const char *path, GError **error,
                       const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *reason = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  const AinKey *key = ain_key_find(name);
  const struct AinOrigin *origin = config->origins != NULL ? &config->origins[ain_key_index(key)] : NULL;
  g_autofree char *shown = ain_properties_quote(path);
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
              "%s: %s = %s %s; allowed: a directory that this user (uid %u) may make and write",
              origin != NULL ? origin->source : "default", origin != NULL ? origin->spelled : name, shown,
              reason, (unsigned)geteuid());
  return FALSE;
}

/* Permissions, read-only mounts, full disks and quotas all show when a file is made, so one is made. */
static gboolean prepare(const AinConfig *config, const char *key, const char *path, GError **error) {
  /* 0755: what is kept here is nobody else's to write, whatever the umask says */
  if (g_mkdir_with_parents(path, 0755) != 0) {
    return refuse(config, key, path, error, "cannot be created: %s", g_strerror(errno));
  }
  struct stat info;
  if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
    return refuse(config, key, path, error, "is not a directory");
  }
  g_autofree char *probe = g_build_filename(path, ".ainode-write-test-XXXXXX", NULL);
  ain_fd int fd = g_mkstemp_full(probe, O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    return refuse(config, key, path, error, "is not writable: %s", g_strerror(errno));
  }
  gboolean written = write(fd, "\n", 1) == 1;
  int saved = errno;
  (void)unlink(probe);
  return written || refuse(config, key, path, error, "cannot be written: %s", g_strerror(saved));
}

gboolean ain_config_prepare_directories(const AinConfig *config, GError **error) {
  return prepare(config, "ain_system_dir", config->system_dir, error)
         && prepare(config, "ain_models_dir", config->models_dir, error)
         && prepare(config, "ain_logs_dir", config->logs_dir, error);
}
