/* deny CALL ... -- PROGRAM ARGUMENT...: runs the program where the kernel refuses those system calls, as a
 * container's or service's filter does. CALL is a name of the table below, with "=ERROR" where the kernel is
 * to answer another error than EPERM. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
  const char *name;
  long number;
} calls[] = {
  { "memfd_create", SYS_memfd_create },
  { "pidfd_open", SYS_pidfd_open },
  { "landlock_create_ruleset", SYS_landlock_create_ruleset },
  { "landlock_add_rule", SYS_landlock_add_rule },
  { "landlock_restrict_self", SYS_landlock_restrict_self },
  { "seccomp", SYS_seccomp },
};

static const struct {
  const char *name;
  unsigned number;
} errors[] = { { "", EPERM }, { "=enosys", ENOSYS }, { "=eopnotsupp", EOPNOTSUPP } };

#define MAX_CODE 64
static struct sock_filter code[MAX_CODE];
static unsigned short length;

static void emit(struct sock_filter instruction) {
  if (length < MAX_CODE) {
    code[length++] = instruction;
  }
}

static int add(const char *word) {
  size_t size = strcspn(word, "=");
  unsigned error = 0;
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    error = strcmp(errors[i].name, word + size) == 0 ? errors[i].number : error;
  }
  for (size_t i = 0; error != 0 && i < sizeof calls / sizeof calls[0]; i++) {
    if (strlen(calls[i].name) == size && strncmp(calls[i].name, word, size) == 0) {
      emit((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1));
      emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
      return 0;
    }
  }
  fprintf(stderr, "deny: %s is no call or error that it knows\n", word);
  return -1;
}

int main(int argc, char **argv) {
  int at = 1;
  emit((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
  for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
    if (add(argv[at]) != 0) {
      return 2;
    }
  }
  emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const struct sock_fprog program = { .len = length, .filter = code };
  if (at + 1 >= argc || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
      || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    fprintf(stderr, "deny: no program is named, or the filter was refused: %s\n", strerror(errno));
    return 2;
  }
  execvp(argv[at + 1], argv + at + 1);
  fprintf(stderr, "deny: %s: %s\n", argv[at + 1], strerror(errno));
  return 127;
}
