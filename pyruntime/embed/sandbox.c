#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/ioprio.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Calls, rights and fields that are younger than the headers of the oldest distribution we build on. */
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#define FS_REFER (1ULL << 13)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)
#define NET_BIND_TCP (1ULL << 0)
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

typedef struct {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
} RulesetAttributes;

#define FS_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_FILE_ONLY                                                                                         \
  (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE   \
   | FS_IOCTL_DEV)
#define FS_ALL_V1 ((1ULL << 13) - 1)

static uint64_t handled_files(int abi) {
  uint64_t handled = FS_ALL_V1;
  if (abi >= 2) {
    handled |= FS_REFER;
  }
  if (abi >= 3) {
    handled |= FS_TRUNCATE;
  }
  if (abi >= 5) {
    handled |= FS_IOCTL_DEV;
  }
  return handled;
}

static bool allow_path(int ruleset, const AinSandboxPath *path, uint64_t handled) {
  struct landlock_path_beneath_attr rule = { .parent_fd = open(path->path, O_PATH | O_CLOEXEC) };
  struct stat info;
  if (rule.parent_fd < 0) {
    return true; /* not there: nothing to allow */
  }
  rule.allowed_access = path->writable ? handled : (FS_READ & handled);
  if (fstat(rule.parent_fd, &info) == 0 && !S_ISDIR(info.st_mode)) {
    rule.allowed_access &= FS_FILE_ONLY; /* rights of folders on a file are refused by the kernel */
  }
  bool added = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
  int why = errno;
  close(rule.parent_fd);
  errno = why;
  return added;
}

/* Returns the ABI in force, or 0 with errno: the kernel has none, or the machine denies it. */
static int restrict_files(const AinSandboxPath *paths, size_t count) {
  int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi <= 0) {
    return 0;
  }
  RulesetAttributes attributes = { .handled_access_fs = handled_files(abi) };
  size_t size = sizeof attributes.handled_access_fs;
  if (abi >= 4) {
    attributes.handled_access_net = NET_BIND_TCP | NET_CONNECT_TCP;
    size = offsetof(RulesetAttributes, scoped);
  }
  if (abi >= 6) {
    attributes.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    size = sizeof attributes;
  }
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
  bool good = ruleset >= 0;
  for (size_t i = 0; good && i < count; i++) {
    good = allow_path(ruleset, &paths[i], attributes.handled_access_fs);
  }
  good = good && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
  int why = errno;
  if (ruleset >= 0) {
    close(ruleset);
  }
  errno = why;
  return good ? abi : 0;
}

/* --- seccomp --- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

#define MAX_FILTER 512
#define X32_BIT 0x40000000U

typedef struct {
  struct sock_filter code[MAX_FILTER];
  unsigned short length;
} Filter;

static void emit(Filter *filter, struct sock_filter instruction) {
  if (filter->length < MAX_FILTER) {
    filter->code[filter->length++] = instruction;
  }
}

static void load(Filter *filter, size_t offset) {
  emit(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

static void answer(Filter *filter, uint32_t action) {
  emit(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* The accumulator holds the number of the call. */
static void refuse_with(Filter *filter, long number, int error) {
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1));
  answer(filter, SECCOMP_RET_ERRNO | (uint32_t)error);
}

#define LOW_WORD(argument) (offsetof(struct seccomp_data, args) + (argument) * sizeof(uint64_t))

/* Refuses the call unless the low word of an argument is one of two values; reloads the number afterwards. */
static void refuse_unless(Filter *filter, long number, unsigned argument, uint32_t first, uint32_t second) {
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 5));
  load(filter, LOW_WORD(argument));
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 2, 0));
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 1, 0));
  answer(filter, SECCOMP_RET_ERRNO | EPERM);
  load(filter, offsetof(struct seccomp_data, nr));
}

/* Refuses the call when any of the bits is set in the low word of an argument. */
static void refuse_bits(Filter *filter, long number, unsigned argument, uint32_t bits) {
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4));
  load(filter, LOW_WORD(argument));
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1));
  answer(filter, SECCOMP_RET_ERRNO | EPERM);
  load(filter, offsetof(struct seccomp_data, nr));
}

/* Refuses the call when an argument is `is` and the one behind it is not `must`. */
static void refuse_pair(Filter *filter, long number, unsigned argument, uint32_t is, uint32_t must) {
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 6));
  load(filter, LOW_WORD(argument));
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, is, 0, 3));
  load(filter, LOW_WORD(argument + 1));
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, must, 1, 0));
  answer(filter, SECCOMP_RET_ERRNO | EPERM);
  load(filter, offsetof(struct seccomp_data, nr));
}

