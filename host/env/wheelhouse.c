/* Wheels without a network: unpacking and checking what was carried over. */
#include "env/wheelhouse.h"

#include "base/error.h"
#include "base/fd.h"
#include "env/mend.h"
#include "env/spawn.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIST_MAX 1048576u
#define UNPACK_LIMIT_US (G_GINT64_CONSTANT(1800) * G_USEC_PER_SEC)
#define OUTPUT_MAX 65536u
#define SUM_LENGTH 64u

void ain_env_wheelhouse_clear(AinEnvWheelhouse *wheelhouse) {
  if (wheelhouse->unpacked != NULL) {
    g_autoptr(GError) error = NULL;
    if (!ain_file_remove_tree(wheelhouse->unpacked, &error)) {
      g_warning("%s stays behind: %s", wheelhouse->unpacked, error->message);
    }
  }
  g_clear_pointer(&wheelhouse->unpacked, g_free);
  g_clear_pointer(&wheelhouse->folder, g_free);
}

gboolean ain_env_wheelhouse_exists(const char *path, GError **error) {
  if (g_file_test(path, G_FILE_TEST_IS_DIR) || g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
    return TRUE;
  }
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
      "packages are to be installed without a network, but there are no wheels: the folder or archive "
      "%s does not exist; on a connected machine with the same system and Python run "
      "bash lib/venv-bootstrap/make-wheelhouse.sh, and copy the archive that it makes to that place",
      path);
  return FALSE;
}

static gboolean make_place(const char *place, char **made, GError **error) {
  if (place == NULL) {
    *made = g_dir_make_tmp("ainode-wheels-XXXXXX", error);
    return *made != NULL;
  }
  if (!ain_file_remove_tree(place, error) || !ain_file_make_directory(place, error)) {
    return FALSE;
  }
  *made = g_strdup(place);
  return TRUE;
}

static gboolean unpack(const char *archive, const char *folder, GError **error) {
  g_autofree char *tar = g_find_program_in_path("tar");
  if (tar == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "%s is an archive, and there is no program tar to unpack it: install tar, or name a folder "
                "of wheels",
                archive);
    return FALSE;
  }
  g_print("Unpacking %s ...\n", archive);
  /* Members that would leave the folder are tar's to refuse. */
  char *argv[] = { tar,
                   "--extract",
                   "--file",
                   (char *)archive,
                   "--directory",
                   (char *)folder,
                   "--strip-components=1",
                   "--no-same-owner",
                   NULL };
  g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
  environment = g_environ_unsetenv(environment, "TAR_OPTIONS");
  g_auto(AinEnvCapture) capture = { 0 };
  if (!ain_env_spawn_capture(argv, environment, UNPACK_LIMIT_US, OUTPUT_MAX, &capture, error)) {
    return FALSE;
  }
  if (WIFEXITED(capture.status) && WEXITSTATUS(capture.status) == 0 && !capture.timed_out) {
    return TRUE;
  }
  g_strdelimit(g_strstrip(capture.errors->str), "\n\r", ' ');
  g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
              "the archive %s cannot be unpacked; it is damaged or was not copied whole, or the disk is full "
              "(%s): compare its size with the original's and copy it again",
              archive, capture.timed_out ? "it took too long" : capture.errors->str);
  return FALSE;
}

/* made-for.txt is one line: "CPython 3.11 x86_64". */
static gboolean check_kind(const char *path, const char *folder, const AinInterpreter *python,
                           GError **error) {
  g_autofree char *file = g_build_filename(folder, "made-for.txt", NULL);
  if (access(file, F_OK) != 0) {
    return TRUE;
  }
  g_autoptr(GBytes) bytes = ain_file_read(file, LIST_MAX, error);
  struct utsname machine;
  if (bytes == NULL || uname(&machine) != 0) {
    return FALSE;
  }
  g_autofree char *made_for = g_strstrip(g_strdup(g_bytes_get_data(bytes, NULL)));
  guint minor = (python->version_hex >> 16) & 0xff;
  g_autofree char *here = g_strdup_printf("CPython 3.%u %s", minor, machine.machine);
  if (strcmp(made_for, here) == 0) {
    return TRUE;
  }
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
      "the wheels in %s are for %.100s, and %s is %s: make them with make-wheelhouse.sh --python 3.%u "
      "on such a machine, or use a Python of that version (make the folder venv with it yourself)",
      path, made_for, python->executable, here, minor);
  return FALSE;
}

/* Lines as sha256sum writes them: the sum, two characters, the name. */
static gboolean check_list(const char *path, const char *folder, GError **error) {
  g_autofree char *file = g_build_filename(folder, "SHA256SUMS", NULL);
  if (access(file, F_OK) != 0) {
    return TRUE;
  }
  g_autoptr(GBytes) bytes = ain_file_read(file, LIST_MAX, error);
  if (bytes == NULL) {
    return FALSE;
  }
  g_auto(GStrv) lines = g_strsplit(g_bytes_get_data(bytes, NULL), "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    if (strlen(*line) <= SUM_LENGTH + 2) {
      continue;
    }
    const char *name = *line + SUM_LENGTH + 2;
    g_autofree char *listed = g_build_filename(folder, name, NULL);
    if (access(listed, R_OK) != 0) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                  "%s lacks the file %s, which its own list SHA256SUMS names (%s): copy it again", path, name,
                  g_strerror(errno));
      return FALSE;
    }
  }
  return TRUE;
}

gboolean ain_env_wheelhouse_open(const char *path, const char *place, const AinInterpreter *python,
                                 AinEnvWheelhouse *wheelhouse, GError **error) {
  *wheelhouse = (AinEnvWheelhouse){ 0 };
  if (!ain_env_wheelhouse_exists(path, error)) {
    return FALSE;
  }
  if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
    wheelhouse->folder = g_canonicalize_filename(path, NULL);
  } else {
    g_autofree char *archive = g_canonicalize_filename(path, NULL); /* no name that tar takes for an option */
    if (!make_place(place, &wheelhouse->unpacked, error) || !unpack(archive, wheelhouse->unpacked, error)) {
      ain_env_wheelhouse_clear(wheelhouse);
      return FALSE;
    }
    wheelhouse->folder = g_strdup(wheelhouse->unpacked);
  }
  if (!check_kind(path, wheelhouse->folder, python, error) || !check_list(path, wheelhouse->folder, error)) {
    ain_env_wheelhouse_clear(wheelhouse);
    return FALSE;
  }
  return TRUE;
}
