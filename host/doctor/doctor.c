/* The table of checks, and running them one after the other with a limit each. */
#include "doctor/doctor.h"

#include "base/text.h"
#include "doctor/check.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#define MS G_GINT64_CONSTANT(1000)
#define FILES_LIMIT (5000 * MS)
#define PYTHON_LIMIT (15000 * MS)
#define IMPORT_LIMIT (100000 * MS)
#define NETWORK_LIMIT (20000 * MS)

/* In the order in which a start would meet them, as far as one needs another's facts. */
static const AinCheck checks[] = {
  { "installation", "programs", ain_check_programs, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "installation", "configuration", ain_check_configuration, FILES_LIMIT, TRUE, AIN_EXIT_CONFIGURATION },
  { "installation", "settings", ain_check_settings, FILES_LIMIT, TRUE, AIN_EXIT_CONFIGURATION },
  { "installation", "directories", ain_check_directories, FILES_LIMIT, TRUE, AIN_EXIT_CONFIGURATION },
  { "installation", "ownership", ain_check_ownership, FILES_LIMIT, TRUE, AIN_EXIT_CONFIGURATION },
  { "installation", "disk", ain_check_disk, FILES_LIMIT, TRUE, AIN_EXIT_CONFIGURATION },
  { "installation", "temporary", ain_check_temporary, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "machine", "kernel", ain_check_kernel, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "machine", "libc", ain_check_libc, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "machine", "memory", ain_check_memory, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "machine", "clock", ain_check_clock, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "machine", "security", ain_check_security, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "instance", "instance", ain_check_instance, FILES_LIMIT, TRUE, AIN_EXIT_RUNNING },
  { "instance", "identity", ain_check_identity, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "instance", "leftovers", ain_check_leftovers, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "instance", "port", ain_check_port, FILES_LIMIT, TRUE, AIN_EXIT_RUNNING },
  { "limits", "memfd", ain_check_memfd, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "limits", "pidfd", ain_check_pidfd, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "limits", "landlock", ain_check_landlock, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "limits", "seccomp", ain_check_seccomp, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "limits", "open-files", ain_check_open_files, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "limits", "processes", ain_check_processes, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "limits", "sizes", ain_check_sizes, FILES_LIMIT, TRUE, AIN_EXIT_FAILURE },
  { "python", "environment", ain_check_environment, FILES_LIMIT, TRUE, AIN_EXIT_ENVIRONMENT },
  { "python", "interpreter", ain_check_interpreter, IMPORT_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "venv", ain_check_venv, FILES_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "ssl", ain_check_ssl, PYTHON_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "pip", ain_check_pip, FILES_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "libpython", ain_check_libpython, PYTHON_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "mounts", ain_check_python_mounts, FILES_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "numpy", ain_check_numpy, IMPORT_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "torch", ain_check_torch, IMPORT_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "python", "builtins", ain_check_builtins, FILES_LIMIT, FALSE, AIN_EXIT_ENVIRONMENT },
  { "cluster", "advertised", ain_check_advertised, NETWORK_LIMIT, FALSE, AIN_EXIT_FAILURE },
  { "cluster", "seeds", ain_check_seeds, 3 * NETWORK_LIMIT, FALSE, AIN_EXIT_FAILURE },
  { "cluster", "name", ain_check_cluster_name, NETWORK_LIMIT, FALSE, AIN_EXIT_REJECTED },
  { "cluster", "members", ain_check_members, NETWORK_LIMIT, FALSE, AIN_EXIT_REJECTED },
  { "cluster", "data-node", ain_check_data_node, NETWORK_LIMIT, FALSE, AIN_EXIT_FAILURE },
  { "models", "weights", ain_check_weights, NETWORK_LIMIT, FALSE, AIN_EXIT_FAILURE },
  { "models", "folders", ain_check_models, NETWORK_LIMIT, FALSE, AIN_EXIT_FAILURE },
};

/* --- findings --------------------------------------------------------------------------------------------
 */

static void finding_free(gpointer data) {
  AinFinding *finding = data;
  g_free(finding->evidence);
  g_free(finding->mend);
  g_free(finding);
}

/* Paths and replies come from outside: valid UTF-8 without control characters is what a terminal gets. */
char *ain_doctor_printable(const char *text) {
  return ain_text_printable(text, "");
}

G_GNUC_PRINTF(4, 0)
static void add(AinLook *look, AinVerdict verdict, const char *mend, const char *format, va_list arguments) {
  AinFinding *finding = g_new0(AinFinding, 1);
  finding->group = look->group;
  finding->check = look->check;
  finding->verdict = verdict;
  finding->exit_code = look->exit_code;
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  finding->evidence = ain_doctor_printable(text);
  finding->mend = mend == NULL ? NULL : ain_doctor_printable(mend);
  g_ptr_array_add(look->findings, finding);
}

