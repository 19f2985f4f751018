/* A venv holds absolute paths, so it is made in place: a mark at the beginning, another at the end, and what
 * has the first without the second is made anew. */
#include "env/venv.h"

#include "base/error.h"
#include "base/fd.h"
#include "env/lock.h"
#include "env/mend.h"
#include "env/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESUMING_PIP_MAJOR 25u
#define RESUMING_PIP_MINOR 2u
#define ARGUMENTS_MAX 64u
#define BEGIN_MARK ".ainode-incomplete"
#define END_MARK ".ainode-complete"

static gboolean has(const char *venv, const char *name) {
  g_autofree char *path = g_build_filename(venv, name, NULL);
  return access(path, F_OK) == 0;
}

static gboolean is_empty(const char *folder) {
  g_autoptr(GDir) directory = g_dir_open(folder, 0, NULL);
  return directory != NULL && g_dir_read_name(directory) == NULL;
}

AinVenvState ain_env_venv_state(const char *venv) {
  if (has(venv, END_MARK)) {
    return AIN_VENV_OURS;
  }
  if (has(venv, BEGIN_MARK)) {
    return AIN_VENV_HALF;
  }
  if (has(venv, "pyvenv.cfg") || has(venv, "bin/python3") || has(venv, "conda-meta")) {
    return AIN_VENV_OPERATOR;
  }
  return !g_file_test(venv, G_FILE_TEST_EXISTS) || is_empty(venv) ? AIN_VENV_ABSENT : AIN_VENV_FOREIGN;
}

const char *ain_env_venv_state_text(AinVenvState state) {
  switch (state) {
  case AIN_VENV_HALF:
    return "begun by AINode and not finished; the next start makes it anew";
  case AIN_VENV_OURS:
    return "made by AINode";
  case AIN_VENV_OPERATOR:
    return "made by the operator";
  case AIN_VENV_FOREIGN:
    return "not a virtual environment";
  case AIN_VENV_ABSENT:
  default:
    return "absent; a start makes it where no Python of the machine has NumPy and PyTorch";
  }
}

/* Beside the venv, so that removing the venv does not remove the lock; where only the venv itself can be
 * written, its folder is the lock. */
static int open_lock(const char *venv) {
  g_autofree char *path = g_strconcat(venv, ".lock", NULL);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  return fd >= 0 ? fd : open(venv, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int ain_env_venv_lock(const char *venv, GError **error) {
  ain_fd int fd = open_lock(venv);
  if (fd < 0) {
    g_autofree char *parent = g_path_get_dirname(venv);
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
        "this user cannot write to %s, where the virtual environment belongs (%s): make %s writable, or "
        "start with -i PYTHON",
        parent, g_strerror(errno), parent);
    return -1;
  }
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
    return ain_fd_steal(&fd);
  }
  g_print("Another process is at work on %s; waiting for it to finish ...\n", venv);
  while (flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) {
      ain_error_set_errno(error, AIN_ERROR_ENVIRONMENT, errno, "cannot lock %s.lock", venv);
      return -1;
    }
  }
  return ain_fd_steal(&fd);
}

static gboolean write_mark(const char *venv, const char *name, GError **error) {
  static const char text[] = "Made by AINode; removing this file hands the environment over to you.\n";
  g_autofree char *path = g_build_filename(venv, name, NULL);
  return ain_file_replace(path, text, strlen(text), 0644, error);
}

gboolean ain_env_venv_begin(const char *venv, GError **error) {
  if (!ain_file_make_directory(venv, error) || !write_mark(venv, BEGIN_MARK, error)) {
    return FALSE;
  }
  g_autofree char *end = g_build_filename(venv, END_MARK, NULL);
  return ain_file_remove_tree(end, error);
}

gboolean ain_env_venv_finish(const char *venv, GError **error) {
  if (!write_mark(venv, END_MARK, error)) {
    return FALSE;
  }
  g_autofree char *begin = g_build_filename(venv, BEGIN_MARK, NULL);
  return ain_file_remove_tree(begin, error);
}

gboolean ain_env_venv_clear(const char *venv, GError **error) {
  g_autoptr(GDir) directory = g_dir_open(venv, 0, error);
  const char *name;
  while (directory != NULL && (name = g_dir_read_name(directory)) != NULL) {
    g_autofree char *path = g_build_filename(venv, name, NULL);
    if (strcmp(name, BEGIN_MARK) != 0 && !ain_file_remove_tree(path, error)) {
      return FALSE;
    }
  }
  return directory != NULL;
}

