#include "doctor/paths.h"

#include "env/mend.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

char *ain_path_nearest(const char *path) {
  char *nearest = g_strdup(path);
  struct stat info;
  while (stat(nearest, &info) != 0 && strcmp(nearest, "/") != 0 && strcmp(nearest, ".") != 0) {
    char *parent = g_path_get_dirname(nearest);
    g_free(nearest);
    nearest = parent;
  }
  return nearest;
}

int ain_path_cannot_write(const char *path) {
  return faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

char *ain_path_owner_text(const struct stat *info) {
  return g_strdup_printf("uid %u, mode %04o", (unsigned)info->st_uid, (unsigned)(info->st_mode & 07777));
}

/* The longest mount point that is the path or above it. */
char *ain_path_mount(const char *path) {
  g_autofree char *text = NULL;
  if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL)) {
    return NULL;
  }
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  char *found = NULL;
  for (char **line = lines; *line != NULL; line++) {
    g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
    if (g_strv_length(fields) < 6) {
      continue;
    }
    g_autofree char *mount = g_strcompress(fields[4]); /* \040 for a space */
    gsize size = strlen(mount);
    gboolean above = strcmp(mount, "/") == 0
                     || (g_str_has_prefix(path, mount) && (path[size] == '/' || path[size] == '\0'));
    if (above && (found == NULL || size >= strlen(found))) {
      g_free(found);
      found = g_steal_pointer(&mount);
    }
  }
  return found;
}

gboolean ain_path_is_noexec(const char *path) {
  struct statvfs info;
  return statvfs(path, &info) == 0 && (info.f_flag & ST_NOEXEC) != 0;
}

char *ain_path_mend_owner(const char *path) {
  g_autofree char *quoted = ain_env_mend_quote(path);
  return g_strdup_printf("%schown -R %u %s", geteuid() == 0 ? "" : "sudo ", (unsigned)geteuid(), quoted);
}
