/* Where the node writes: rights, owners, space. Looked at without writing. */
#include "doctor/check.h"
#include "doctor/paths.h"
#include "env/mend.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define LEAST_SPACE (4 * MIB)    /* the identity, the probe, some log lines */
#define LITTLE_SPACE (256 * MIB) /* a few models and a week of logs */
#define VENV_SPACE (6144 * MIB)  /* torch with CUDA from pip, unpacked, and its archives meanwhile */
#define FEW_INODES 1000u
#define FOREIGN_NAMED 3u

typedef struct {
  const char *key;
  const char *path;
} Directory;

#define DIRECTORIES 3u
static void directories_of(const AinConfig *config, Directory list[DIRECTORIES]) {
  list[0] = (Directory){ "ain_system_dir", config->system_dir };
  list[1] = (Directory){ "ain_models_dir", config->models_dir };
  list[2] = (Directory){ "ain_logs_dir", config->logs_dir };
}

static gboolean no_config(AinLook *look) {
  if (look->facts->config == NULL) {
    ain_look_skip(look, "the configuration cannot be read, so the directories are not known");
    return TRUE;
  }
  return FALSE;
}

static void look_unwritable(AinLook *look, const Directory *directory, const char *nearest, int reason) {
  struct stat info = { 0 };
  (void)stat(nearest, &info);
  gboolean absent = strcmp(nearest, directory->path) != 0;
  g_autofree char *owner = ain_path_owner_text(&info);
  g_autofree char *mount = ain_path_mount(nearest);
  g_autofree char *quoted = ain_env_mend_quote(mount != NULL ? mount : nearest);
  g_autofree char *mend = NULL;
  const char *why = "not writable for this user";
  if (reason == EROFS) {
    why = "on a read-only file system";
    mend = g_strdup_printf("%smount -o remount,rw %s, or set %s to a writable place",
                           geteuid() == 0 ? "" : "sudo ", quoted, directory->key);
  } else if (reason == EPERM) {
    why = "immutable";
    mend = g_strdup_printf("%schattr -i %s", geteuid() == 0 ? "" : "sudo ", nearest);
  } else {
    mend = ain_path_mend_owner(nearest);
  }
  if (absent) {
    ain_look_error(look, mend, "%s = %s does not exist and cannot be made: %s is %s (%s; this is uid %u)",
                   directory->key, directory->path, nearest, why, owner, (unsigned)geteuid());
  } else {
    ain_look_error(look, mend, "%s = %s is %s (%s; this is uid %u)", directory->key, directory->path, why,
                   owner, (unsigned)geteuid());
  }
}

static void look_at_directory(AinLook *look, const Directory *directory) {
  g_autofree char *nearest = ain_path_nearest(directory->path);
  struct stat info;
  if (stat(nearest, &info) != 0 || !S_ISDIR(info.st_mode)) {
    g_autofree char *quoted = ain_env_mend_quote(nearest);
    g_autofree char *mend =
        g_strdup_printf("mv %s %s.old, or set %s to another place", quoted, quoted, directory->key);
    ain_look_error(look, mend, "%s = %s: %s is not a directory", directory->key, directory->path, nearest);
    return;
  }
  int reason = ain_path_cannot_write(nearest);
  if (reason != 0) {
    look_unwritable(look, directory, nearest, reason);
    return;
  }
  if (strcmp(nearest, directory->path) != 0) {
    ain_look_ok(look, "%s = %s will be made by the start", directory->key, directory->path);
    return;
  }
  g_autofree char *owner = ain_path_owner_text(&info);
  if ((info.st_mode & S_IWOTH) != 0) {
    g_autofree char *quoted = ain_env_mend_quote(directory->path);
    g_autofree char *mend = g_strdup_printf("chmod o-w %s", quoted);
    ain_look_warn(look, mend, "%s = %s is writable for everybody (%s): any user can put models there",
                  directory->key, directory->path, owner);
    return;
  }
  ain_look_ok(look, "%s = %s (%s)", directory->key, directory->path, owner);
}

void ain_check_directories(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  Directory list[DIRECTORIES];
  directories_of(look->facts->config, list);
  for (guint i = 0; i < DIRECTORIES; i++) {
    look_at_directory(look, &list[i]);
  }
}

/* --- owners of what is inside ----------------------------------------------------------------------------
 */

/* Whether this user may write the file, or the folder. */
static gboolean is_foreign(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0 || S_ISLNK(info.st_mode)) {
    return FALSE;
  }
  if (S_ISDIR(info.st_mode)) {
    return ain_path_cannot_write(path) == EACCES;
  }
  return eaccess(path, W_OK) != 0 && errno == EACCES;
}