gboolean ain_env_venv_remove(const char *venv, GError **error) {
  AinVenvState state = ain_env_venv_state(venv);
  if (state == AIN_VENV_ABSENT) {
    return TRUE;
  }
  if (state != AIN_VENV_OURS && state != AIN_VENV_HALF) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "%s was not made by AINode (%s), so it is left alone; delete it yourself if it is not wanted",
                venv, ain_env_venv_state_text(state));
    return FALSE;
  }
  /* Begun again first: a removal that is cut short leaves something half made, not something that looks
   * whole. */
  if (!ain_env_venv_begin(venv, error) || !ain_env_venv_clear(venv, error)) {
    return FALSE;
  }
  return ain_file_remove_tree(venv, error);
}

/* TRUE when the child ended with 0. what: for the message. */
static gboolean run(const char *const *argv, int lock_fd, const char *what, const char *mend,
                    GError **error) {
  g_auto(GStrv) environment = ain_env_spawn_environment();
  int status = ain_env_spawn_visible((char **)argv, environment, lock_fd, error);
  if (status == -1 || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
    return status == 0;
  }
  g_autofree char *how = WIFSIGNALED(status)
                             ? g_strdup_printf("was ended by signal %d", WTERMSIG(status))
                             : g_strdup_printf("ended with exit code %d", WEXITSTATUS(status));
  g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "%s %s; its own lines are above. %s", what, how, mend);
  return FALSE;
}

gboolean ain_env_venv_create(const char *venv, const AinInterpreter *python, int lock_fd, GError **error) {
  g_print("Creating a virtual environment in %s with %s (Python %s) ...\n", venv, python->executable,
          python->version);
  const char *const argv[] = { python->executable, "-m", "venv", venv, NULL };
  g_autofree char *command = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_VENV, python);
  g_autofree char *mend = g_strdup_printf("If a module is missing: %s", command);
  return run(argv, lock_fd, "making the virtual environment", mend, error);
}

static gboolean ensure_pip(const AinInterpreter *python, int lock_fd, GError **error) {
  if (python->pip != NULL) {
    return TRUE;
  }
  g_autofree char *mend = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PIP, python);
  if (!python->has_ensurepip) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "%s has no pip to install packages with; to mend it: %s", python->executable, mend);
    return FALSE;
  }
  const char *const argv[] = { python->executable, "-m", "ensurepip", NULL };
  return run(argv, lock_fd, "installing pip", mend, error);
}

/* The locks of all requirements, as many as there are; fewer when one has none. */
static GPtrArray *find_locks(const AinInterpreter *python, const AinEnvInstall *install,
                             const GPtrArray *requirements, char **why) {
  GPtrArray *locks = g_ptr_array_new_with_free_func(g_free);
  for (guint i = 0; i < requirements->len && *why == NULL; i++) {
    char *lock = ain_env_lock_find(requirements->pdata[i], install->wheelhouse, python, why);
    if (lock != NULL) {
      g_ptr_array_add(locks, lock);
    }
  }
  if (locks->len > 0 && *why == NULL) {
    if (install->keep && (python->numpy != NULL || python->torch != NULL)) {
      *why = g_strdup("what this environment holds already stays");
    } else if (install->torch_index != NULL && install->wheelhouse == NULL) {
      *why = g_strdup("ain_torch_index names another source");
    } else if (locks->len < requirements->len) {
      *why = g_strdup("not all of these sets have a lock here");
    }
  }
  return locks;
}

char **ain_env_pip_files(const AinInterpreter *python, const AinEnvInstall *install, char **why) {
  *why = NULL;
  GPtrArray *requirements = g_ptr_array_new_with_free_func(g_free);
  g_ptr_array_add(requirements, g_strdup(install->requirements));
  for (const char *const *one = install->more; one != NULL && *one != NULL; one++) {
    g_ptr_array_add(requirements, g_strdup(*one));
  }
  GPtrArray *locks = find_locks(python, install, requirements, why);
  if (*why == NULL && locks->len == requirements->len) {
    GPtrArray *ranges = requirements;
    requirements = locks;
    locks = ranges;
  }
  g_ptr_array_free(locks, TRUE);
  g_ptr_array_add(requirements, NULL);
  return (char **)g_ptr_array_free(requirements, FALSE);
}

/* The part of the command line that is the same for every installation; returns its length. */
static gsize begin_pip(const char **argv, const AinInterpreter *python, const AinEnvInstall *install,
                       const char *index) {
  const char *const words[] = { python->executable, "-m", "pip", "install", "--disable-pip-version-check",
                                "--no-input" };
  memcpy(argv, words, sizeof words);
  gsize n = G_N_ELEMENTS(words);
  if (install->force) {
    argv[n++] = "--force-reinstall";
  }
  if (install->wheelhouse != NULL) {
    argv[n++] = "--no-index";
    argv[n++] = "--find-links";
    argv[n++] = install->wheelhouse;
  } else if (index != NULL) {
    argv[n++] = "--index-url";
    argv[n++] = index;
  }
  return n;
}

