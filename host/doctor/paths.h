/* Questions about paths that change nothing on disk. Private to host/doctor. */
#pragma once
#include <glib.h>
#include <sys/stat.h>

/* The path itself, or the nearest folder above it that exists. Owned. */
char *ain_path_nearest(const char *path);

/* 0 when this user may make and remove entries in the existing folder, else an errno value: EACCES, EROFS
 * (read-only file system), EPERM (immutable). Effective rights, not the real user's. */
int ain_path_cannot_write(const char *path);

/* "uid 1000, mode 0755". Owned. */
char *ain_path_owner_text(const struct stat *info);

/* The mount point of the path, from /proc/self/mountinfo; NULL when it cannot be told. Owned. */
char *ain_path_mount(const char *path);
/* Whether programs and libraries on it cannot be run or loaded. */
gboolean ain_path_is_noexec(const char *path);

/* "chown -R UID DIR" and the like, with sudo unless root, quoted. Owned. */
char *ain_path_mend_owner(const char *path);
