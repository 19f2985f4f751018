#include "base/fd.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void ain_fd_close(int *fd) {
  if (*fd >= 0) {
    int saved = errno;
    close(*fd);
    errno = saved;
    *fd = -1;
  }
}

static gboolean read_exactly(int fd, guint8 *data, gsize size, gsize *out_read) {
  gsize done = 0;
  while (done < size) {
    ssize_t count = read(fd, data + done, size - done);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return FALSE;
    }
    if (count == 0) {
      break;
    }
    done += (gsize)count;
  }
  *out_read = done;
  return TRUE;
}

GBytes *ain_file_read(const char *path, gsize max_size, GError **error) {
  /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot open %s", path);
    return NULL;
  }
  if (!S_ISREG(info.st_mode)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s is not a regular file", path);
    return NULL;
  }
  if (info.st_size < 0 || (guint64)info.st_size > max_size) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "%s has %" G_GINT64_FORMAT " bytes, more than the %" G_GSIZE_FORMAT " allowed", path,
                (gint64)info.st_size, max_size);
    return NULL;
  }
  gsize size = (gsize)info.st_size;
  g_autofree guint8 *data = g_malloc(size + 1);
  gsize got = 0;
  if (!read_exactly(fd, data, size, &got)) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot read %s", path);
    return NULL;
  }
  data[got] = 0;
  return g_bytes_new_take(g_steal_pointer(&data), got);
}

static gboolean write_all(int fd, const guint8 *data, gsize size) {
  while (size > 0) {
    ssize_t count = write(fd, data, size);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return FALSE;
    }
    data += count;
    size -= (gsize)count;
  }
  return TRUE;
}

static void sync_directory_of(const char *path) {
  g_autofree char *directory = g_path_get_dirname(path);
  ain_fd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)fsync(fd); /* some file systems refuse this; the rename itself is still atomic */
  }
}

gboolean ain_file_replace(const char *path, const void *data, gsize size, mode_t mode, GError **error) {
  g_autofree char *temporary = g_strdup_printf("%s.XXXXXX", path);
  ain_fd int fd = g_mkstemp_full(temporary, O_WRONLY | O_CLOEXEC, (int)mode);
  if (fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot create a file beside %s", path);
    return FALSE;
  }
  if (!write_all(fd, data, size) || fsync(fd) != 0 || rename(temporary, path) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot write %s", path);
    (void)unlink(temporary);
    return FALSE;
  }
  sync_directory_of(path);
  return TRUE;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  return remove(path);
}

gboolean ain_file_remove_tree(const char *path, GError **error) {
  /* glibc's nftw is safe between threads unless it changes the current directory (FTW_CHDIR).
   * NOLINTNEXTLINE(concurrency-mt-unsafe) */
  if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot remove %s", path);
    return FALSE;
  }
  return TRUE;
}

gboolean ain_file_make_directory(const char *path, GError **error) {
  if (g_mkdir_with_parents(path, 0777) != 0) {
    ain_error_set_errno(error, AIN_ERROR_INVALID, errno, "cannot create the directory %s", path);
    return FALSE;
  }
  return TRUE;
}