/* The usual cause: one start as root, the next as the service's user. */
static guint add_foreign(const char *directory, GString *names) {
  g_autoptr(GDir) folder = g_dir_open(directory, 0, NULL);
  const char *name;
  guint count = 0;
  while (folder != NULL && (name = g_dir_read_name(folder)) != NULL) {
    g_autofree char *path = g_build_filename(directory, name, NULL);
    if (!is_foreign(path)) {
      continue;
    }
    if (count++ < FOREIGN_NAMED) {
      struct stat info = { 0 };
      (void)lstat(path, &info);
      g_string_append_printf(names, "%s%s (uid %u, mode %04o)", names->len > 0 ? ", " : "", name,
                             (unsigned)info.st_uid, (unsigned)(info.st_mode & 07777));
    }
  }
  return count;
}

void ain_check_ownership(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  Directory list[DIRECTORIES];
  directories_of(look->facts->config, list);
  for (guint i = 0; i < DIRECTORIES; i++) {
    g_autoptr(GString) names = g_string_new(NULL);
    guint count = add_foreign(list[i].path, names);
    if (count > 0) {
      g_autofree char *mend = ain_path_mend_owner(list[i].path);
      ain_look_error(
          look, mend,
          "in %s %u entries belong to another user and are not writable for uid %u: %s%s; perhaps the "
          "node was once started as root",
          list[i].path, count, (unsigned)geteuid(), names->str, count > FOREIGN_NAMED ? ", ..." : "");
    }
  }
  if (look->findings->len == 0) {
    ain_look_ok(look, "what lies in the directories is writable for this user (uid %u)", (unsigned)geteuid());
  }
}

/* --- space -----------------------------------------------------------------------------------------------
 */

static void look_at_space(AinLook *look, const char *what, const char *path, guint64 least, guint64 little) {
  g_autofree char *nearest = ain_path_nearest(path);
  struct statvfs info;
  if (statvfs(nearest, &info) != 0) {
    ain_look_skip(look, "%s, %s: %s", what, path, g_strerror(errno));
    return;
  }
  if (info.f_blocks == 0) {
    ain_look_skip(look, "%s, %s: its file system has no size", what, path);
    return;
  }
  guint64 left = (guint64)info.f_bavail * info.f_frsize;
  g_autofree char *mount = ain_path_mount(nearest);
  const char *shown = mount != NULL ? mount : nearest;
  g_autofree char *quoted = ain_env_mend_quote(shown);
  g_autofree char *mend =
      g_strdup_printf("make room: du -xh %s | sort -h | tail; or set another place", quoted);
  if (left < least) {
    ain_look_error(look, mend, "%s, %s: the disk is full, %.1f MiB are left on %s", what, path,
                   (double)left / (double)MIB, shown);
  } else if (info.f_files > 0 && info.f_favail < FEW_INODES) {
    ain_look_error(look, mend, "%s, %s: only %ju more files can be made on %s (df -i)", what, path,
                   (uintmax_t)info.f_favail, shown);
  } else if (left < little) {
    ain_look_warn(look, mend, "%s, %s: %.0f MiB are left on %s", what, path, (double)left / (double)MIB,
                  shown);
  } else {
    ain_look_ok(look, "%s: %.1f GiB are left on %s", what, (double)left / (double)(1024 * MIB), shown);
  }
}

void ain_check_disk(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  Directory list[DIRECTORIES];
  directories_of(look->facts->config, list);
  dev_t seen[DIRECTORIES] = { 0 };
  for (guint i = 0; i < DIRECTORIES; i++) {
    g_autofree char *nearest = ain_path_nearest(list[i].path);
    struct stat info = { 0 };
    (void)stat(nearest, &info);
    gboolean known = FALSE;
    for (guint j = 0; j < i; j++) {
      known |= seen[j] == info.st_dev;
    }
    seen[i] = info.st_dev;
    if (!known) {
      look_at_space(look, list[i].key, list[i].path, LEAST_SPACE, LITTLE_SPACE);
    }
  }
  /* A venv will be made only when no interpreter was named and there is none yet. */
  g_autofree char *venv = g_build_filename(look->request->home, "venv", NULL);
  if (look->request->python == NULL && !g_file_test(venv, G_FILE_TEST_IS_DIR)) {
    look_at_space(look, "venv", venv, LEAST_SPACE, VENV_SPACE);
  }
}

void ain_check_temporary(AinLook *look) {
  const char *folder = g_get_tmp_dir(); /* TMPDIR, else /tmp */
  struct stat info;
  if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) {
    ain_look_warn(look, "export TMPDIR=/var/tmp", "the temporary folder %s does not exist: pip needs one",
                  folder);
    return;
  }
  if (ain_path_cannot_write(folder) != 0) {
    g_autofree char *owner = ain_path_owner_text(&info);
    ain_look_warn(look, "chmod 1777 /tmp as root, or export TMPDIR=/var/tmp",
                  "the temporary folder %s is not writable (%s): pip needs one", folder, owner);
    return;
  }
  look_at_space(look, "temporary files", folder, 0, LITTLE_SPACE);
}
