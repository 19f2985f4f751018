/* File descriptors and mappings that close themselves, and the few system calls everyone needs.
 * All descriptors made here are close-on-exec. Any thread. */
#pragma once
#include <glib.h>
#include <sys/types.h>

/* `ain_fd int fd = -1;` closes at scope end; hand it on with ain_fd_steal(&fd). */
static inline int ain_fd_steal(int *fd) {
  int value = *fd;
  *fd = -1;
  return value;
}
void ain_fd_close(int *fd); /* closes *fd when >= 0 and sets -1; keeps errno */
static inline void ain_fd_cleanup(int *fd) {
  ain_fd_close(fd);
}
#define ain_fd __attribute__((cleanup(ain_fd_cleanup)))

/* Reads a whole regular file of at most max_size bytes. Errors: INVALID (not a regular file), TOO_LARGE,
 * INTERNAL. Returns owned bytes with a terminating NUL outside their size. */
GBytes *ain_file_read(const char *path, gsize max_size, GError **error);

/* Replaces path with data atomically: temporary file in the same folder, fsync, rename, fsync of the folder.
 */
gboolean ain_file_replace(const char *path, const void *data, gsize size, mode_t mode, GError **error);

/* Removes a tree without following links; a missing path is success. */
gboolean ain_file_remove_tree(const char *path, GError **error);

/* Makes the folder and its parents with the process' umask. */
gboolean ain_file_make_directory(const char *path, GError **error);
