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

/* Applies what this kernel can. Paths that do not exist are passed over. `applied` gets one line that says
 * what holds and what this kernel lacks. Returns false when the kernel offers a protection but refuses to
 * apply it: then the caller must not go on. */
bool ain_sandbox_enter(const AinSandboxPath *paths, size_t count, bool template, char *applied, size_t size);

/* For processes forked from one that entered as a template (it forks others, whose numbers it cannot know:
 * where the kernel keeps signals inside the sandbox by itself, the filter then leaves them to that): binds
 * signals and limits to this process alone. Returns false with errno. */
bool ain_sandbox_narrow(void);
