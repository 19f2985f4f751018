/* Running probe.py: resolve the interpreter, try the cache, run with a limit, read, judge. */
#include "env/probe.h"

#include "base/error.h"
#include "base/fd.h"
#include "env/mend.h"
#include "env/record.h"
#include "env/spawn.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_US 10000000 /* a probe takes 30 to 250 ms */
#define OUTPUT_MAX 65536u
#define PROBE_MAX 65536u /* it travels as one argument: Linux allows 128 KiB */

char *ain_env_bootstrap_dir(const char *home) {
  /* IOTDB_AINODE_HOME may name a home without a lib: then what lies beside the program is used. */
  g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
  g_autofree char *beside = g_path_get_dirname(self == NULL ? "" : self);
  char *folders[] = { g_build_filename(home, "lib", "venv-bootstrap", NULL),
                      g_build_filename(home, "venv-bootstrap", NULL),
                      g_build_filename(beside, "venv-bootstrap", NULL) };
  char *found = NULL;
  for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
    g_autofree char *probe = g_build_filename(folders[i], "probe.py", NULL);
    if (found == NULL && access(probe, F_OK) == 0) {
      found = g_steal_pointer(&folders[i]);
    }
    g_free(folders[i]);
  }
  return found != NULL ? found : g_build_filename(home, "lib", "venv-bootstrap", NULL);
}

static char *resolve_name(const char *python, GError **error) {
  char *found = g_find_program_in_path(python);
  if (found == NULL) {
    g_autofree char *get = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PYTHON, NULL);
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "there is no '%s' on PATH: name an interpreter with -i PYTHON; to get one: %s", python, get);
  }
  return found;
}

static void set_missing(const char *python, const char *path, GError **error) {
  g_autofree char *target = g_file_read_link(path, NULL);
  if (target == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "the interpreter %s does not exist: name one that does with -i PYTHON", python);
    return;
  }
  g_autofree char *bin = g_path_get_dirname(path);
  g_autofree char *folder = g_path_get_dirname(bin);
  g_autofree char *quoted = ain_env_mend_quote(folder);
  g_set_error(
      error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
      "%s is a link to %s, which does not exist: the Python that this environment was made from has gone; "
      "make it again: python3 -m venv --clear %s",
      python, target, quoted);
}

char *ain_env_resolve(const char *python, GError **error) {
  if (*python == '\0') {
    g_set_error_literal(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                        "the interpreter's name is empty: -i PYTHON");
    return NULL;
  }
  if (strchr(python, '/') == NULL && !g_file_test(python, G_FILE_TEST_IS_DIR)) {
    return resolve_name(python, error);
  }
  g_autofree char *here = g_get_current_dir();
  const char *rest = python;
  while (g_str_has_prefix(rest, "./")) {
    rest += 2;
  }
  g_autofree char *path = g_path_is_absolute(rest) ? g_strdup(rest) : g_build_filename(here, rest, NULL);
  if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
    char *inside = g_build_filename(path, "bin", "python3", NULL);
    g_free(path);
    path = inside;
  }
  struct stat info;
  if (stat(path, &info) != 0) {
    set_missing(python, path, error);
    return NULL;
  }
  if (!S_ISREG(info.st_mode) || access(path, X_OK) != 0) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "%s is not a program that this user may run: name a Python interpreter with -i PYTHON", path);
    return NULL;
  }
  return g_steal_pointer(&path);
}

/* The last line of what it said on stderr, made fit for a message. */
static char *last_words(const GString *errors) {
  g_autofree char *text = g_utf8_make_valid(errors->str, (gssize)errors->len);
  g_strchomp(text);
  char *last = strrchr(text, '\n');
  g_autofree char *line = g_strndup(last == NULL ? text : last + 1, 300);
  for (char *c = line; *c != '\0'; c++) {
    *c = g_ascii_iscntrl(*c) ? ' ' : *c;
  }
  g_strstrip(line);
  return *line == '\0' ? g_strdup("") : g_strdup_printf("; it says: %s", line);
}

static void set_no_answer(const char *python, const AinEnvCapture *capture, gint64 limit_us, GError **error) {
  g_autofree char *words = last_words(capture->errors);
  g_autofree char *how = NULL;
  if (capture->timed_out) {
    how = g_strdup_printf("did not answer within %.3g s", (double)limit_us / G_USEC_PER_SEC);
  } else if (capture->overflowed) {
    how = g_strdup_printf("printed more than %u bytes when asked for its version", OUTPUT_MAX);
  } else if (WIFSIGNALED(capture->status)) {
    how = g_strdup_printf("was ended by signal %d (%s)", WTERMSIG(capture->status),
                          g_strsignal(WTERMSIG(capture->status)));
  } else if (WEXITSTATUS(capture->status) != 0) {
    how = g_strdup_printf("ended with exit code %d", WEXITSTATUS(capture->status));
  } else {
    how = g_strdup("did not answer as a Python interpreter does");
  }
  g_autofree char *quoted = ain_env_mend_quote(python);
  g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
              "%s %s%s; look at it with: %s -c 'import sys; print(sys.version)', or name another interpreter "
              "with -i PYTHON",
              python, how, words, quoted);
}

