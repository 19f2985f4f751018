/* Shuts a worker in before it sees user code: no_new_privs, Landlock (files, TCP), seccomp (network,
 * programs, other processes). No Python here. The process must be single-threaded but for threads that run no
 * user code: Landlock binds the calling thread and those it starts. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef struct {
  const char *path;
  bool writable;
} AinSandboxPath;

enum {
  AIN_SANDBOX_TEMPLATE = 1U << 0, /* it forks others, which narrow the sandbox to themselves */
  AIN_SANDBOX_MAKES_MEMORY =
      1U << 1, /* it may make memory that is no process's own: memfd, shared mappings */
};

/* Applies what this kernel and whoever runs us allow. Paths that do not exist are passed over. `applied` gets
 * one line that says what holds and what does not, with the reason: " no " is in it when something is
 * missing. */
void ain_sandbox_enter(const AinSandboxPath *paths, size_t count, unsigned flags, char *applied, size_t size);

/* For processes forked from one that entered as a template (it forks others, whose numbers it cannot know:
 * where the kernel keeps signals inside the sandbox by itself, the filter then leaves them to that): binds
 * signals to this process alone, which may fork no more. Returns false with errno. */
bool ain_sandbox_narrow(void);