#define ADD(look, verdict, mend, format)                                                                     \
  do {                                                                                                       \
    va_list arguments;                                                                                       \
    va_start(arguments, format);                                                                             \
    add(look, verdict, mend, format, arguments);                                                             \
    va_end(arguments);                                                                                       \
  } while (0)

void ain_look_ok(AinLook *look, const char *format, ...) {
  ADD(look, AIN_VERDICT_OK, NULL, format);
}

void ain_look_warn(AinLook *look, const char *mend, const char *format, ...) {
  ADD(look, AIN_VERDICT_WARNING, mend, format);
}

void ain_look_error(AinLook *look, const char *mend, const char *format, ...) {
  ADD(look, AIN_VERDICT_ERROR, mend, format);
}

void ain_look_skip(AinLook *look, const char *format, ...) {
  ADD(look, AIN_VERDICT_UNCHECKED, NULL, format);
}

gint64 ain_look_limit(const AinLook *look, gint64 usual_us) {
  /* A little less than the check has, so that it ends its children itself. */
  gint64 limit_us = look->request->limit_us;
  return limit_us > 0 ? MIN(limit_us - limit_us / 8, usual_us) : usual_us;
}

/* --- facts -----------------------------------------------------------------------------------------------
 */

static void plan_free(AinEnvPlan *plan) {
  ain_env_plan_clear(plan);
  g_free(plan);
}

void ain_facts_clear(AinFacts *facts) {
  g_clear_pointer(&facts->config, ain_config_free);
  g_clear_pointer(&facts->plan, plan_free);
  g_clear_pointer(&facts->python, ain_interpreter_free);
  g_clear_pointer(&facts->base, ain_interpreter_free);
  g_clear_pointer(&facts->identity, ain_identity_free);
  g_clear_pointer(&facts->addresses, g_ptr_array_unref);
  g_clear_pointer(&facts->cluster_name, g_free);
  g_clear_pointer(&facts->members, g_ptr_array_unref);
}

#define TAKE(field)                                                                                          \
  do {                                                                                                       \
    if (found->field != 0) {                                                                                 \
      facts->field = found->field;                                                                           \
      found->field = 0;                                                                                      \
    }                                                                                                        \
  } while (0)

static void take_facts(AinFacts *facts, AinFacts *found) {
  TAKE(config);
  TAKE(plan);
  TAKE(python);
  TAKE(base);
  TAKE(identity);
  TAKE(holder);
  TAKE(addresses);
  TAKE(cluster_name);
  TAKE(members);
}

/* --- running ---------------------------------------------------------------------------------------------
 */

/* Shared by the runner and the check's thread: whoever leaves last frees it. The runner leaves first when the
 * check hangs, and then never looks at it again. */
typedef struct {
  int references; /* under lock */
  pthread_mutex_t lock;
  pthread_cond_t ended;
  gboolean done;
  const AinCheck *check;
  AinLook look;
} Run;

static void run_unref(Run *run) {
  pthread_mutex_lock(&run->lock);
  gboolean last = --run->references == 0;
  pthread_mutex_unlock(&run->lock);
  if (!last) {
    return;
  }
  g_ptr_array_unref(run->look.findings);
  ain_facts_clear(&run->look.found);
  pthread_cond_destroy(&run->ended);
  pthread_mutex_destroy(&run->lock);
  g_free(run);
}

static void *run_main(void *data) {
  Run *run = data;
  run->check->look(&run->look);
  pthread_mutex_lock(&run->lock);
  run->done = TRUE;
  pthread_cond_signal(&run->ended);
  pthread_mutex_unlock(&run->lock);
  run_unref(run);
  return NULL;
}

static Run *run_new(const AinCheck *check, const AinDoctorRequest *request, const AinFacts *facts) {
  Run *run = g_new0(Run, 1);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&run->ended, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&run->lock, NULL);
  run->references = 1;
  run->check = check;
  run->look.request = request;
  run->look.facts = facts;
  run->look.group = check->group;
  run->look.check = check->name;
  run->look.exit_code = check->exit_code;
  run->look.findings = g_ptr_array_new_with_free_func(finding_free);
  return run;
}

static gboolean wait_for(Run *run, gint64 limit_us) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  gint64 nanoseconds = until.tv_nsec + limit_us % G_USEC_PER_SEC * 1000;
  until.tv_sec += (time_t)(limit_us / G_USEC_PER_SEC + nanoseconds / 1000000000);
  until.tv_nsec = (long)(nanoseconds % 1000000000);
  pthread_mutex_lock(&run->lock);
  int failed = 0;
  while (!run->done && failed == 0) {
    failed = pthread_cond_timedwait(&run->ended, &run->lock, &until);
  }
  gboolean done = run->done;
  pthread_mutex_unlock(&run->lock);
  return done;
}