static char *read_probe(const char *probe, GError **error) {
  g_autoptr(GError) cause = NULL;
  g_autoptr(GBytes) text = ain_file_read(probe, PROBE_MAX, &cause);
  if (text == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT, "the installation is incomplete: %s",
                cause->message);
    return NULL;
  }
  return g_strdup(g_bytes_get_data(text, NULL));
}

/* Runs the probe and returns its record. */
static char *ask(const AinEnvQuestion *question, const char *const *packages, gint64 limit_us,
                 GError **error) {
  g_autofree char *program = read_probe(question->probe, error);
  if (program == NULL) {
    return NULL;
  }
  /* As text, not as a file: a pyenv shim chooses the version by the folder of a script argument. */
  g_autofree char *word = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
  g_autoptr(GPtrArray) argv = g_ptr_array_new();
  g_ptr_array_add(argv, (gpointer)question->python);
  g_ptr_array_add(argv, (gpointer) "-c");
  g_ptr_array_add(argv, program);
  g_ptr_array_add(argv, word);
  for (const char *const *name = packages; name != NULL && *name != NULL; name++) {
    g_ptr_array_add(argv, (gpointer)*name);
  }
  g_ptr_array_add(argv, NULL);
  g_auto(GStrv) environment = ain_env_spawn_environment();
  g_auto(AinEnvCapture) capture = { 0 };
  if (!ain_env_spawn_capture((char **)argv->pdata, environment, limit_us, OUTPUT_MAX, &capture, error)) {
    return NULL;
  }
  char *record = NULL;
  if (!capture.timed_out && !capture.overflowed) {
    record = ain_env_record_find(capture.output->str, capture.output->len, word);
  }
  if (record == NULL) {
    set_no_answer(question->asked, &capture, limit_us, error);
  }
  return record;
}

/* Asks, reads, judges and, where it may, keeps the answer. */
static AinInterpreter *probe_now(const AinEnvQuestion *question, const AinEnvProbing *probing,
                                 GError **error) {
  g_autofree char *record =
      ask(question, probing->packages, probing->limit_us > 0 ? probing->limit_us : LIMIT_US, error);
  if (record == NULL) {
    return NULL;
  }
  g_autoptr(AinInterpreter) interpreter = ain_env_record_parse(record, question->asked);
  if (interpreter == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT,
                "%s answered in a way that cannot be understood: name another interpreter with -i PYTHON",
                question->asked);
    return NULL;
  }
  if (!ain_env_record_judge(interpreter, error)) {
    return NULL;
  }
  if (probing->cache_file != NULL && probing->packages == NULL) {
    ain_env_cache_store(probing->cache_file, question, interpreter, record);
  }
  return g_steal_pointer(&interpreter);
}

AinInterpreter *ain_env_probe_with(const char *python, const AinEnvProbing *probing, gboolean *from_cache,
                                   GError **error) {
  g_autofree char *path = ain_env_resolve(python, error);
  if (path == NULL) {
    return NULL;
  }
  g_autofree char *probe = g_build_filename(probing->bootstrap_dir, "probe.py", NULL);
  const AinEnvQuestion question = { .asked = python, .python = path, .probe = probe };
  AinInterpreter *kept = NULL;
  if (from_cache != NULL && probing->cache_file != NULL && probing->packages == NULL) {
    kept = ain_env_cache_load(probing->cache_file, &question);
  }
  if (from_cache != NULL) {
    *from_cache = kept != NULL;
  }
  return kept != NULL ? kept : probe_now(&question, probing, error);
}

AinInterpreter *ain_env_probe(const char *python, const char *bootstrap_dir, const char *cache_file,
                              gboolean *from_cache, GError **error) {
  const AinEnvProbing probing = { .bootstrap_dir = bootstrap_dir, .cache_file = cache_file };
  return ain_env_probe_with(python, &probing, from_cache, error);
}

static gboolean same(const AinInterpreter *a, const AinInterpreter *b) {
  return g_strcmp0(a->executable, b->executable) == 0 && a->version_hex == b->version_hex
         && g_strcmp0(a->prefix, b->prefix) == 0 && g_strcmp0(a->base_prefix, b->base_prefix) == 0
         && g_strcmp0(a->libpython, b->libpython) == 0 && g_strcmp0(a->numpy, b->numpy) == 0
         && g_strcmp0(a->torch, b->torch) == 0
         && g_strv_equal((const char *const *)a->paths, (const char *const *)b->paths);
}

AinInterpreter *ain_env_reprobe(const AinInterpreter *known, const char *bootstrap_dir,
                                const char *cache_file, gboolean *changed, GError **error) {
  AinInterpreter *now = ain_env_probe(known->asked, bootstrap_dir, cache_file, NULL, error);
  *changed = now == NULL || !same(known, now);
  return now;
}
