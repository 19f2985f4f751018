/* What the kernel, a container's filter or ulimit denies: each is tried, in a child where it would last. */
#include "base/fd.h"
#include "doctor/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define FEW_FILES 1024u
#define LEAST_FILES 128u
#define FEW_PROCESSES 512u
#define LEAST_ADDRESS_SPACE (G_GUINT64_CONSTANT(8) << 30)
#define LEAST_FILE_SIZE (G_GUINT64_CONSTANT(1) << 30)

static const char filter_mend[] = "allow the call in the container's or service's seccomp profile "
                                  "(SystemCallFilter=, --security-opt seccomp=)";
static const char landlock_mend[] =
    "allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self "
    "in the container's or service's seccomp profile";
static const char seccomp_mend[] = "allow seccomp in the container's or service's seccomp profile";

/* Runs try() in a child; what it returns is an errno value, 0 for success. -1: no child could be made. */
static int in_child(int (*try_it)(void)) {
  pid_t pid = fork();
  if (pid == 0) {
    _exit(try_it() & 0xff);
  }
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) {
      return -1;
    }
  }
  if (pid < 0) {
    return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM; /* killed by a filter */
}

static int try_memfd(void) {
  ain_fd int fd = memfd_create("ainode-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, 4096) != 0) {
    return errno;
  }
  void *start = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED
      || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE) != 0) {
    return errno;
  }
  return 0;
}

void ain_check_memfd(AinLook *look) {
  int failed = in_child(try_memfd);
  if (failed < 0) {
    ain_look_skip(look, "no child process could be made to try it: %s", g_strerror(errno));
  } else if (failed != 0) {
    ain_look_error(
        look, filter_mend,
        "memfd_create with seals is denied (%s): models get their input in such memory, so none can run",
        g_strerror(failed));
  } else {
    ain_look_ok(look, "sealed shared memory can be made (/dev/shm is not needed)");
  }
}

static int try_pidfd(void) {
  ain_fd int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  return fd < 0 ? errno : 0;
}

void ain_check_pidfd(AinLook *look) {
  int failed = in_child(try_pidfd);
  if (failed < 0) {
    ain_look_skip(look, "no child process could be made to try it: %s", g_strerror(errno));
  } else if (failed != 0) {
    ain_look_error(look, filter_mend,
                   "pidfd_open is denied (%s): the node cannot watch its workers, so no model can run",
                   g_strerror(failed));
  } else {
    ain_look_ok(look, "processes can be watched");
  }
}

/* --- the sandbox -----------------------------------------------------------------------------------------
 */

/* As pyruntime/embed/sandbox.c does, which goes on without what is absent or denied, and says so in the log.
 */
static int try_landlock(void) {
  const struct landlock_ruleset_attr attributes = { .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE };
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
  if (ruleset < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
      || syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
    return errno;
  }
  return 0;
}

static gboolean is_absence(int failed) {
  return failed == ENOSYS || failed == EOPNOTSUPP || failed == EINVAL;
}

static gboolean is_off(AinLook *look) {
  if (look->facts->config != NULL && strcmp(look->facts->config->worker_sandbox, "off") == 0) {
    ain_look_ok(look, "not used: ain_worker_sandbox=off");
    return TRUE;
  }
  return FALSE;
}

void ain_check_landlock(AinLook *look) {
  int failed = is_off(look) ? 0 : in_child(try_landlock);
  if (look->findings->len > 0) {
    return;
  }
  if (failed < 0) {
    ain_look_skip(look, "no child process could be made to try it: %s", g_strerror(errno));
  } else if (failed != 0) {
    ain_look_warn(
        look, is_absence(failed) ? "boot with lsm=...,landlock, or use Linux 5.13 or newer" : landlock_mend,
        "Landlock is %s (%s): models may read and write every file that this user may",
        is_absence(failed) ? "absent" : "denied", g_strerror(failed));
  } else {
    ain_look_ok(look, "Landlock keeps models to their own files");
  }
}

static int try_seccomp(void) {
  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog program = { .len = 1, .filter = &allow };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return errno;
  }
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0 ? 0 : errno;
}