/* torch by itself, within the ranges, so that it comes from the index that has the build for this machine. */
static gboolean install_torch(const AinInterpreter *python, const AinEnvInstall *install, int lock_fd,
                              GError **error) {
  const char *argv[16] = { NULL };
  gsize n = begin_pip(argv, python, install, install->torch_index);
  argv[n++] = "--constraint";
  argv[n++] = install->requirements;
  argv[n++] = "torch";
  g_print("Installing torch from %s into %s ...\n", install->torch_index, python->prefix);
  return run(argv, lock_fd, "installing torch with pip", "See ain_torch_index in conf/ainode-env.sh", error);
}

static gboolean pip_resumes(const char *pip) {
  char *rest = NULL;
  guint64 major = g_ascii_strtoull(pip, &rest, 10);
  guint64 minor = *rest == '.' ? g_ascii_strtoull(rest + 1, NULL, 10) : 0;
  return major > RESUMING_PIP_MAJOR || (major == RESUMING_PIP_MAJOR && minor >= RESUMING_PIP_MINOR);
}

/* An older pip begins a cut download again, which hurts with gigabytes. Where no other can be had, it does.
 */
static void renew_pip(const AinInterpreter *python, const AinEnvInstall *install, int lock_fd) {
  if (install->pip_lock == NULL || access(install->pip_lock, R_OK) != 0
      || (python->pip != NULL && pip_resumes(python->pip))) {
    return;
  }
  const char *argv[16] = { NULL };
  gsize n = begin_pip(argv, python, install, install->mirror);
  argv[n++] = "--require-hashes";
  argv[n++] = "-r";
  argv[n++] = install->pip_lock;
  g_autoptr(GError) error = NULL;
  if (!run(argv, lock_fd, "installing a newer pip", "", &error)) {
    g_print("Going on with pip %s: %s\n", python->pip != NULL ? python->pip : "as it is", error->message);
  }
}

static char *mend_of_pip(const AinInterpreter *python, const AinEnvInstall *install) {
  if (install->wheelhouse != NULL) {
    return g_strdup_printf("%s must hold wheels of everything in %s, for Python %s and this machine",
                           install->wheelhouse, install->requirements, python->version);
  }
  g_autofree char *program = ain_env_mend_program();
  return g_strdup_printf("Run it again when the cause is gone (what was downloaded is kept); without a "
                         "network, make wheels elsewhere (lib/venv-bootstrap/make-wheelhouse.sh) and run: "
                         "%s env create --wheelhouse ARCHIVE",
                         program);
}

gboolean ain_env_pip_install(const AinInterpreter *python, const AinEnvInstall *install, int lock_fd,
                             GError **error) {
  if (!python->has_ssl && install->wheelhouse == NULL) {
    g_autofree char *mend = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_SSL, python);
    g_set_error(
        error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
        "%s has no ssl module, so that pip cannot download; to mend it: %s; or install from a folder of "
        "wheels with --wheelhouse DIR",
        python->executable, mend);
    return FALSE;
  }
  if (!ensure_pip(python, lock_fd, error)) {
    return FALSE;
  }
  renew_pip(python, install, lock_fd);
  g_autofree char *why = NULL;
  g_auto(GStrv) files = ain_env_pip_files(python, install, &why);
  if (why != NULL) {
    g_print("No exact versions (%s): any that %s allows will do.\n", why, install->requirements);
  }
  if (install->torch_index != NULL && install->wheelhouse == NULL && (python->torch == NULL || install->renew)
      && !install_torch(python, install, lock_fd, error)) {
    return FALSE;
  }
  const char *argv[ARGUMENTS_MAX] = { NULL };
  gsize n = begin_pip(argv, python, install, install->mirror);
  if (strcmp(files[0], install->requirements) != 0) { /* a lock */
    argv[n++] = "--require-hashes";
  }
  for (char **file = files; *file != NULL && n + 2 < ARGUMENTS_MAX; file++) {
    argv[n++] = "-r";
    argv[n++] = *file;
  }
  g_autofree char *all = g_strjoinv(", ", files);
  g_print("Installing %s into %s ...\n", all, python->prefix);
  g_autofree char *mend = mend_of_pip(python, install);
  return run(argv, lock_fd, "installing packages with pip", mend, error);
}