/* A finding of the runner's own, about a check that gave none. */
static void add_unchecked(const AinCheck *check, GPtrArray *findings, const char *why) {
  AinLook look = { .group = check->group, .check = check->name, .findings = findings };
  ain_look_skip(&look, "%s", why);
}

gboolean ain_doctor_run_check(const AinCheck *check, const AinDoctorRequest *request, AinFacts *facts,
                              GPtrArray *findings) {
  Run *run = run_new(check, request, facts);
  pthread_t thread;
  run->references++;
  int failed = pthread_create(&thread, NULL, run_main, run);
  if (failed != 0) {
    run->references--;
    run_unref(run);
    g_autofree char *why = g_strdup_printf("a thread for it could not be started: %s", g_strerror(failed));
    add_unchecked(check, findings, why);
    return FALSE;
  }
  gint64 limit_us = request->limit_us > 0 ? MIN(request->limit_us, check->limit_us) : check->limit_us;
  gboolean done = wait_for(run, limit_us);
  if (done) {
    pthread_join(thread, NULL);
    while (run->look.findings->len > 0) {
      g_ptr_array_add(findings, g_ptr_array_steal_index(run->look.findings, 0));
    }
    take_facts(facts, &run->look.found);
  } else {
    pthread_detach(thread);
    g_autofree char *why = g_strdup_printf(
        "it did not end within %.3g s, and was given up: a file system, name service or device may hang",
        (double)limit_us / G_USEC_PER_SEC);
    add_unchecked(check, findings, why);
  }
  run_unref(run);
  return done;
}

/* --- warnings of the modules -----------------------------------------------------------------------------
 */

static struct {
  pthread_mutex_t lock;
  GPtrArray *texts;
} warnings = { .lock = PTHREAD_MUTEX_INITIALIZER };

static GLogWriterOutput collect(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
                                gpointer data) {
  (void)data;
  if ((level & (G_LOG_LEVEL_WARNING | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR)) == 0) {
    return G_LOG_WRITER_HANDLED;
  }
  for (gsize i = 0; i < n_fields; i++) {
    if (strcmp(fields[i].key, "MESSAGE") == 0 && fields[i].length < 0) {
      pthread_mutex_lock(&warnings.lock);
      if (warnings.texts == NULL) {
        warnings.texts = g_ptr_array_new_with_free_func(g_free);
      }
      g_ptr_array_add(warnings.texts, g_strdup(fields[i].value));
      pthread_mutex_unlock(&warnings.lock);
    }
  }
  return G_LOG_WRITER_HANDLED;
}

GPtrArray *ain_doctor_take_warnings(void) {
  pthread_mutex_lock(&warnings.lock);
  GPtrArray *texts = g_steal_pointer(&warnings.texts);
  pthread_mutex_unlock(&warnings.lock);
  return texts != NULL ? texts : g_ptr_array_new_with_free_func(g_free);
}

static AinDoctorRequest *request_copy(const AinDoctorRequest *request) {
  AinDoctorRequest *copy = g_new(AinDoctorRequest, 1);
  *copy = *request;
  copy->home = g_strdup(request->home);
  copy->config_file = g_strdup(request->config_file);
  copy->overrides = (const char *const *)g_strdupv((char **)request->overrides);
  copy->python = g_strdup(request->python);
  return copy;
}

static void request_free(AinDoctorRequest *request) {
  g_free((char *)request->home);
  g_free((char *)request->config_file);
  g_strfreev((char **)request->overrides);
  g_free((char *)request->python);
  g_free(request);
}

GPtrArray *ain_doctor_examine(const AinDoctorRequest *request) {
  static gboolean collecting = FALSE;
  if (!collecting) {
    g_log_set_writer_func(collect, NULL, NULL);
    collecting = TRUE;
  }
  /* What a check that was given up may still read is never freed. */
  AinFacts *facts = g_new0(AinFacts, 1);
  AinDoctorRequest *kept = request_copy(request);
  gboolean all_ended = TRUE;
  GPtrArray *findings = g_ptr_array_new_with_free_func(finding_free);
  for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
    if (!request->quick || checks[i].quick) {
      all_ended &= ain_doctor_run_check(&checks[i], kept, facts, findings);
    }
  }
  if (all_ended) {
    ain_facts_clear(facts);
    g_free(facts);
    request_free(kept);
  }
  return findings;
}

AinExit ain_doctor_exit_code(const GPtrArray *findings) {
  AinExit code = AIN_EXIT_OK;
  for (guint i = 0; i < findings->len; i++) {
    const AinFinding *finding = g_ptr_array_index(findings, i);
    if (finding->verdict == AIN_VERDICT_ERROR) {
      return finding->exit_code;
    }
    if (finding->verdict == AIN_VERDICT_WARNING) {
      code = AIN_EXIT_WARNINGS;
    }
  }
  return code;
}