void ain_check_seccomp(AinLook *look) {
  int failed = is_off(look) ? 0 : in_child(try_seccomp);
  if (look->findings->len > 0) {
    return;
  }
  if (failed < 0) {
    ain_look_skip(look, "no child process could be made to try it: %s", g_strerror(errno));
  } else if (failed != 0) {
    ain_look_warn(look,
                  is_absence(failed) ? "use a kernel with CONFIG_SECCOMP_FILTER, or allow seccomp in the "
                                       "container's profile"
                                     : seccomp_mend,
                  "seccomp is %s (%s): models may use the network and start programs",
                  is_absence(failed) ? "absent" : "denied", g_strerror(failed));
  } else {
    ain_look_ok(look, "seccomp keeps models from the network and from starting programs");
  }
}

/* --- ulimit ----------------------------------------------------------------------------------------------
 */

static char *limit_text(rlim_t value) {
  return value == RLIM_INFINITY ? g_strdup("unlimited") : g_strdup_printf("%ju", (uintmax_t)value);
}

void ain_check_open_files(AinLook *look) {
  static const char mend[] =
      "raise it: ulimit -Hn 65536 as root, LimitNOFILE=65536 in the unit, or --ulimit nofile=65536";
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    ain_look_skip(look, "%s", g_strerror(errno));
    return;
  }
  g_autofree char *hard = limit_text(limit.rlim_max);
  if (limit.rlim_max < LEAST_FILES) {
    ain_look_error(look, mend,
                   "at most %s files and connections may be open; %u are the least to run models with", hard,
                   LEAST_FILES);
  } else if (limit.rlim_max < FEW_FILES) {
    ain_look_warn(look, mend, "at most %s files and connections may be open; busy clusters need thousands",
                  hard);
  } else {
    ain_look_ok(look, "up to %s files and connections may be open (the node raises the soft limit)", hard);
  }
}

void ain_check_processes(AinLook *look) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NPROC, &limit) != 0) {
    ain_look_skip(look, "%s", g_strerror(errno));
    return;
  }
  g_autofree char *soft = limit_text(limit.rlim_cur);
  if (limit.rlim_cur < FEW_PROCESSES) {
    ain_look_warn(
        look, "raise it: ulimit -u 4096, or LimitNPROC=4096 in the unit",
        "this user may have %s processes and threads in all%s; a node with a few models uses some 50", soft,
        geteuid() == 0 ? " (root is not held to it)" : "");
  } else {
    ain_look_ok(look, "this user may have %s processes and threads", soft);
  }
}

void ain_check_sizes(AinLook *look) {
  struct rlimit space = { 0 };
  struct rlimit file = { 0 };
  struct rlimit data = { 0 };
  struct rlimit locked = { 0 };
  if (getrlimit(RLIMIT_AS, &space) != 0 || getrlimit(RLIMIT_FSIZE, &file) != 0
      || getrlimit(RLIMIT_DATA, &data) != 0 || getrlimit(RLIMIT_MEMLOCK, &locked) != 0) {
    ain_look_skip(look, "%s", g_strerror(errno));
    return;
  }
  rlim_t least = MIN(space.rlim_cur, data.rlim_cur);
  if (least < LEAST_ADDRESS_SPACE) {
    g_autofree char *shown = limit_text(least);
    ain_look_warn(
        look, "ulimit -v unlimited; ulimit -d unlimited (LimitAS=infinity, LimitDATA=infinity in the unit)",
        "a process may have %s bytes of memory (ulimit -v, -d): importing PyTorch alone reserves several GiB",
        shown);
  }
  if (file.rlim_cur < LEAST_FILE_SIZE) {
    g_autofree char *shown = limit_text(file.rlim_cur);
    ain_look_warn(
        look, "ulimit -f unlimited (LimitFSIZE=infinity in the unit)",
        "a file may have %s bytes (ulimit -f): larger models cannot be registered, and the log stops there",
        shown);
  }
  if (look->findings->len == 0) {
    g_autofree char *shown = limit_text(locked.rlim_cur);
    ain_look_ok(look, "memory and files may have the size they need (locked memory, %s bytes, is not used)",
                shown);
  }
}
