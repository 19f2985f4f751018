/* doctor, and what is said after a start that failed. */
#include "app/commands.h"
#include "base/exit.h"
#include "doctor/doctor.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char description[] =
    "Looks at everything that keeps an AINode from starting or answering, changes nothing, and says what\n"
    "mends it. Every check is bounded in time; all together take a few seconds.\n\n"
    "Exit codes: 0 fit, 7 fit with warnings; with errors what a start would end with: 1 failure,\n"
    "3 configuration, 4 environment, 5 port or directory taken, 6 the cluster would refuse; 2 usage.\n";

static gboolean wants_colour(void) {
  const char *none = g_getenv("NO_COLOR");
  const char *terminal = g_getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && (none == NULL || *none == '\0') && g_strcmp0(terminal, "dumb") != 0;
}

/* What a failed start has not said itself. */
static void print_complaints(const GPtrArray *findings, const char *said) {
  g_autofree char *text = ain_doctor_complaints(findings, said);
  if (text != NULL) {
    g_print("The doctor's quick look also found (sbin/doctor-ainode.sh looks closer):\n%s", text);
  }
}

int ain_app_doctor_command(AinAppOptions *options, int argc, char **argv) {
  gboolean json = FALSE;
  gboolean quick = FALSE;
  double limit_s = 0;
  g_autofree char *said = NULL;
  const GOptionEntry entries[] = {
    { "interpreter", 'i', 0, G_OPTION_ARG_FILENAME, &options->interpreter,
      "Look at this Python instead of the one that a start would use", "PYTHON" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &json, "Print one JSON object", NULL },
    { "quick", 0, 0, G_OPTION_ARG_NONE, &quick, "Only what takes milliseconds: no Python, no network", NULL },
    { "limit", 0, 0, G_OPTION_ARG_DOUBLE, &limit_s,
      "Give up a check after so long, where it would take longer", "SECONDS" },
    { "after-failure", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &said, "Complaints but for this one",
      "SENTENCE" },
    G_OPTION_ENTRY_NULL,
  };
  if (!ain_app_parse(options, entries, NULL, description, 0, &argc, &argv)) {
    return AIN_EXIT_USAGE;
  }
  if (limit_s < 0 || limit_s > 3600) {
    g_printerr("--limit takes seconds, up to 3600; see --help\n");
    return AIN_EXIT_USAGE;
  }
  ain_app_find_home(options);
  const AinDoctorRequest request = {
    .home = options->home,
    .config_file = options->config_file,
    .overrides = (const char *const *)options->overrides,
    .python = options->interpreter,
    .limit_us = (gint64)(limit_s * G_USEC_PER_SEC),
    .quick = quick,
  };
  g_autoptr(GPtrArray) findings = ain_doctor_examine(&request);
  if (said != NULL) {
    print_complaints(findings, said);
  } else {
    g_autofree char *text =
        json ? ain_doctor_json(&request, findings) : ain_doctor_text(&request, findings, wants_colour());
    g_print("%s", text);
  }
  return (int)ain_doctor_exit_code(findings);
}

/* In a process of its own: this one has its log, its descriptors and half a node. */
void ain_app_explain_failure(const AinAppOptions *options, int exit_code, const char *sentence) {
  if (exit_code == AIN_EXIT_OK || exit_code == AIN_EXIT_USAGE || exit_code == AIN_EXIT_REJECTED) {
    return;
  }
  g_autoptr(GPtrArray) words = g_ptr_array_new();
  const char *const head[] = { "ainode",      "doctor",          "--quick", "--home",
                               options->home, "--after-failure", sentence };
  for (gsize i = 0; i < G_N_ELEMENTS(head); i++) {
    g_ptr_array_add(words, (gpointer)head[i]);
  }
  if (options->config_file != NULL) {
    g_ptr_array_add(words, (gpointer) "--config");
    g_ptr_array_add(words, options->config_file);
  }
  if (options->interpreter != NULL) {
    g_ptr_array_add(words, (gpointer) "--interpreter");
    g_ptr_array_add(words, options->interpreter);
  }
  for (char **one = options->overrides; one != NULL && *one != NULL; one++) {
    g_ptr_array_add(words, (gpointer) "--define");
    g_ptr_array_add(words, *one);
  }
  g_ptr_array_add(words, NULL);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t pid = -1;
  int failed = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, (char **)words->pdata, environ);
  posix_spawn_file_actions_destroy(&actions);
  while (failed == 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
}