/* Refuses the call when the masked low word of an argument is (or, with `unless`, is not) this value. */
static void refuse_masked(Filter *filter, long number, unsigned argument, uint32_t mask, uint32_t value,
                          bool unless) {
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 5));
  load(filter, LOW_WORD(argument));
  emit(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
  emit(filter,
       (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, unless ? 1 : 0, unless ? 0 : 1));
  answer(filter, SECCOMP_RET_ERRNO | EPERM);
  load(filter, offsetof(struct seccomp_data, nr));
}

/* What a model has no business with: the network, programs, other processes, who may use a file, memory that
 * outlives it, the kernel's larger doors. */
static const long refused[] = {
  SYS_socket,
  SYS_connect,
  SYS_bind,
  SYS_listen,
  SYS_accept,
  SYS_accept4,
  SYS_execve,
  SYS_execveat,
  SYS_ptrace,
  SYS_process_vm_readv,
  SYS_process_vm_writev,
  SYS_tkill,
  SYS_mount,
  SYS_umount2,
  SYS_pivot_root,
  SYS_chroot,
  SYS_setns,
  SYS_unshare,
  SYS_add_key,
  SYS_request_key,
  SYS_keyctl,
  SYS_bpf,
  SYS_perf_event_open,
  SYS_userfaultfd,
  SYS_init_module,
  SYS_finit_module,
  SYS_delete_module,
  SYS_kexec_load,
  SYS_reboot,
  SYS_swapon,
  SYS_swapoff,
  SYS_open_by_handle_at,
  SYS_name_to_handle_at,
  SYS_rt_sigqueueinfo,
  SYS_rt_tgsigqueueinfo,
  SYS_kcmp,
  SYS_acct,
  SYS_quotactl,
  SYS_settimeofday,
  SYS_clock_settime,
  SYS_clock_adjtime,
  SYS_adjtimex,
  SYS_setsid, /* what it leaves behind is known by its process group */
  SYS_setpgid,
  SYS_shmget,
  SYS_semget,
  SYS_msgget,
  SYS_mq_open,
  SYS_fchmod,
  SYS_fchmodat,
  SYS_fchmodat2,
  SYS_fchown,
  SYS_fchownat,
  SYS_utimensat,
  SYS_setxattr,
  SYS_lsetxattr,
  SYS_fsetxattr,
  SYS_removexattr,
  SYS_lremovexattr,
  SYS_fremovexattr,
  SYS_process_madvise,
  SYS_migrate_pages,
  SYS_move_pages,
#ifdef __x86_64__ /* the older forms that newer architectures never had */
  SYS_chmod,
  SYS_chown,
  SYS_lchown,
  SYS_utime,
  SYS_utimes,
  SYS_futimesat,
#endif
  SYS_sethostname,
  SYS_setdomainname,
#ifdef SYS_io_uring_setup
  SYS_io_uring_setup,
  SYS_io_uring_enter,
  SYS_io_uring_register,
#endif
#ifdef SYS_pidfd_open
  SYS_pidfd_open,
#endif
#ifdef SYS_pidfd_getfd
  SYS_pidfd_getfd,
#endif
#ifdef SYS_pidfd_send_signal
  SYS_pidfd_send_signal,
#endif
#ifdef SYS_open_tree
  SYS_open_tree,
  SYS_move_mount,
  SYS_fsopen,
  SYS_fsmount,
  SYS_fsconfig,
  SYS_fspick,
#endif
};

#define NAMESPACE_FLAGS                                                                                      \
  ((uint32_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID     \
              | CLONE_NEWNET))

static void begin_filter(Filter *filter) {
  load(filter, offsetof(struct seccomp_data, arch));
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0));
  answer(filter, SECCOMP_RET_KILL_PROCESS);
  load(filter, offsetof(struct seccomp_data, nr));
#if defined(__x86_64__)
  emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1));
  answer(filter, SECCOMP_RET_ERRNO | ENOSYS);
#endif
}

/* Signals to this process only. */
static void refuse_signals(Filter *filter) {
  uint32_t self = (uint32_t)getpid();
  refuse_unless(filter, SYS_kill, 0, self, self);
  refuse_unless(filter, SYS_tgkill, 0, self, self); /* abort() and raise() signal their own process */
}

/* Priorities, processors and limits of this process or thread only; and its end follows its parent's. Those
 * that a template forks must not name it. */
static void refuse_others(Filter *filter, bool template) {
  static const long of_processes[] = { SYS_prlimit64, SYS_sched_setaffinity, SYS_sched_setscheduler,
                                       SYS_sched_setparam, SYS_sched_setattr };
  uint32_t self = template ? 0 : (uint32_t)getpid();
  for (size_t i = 0; i < sizeof of_processes / sizeof of_processes[0]; i++) {
    refuse_unless(filter, of_processes[i], 0, 0, self);
  }
  refuse_unless(filter, SYS_setpriority, 0, PRIO_PROCESS, PRIO_PROCESS); /* no group's, no user's */
  refuse_unless(filter, SYS_setpriority, 1, 0, self);
  refuse_unless(filter, SYS_ioprio_set, 0, IOPRIO_WHO_PROCESS, IOPRIO_WHO_PROCESS);
  refuse_unless(filter, SYS_ioprio_set, 1, 0, self);
  refuse_pair(filter, SYS_prctl, 0, PR_SET_PDEATHSIG, SIGKILL);
}

