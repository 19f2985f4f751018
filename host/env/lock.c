/* Finding the lock of a requirements file. */
#include "env/lock.h"

#include "base/fd.h"

#include <string.h>
#include <unistd.h>

#define FILE_MAX 4194304u

/* NAME.lock for NAME.txt. */
static char *lock_path(const char *requirements, const char *folder) {
  g_autofree char *own = g_path_get_dirname(requirements);
  g_autofree char *name = g_path_get_basename(requirements);
  gsize stem = strlen(name) - (g_str_has_suffix(name, ".txt") ? strlen(".txt") : 0);
  name[stem] = '\0';
  g_autofree char *file = g_strconcat(name, ".lock", NULL);
  return g_build_filename(folder != NULL ? folder : own, file, NULL);
}

/* "3.N" at *text into *minor; moves *text behind it. */
static gboolean read_version(const char **text, guint64 *minor) {
  if (!g_str_has_prefix(*text, "3.") || !g_ascii_isdigit((*text)[2])) {
    return FALSE;
  }
  *minor = g_ascii_strtoull(*text + 2, (char **)text, 10);
  return TRUE;
}

static gboolean is_for(const char *lock, const AinInterpreter *python) {
  const char *head = "# CPython ";
  guint64 oldest = 0;
  guint64 newest = 0;
  if (!g_str_has_prefix(lock, head)) {
    return FALSE;
  }
  const char *text = lock + strlen(head);
  if (!read_version(&text, &oldest) || *text++ != '-' || !read_version(&text, &newest)) {
    return FALSE;
  }
  guint minor = (python->version_hex >> 16) & 0xff;
  return python->version_hex >> 24 == 3 && minor >= oldest && minor <= newest;
}

char *ain_env_lock_find(const char *requirements, const char *wheelhouse, const AinInterpreter *python,
                        char **why) {
  *why = NULL;
  g_autofree char *path = lock_path(requirements, wheelhouse);
  if (access(path, F_OK) != 0) {
    return NULL;
  }
  g_autoptr(GBytes) text = ain_file_read(path, FILE_MAX, NULL);
  if (text != NULL && is_for(g_bytes_get_data(text, NULL), python)) {
    return g_steal_pointer(&path);
  }
  *why = g_strdup_printf("%s has no exact versions for Python %s", path, python->version);
  return NULL;
}
