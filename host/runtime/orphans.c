/* Processes that a model started and left behind. The sandbox lets a model start none; where it is off, or
 * the machine denies it, or while a template loads, a model can. The host is the subreaper of all that it
 * spawns: who outlives its parent becomes the host's child, and is known by its process group. A prototype, a
 * template and a worker lead one each (worker.py); those that a template forks are in the template's. */
#include "runtime/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGAIN_US (G_GINT64_CONSTANT(20) * 1000)
/* Each round ends one generation of what is left. */
#define LAST_ROUNDS 1000

void ain_orphans_note(AinRuntime *runtime, pid_t leader, gboolean spawned) {
  AinGroup group = { leader, spawned };
  g_array_append_val(runtime->groups, group);
}

static const AinGroup *find_group(const AinRuntime *runtime, pid_t leader) {
  for (guint i = 0; i < runtime->groups->len; i++) {
    const AinGroup *group = &g_array_index(runtime->groups, AinGroup, i);
    if (group->leader == leader) {
      return group;
    }
  }
  return NULL;
}

/* Whether it is, or was, a process of ours that loads models: one whose birth nobody could tell any more,
 * since its prototype was killed just then, or one that left its group. What else the host starts has another
 * name. */
static gboolean is_stray(pid_t pid) {
  g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
  g_autofree char *name = NULL;
  return g_file_get_contents(path, &name, NULL, NULL) && g_str_equal(g_strchomp(name), "ainode-runtime");
}

/* pid is our own child, not yet waited for: the number is its own. TRUE: something was done, after which
 * others may be left behind. */
static gboolean end_orphan(const AinRuntime *runtime, pid_t pid) {
  pid_t leader = getpgid(pid);
  const AinGroup *group = leader > 0 ? find_group(runtime, leader) : NULL;
  if (group == NULL && !is_stray(pid)) {
    return FALSE;
  }
  /* Who spawned a process waits for it; a forked one comes to us when its prototype has ended. */
  gboolean kept = group != NULL && (leader == pid ? group->spawned : kill(leader, 0) == 0);
  if (kept) {
    return FALSE;
  }
  kill(pid, SIGKILL);
  (void)waitpid(pid, NULL, WNOHANG); /* or the next time */
  return TRUE;
}

static gboolean end_children(const AinRuntime *runtime, const char *thread) {
  g_autofree char *path = g_build_filename("/proc/self/task", thread, "children", NULL);
  g_autofree char *text = NULL;
  gboolean left = FALSE;
  if (!g_file_get_contents(path, &text, NULL, NULL)) { /* the thread has ended, or the kernel does not tell */
    return FALSE;
  }
  g_auto(GStrv) words = g_strsplit(text, " ", -1);
  for (char **word = words; *word != NULL; word++) {
    pid_t pid = (pid_t)strtol(*word, NULL, 10);
    left |= pid > 0 && end_orphan(runtime, pid);
  }
  return left;
}

/* TRUE: some were ended; look again. */
static gboolean sweep(AinRuntime *runtime) {
  g_autoptr(GDir) threads = g_dir_open("/proc/self/task", 0, NULL);
  const char *thread;
  gboolean left = FALSE;
  while (threads != NULL && (thread = g_dir_read_name(threads)) != NULL) {
    left |= end_children(runtime, thread);
  }
  for (guint i = runtime->groups->len; i > 0; i--) {
    pid_t leader = g_array_index(runtime->groups, AinGroup, i - 1).leader;
    /* A worker that is just starting does not lead its group yet. */
    if (kill(leader, 0) != 0 && errno == ESRCH && kill(-leader, 0) != 0 && errno == ESRCH) {
      g_array_remove_index_fast(runtime->groups, i - 1);
    }
  }
  return left;
}

static void sweep_due(gpointer data) {
  AinRuntime *runtime = data;
  runtime->sweep = NULL;
  if (sweep(runtime)) {
    runtime->sweep = ain_loop_timer(runtime->loop, ain_loop_now() + AGAIN_US, sweep_due, runtime);
  }
}

void ain_orphans_sweep_soon(AinRuntime *runtime) {
  if (runtime->sweep == NULL) {
    runtime->sweep = ain_loop_timer(runtime->loop, ain_loop_now(), sweep_due, runtime);
  }
}

void ain_orphans_sweep_all(AinRuntime *runtime) {
  ain_loop_timer_stop(g_steal_pointer(&runtime->sweep));
  for (guint round = 0; round < LAST_ROUNDS && sweep(runtime); round++) {
    g_usleep(1000);
  }
}
