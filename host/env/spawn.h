/* Child processes of the environment module. Any thread; nothing survives a return but what the child's own
 * children do outside its process group. */
#pragma once
#include <glib.h>
#include <stdatomic.h>

typedef struct {
  int status;          /* as of waitpid() */
  gboolean timed_out;  /* killed: the limit passed */
  gboolean overflowed; /* killed: more output than allowed */
  gboolean cancelled;  /* killed: *cancelled was set */
  GString *output;     /* stdout; may hold any bytes */
  GString *errors;     /* the end of stderr */
} AinEnvCapture;
void ain_env_capture_clear(AinEnvCapture *capture);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AinEnvCapture, ain_env_capture_clear)

/* The environment for an interpreter: ours without PYTHONHOME (it breaks every interpreter but one), and
 * without the variables that make it interactive or write byte code. Owned. */
char **ain_env_spawn_environment(void);

/* Runs argv[0] (a path) in a process group of its own with stdin from /dev/null, collects what it prints, and
 * kills the group when limit_us or max_output is exceeded and when it ends. FALSE only when it could not be
 * started (ENVIRONMENT). */
gboolean ain_env_spawn_capture(char **argv, char **environment, gint64 limit_us, gsize max_output,
                               AinEnvCapture *capture, GError **error);

/* The same; the group is killed within about 100 ms once *cancelled is set, too. */
gboolean ain_env_spawn_cancellable(char **argv, char **environment, gint64 limit_us, gsize max_output,
                                   const atomic_bool *cancelled, AinEnvCapture *capture, GError **error);

/* Runs argv[0] on our terminal, so that its progress is seen, and waits without a limit. held_fd (or -1)
 * stays open in the child, so that a lock on it outlives us. Returns the wait status, or -1 with an error. */
int ain_env_spawn_visible(char **argv, char **environment, int held_fd, GError **error);