/* A process of its own would live on when this one is ended. Threads are no such. */
static void refuse_processes(Filter *filter) {
#ifdef __x86_64__
  refuse_with(filter, SYS_fork, EPERM);
  refuse_with(filter, SYS_vfork, EPERM);
#endif
  refuse_masked(filter, SYS_clone, 0, CLONE_THREAD, CLONE_THREAD, true);
}

/* Memory that no limit of the process counts: files of memory, and what is shared without a file. */
static void refuse_memory(Filter *filter) {
  refuse_with(filter, SYS_memfd_create, EPERM);
  refuse_with(filter, SYS_memfd_secret, EPERM);
  refuse_masked(filter, SYS_mmap, 3, MAP_TYPE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, false);
  refuse_masked(filter, SYS_mmap, 3, MAP_TYPE | MAP_ANONYMOUS, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, false);
}

static void build_filter(Filter *filter, unsigned flags, bool signals_too) {
  begin_filter(filter);
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    refuse_with(filter, refused[i], EPERM);
  }
  refuse_others(filter, (flags & AIN_SANDBOX_TEMPLATE) != 0);
  if (!signals_too) {
    refuse_signals(filter);
  }
  if ((flags & AIN_SANDBOX_TEMPLATE) == 0) {
    refuse_processes(filter);
  }
  if ((flags & AIN_SANDBOX_MAKES_MEMORY) == 0) {
    refuse_memory(filter);
  }
  refuse_bits(filter, SYS_clone, 0, NAMESPACE_FLAGS);
#ifdef SYS_clone3
  refuse_with(filter, SYS_clone3, ENOSYS); /* its flags cannot be seen; the C library falls back to clone */
#endif
  answer(filter, SECCOMP_RET_ALLOW);
}

static bool install(const Filter *filter) {
  struct sock_fprog program = { .len = filter->length, .filter = (struct sock_filter *)filter->code };
  if (filter->length >= MAX_FILTER) {
    errno = E2BIG;
    return false;
  }
  long failed = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
  if (failed > 0) { /* a thread that has a filter of its own */
    errno = EBUSY;
  }
  return failed == 0;
}

/* Whether this process, or the template it was forked from, has a filter. */
static bool filtered;

bool ain_sandbox_narrow(void) {
  Filter filter = { .length = 0 };
  if (!filtered) {
    return true; /* the machine denies it, as was said when the template entered */
  }
  begin_filter(&filter);
  refuse_signals(&filter);
  refuse_processes(&filter);
  answer(&filter, SECCOMP_RET_ALLOW);
  return install(&filter);
}

/* A node that root runs: models read what root may, and have no further privilege; also limits then hold. */
static bool drop_capabilities(void) {
  struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
  if (syscall(SYS_capget, &header, data) != 0) {
    return false;
  }
  uint32_t kept = data[0].permitted & (1U << CAP_DAC_READ_SEARCH);
  memset(data, 0, sizeof data);
  data[0].permitted = data[0].effective = kept;
  return syscall(SYS_capset, &header, data) == 0;
}

#define SCOPES_ABI 6 /* of Landlock: signals stay inside the sandbox */

/* "no NAME in this kernel (RISK)", or who says no. */
static void describe(char *text, size_t size, const char *name, bool applied, int why, const char *risk) {
  if (applied) {
    snprintf(text, size, "%s", name);
  } else if (why == ENOSYS || why == EOPNOTSUPP || why == EINVAL) {
    snprintf(text, size, "no %s in this kernel (%s)", name, risk);
  } else {
    snprintf(text, size, "no %s, for this machine denies it: %s (%s)", name, strerror(why), risk);
  }
}

void ain_sandbox_enter(const AinSandboxPath *paths, size_t count, unsigned flags, char *applied,
                       size_t size) {
  char privileges[128];
  char files[128];
  char calls[128];
  bool done = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && drop_capabilities();
  describe(privileges, sizeof privileges, "no_new_privs", done, errno, "privileges are kept");
  int landlock = restrict_files(paths, count);
  describe(files, sizeof files, "Landlock", landlock > 0, errno, "files are open");
  /* Without that scope a template may signal itself alone, and so may those it forks: abort() in one of them
   * is then seen as a fault. */
  Filter filter = { .length = 0 };
  build_filter(&filter, flags, (flags & AIN_SANDBOX_TEMPLATE) != 0 && landlock >= SCOPES_ABI);
  filtered = install(&filter);
  describe(calls, sizeof calls, "seccomp", filtered, errno, "network and programs are open");
  snprintf(applied, size, "%s, %s, %s", privileges, files, calls);
}
