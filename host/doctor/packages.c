/* Packages are imported for real, in a child with a limit, and what cannot be imported is looked into. */
#include "base/fd.h"
#include "doctor/check.h"
#include "env/elf.h"
#include "env/mend.h"
#include "env/record.h"
#include "env/requirements.h"
#include "env/spawn.h"

#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define SCRIPT_MAX 65536u
#define OUTPUT_MAX 65536u
#define IMPORT_LIMIT_US                                                                                      \
  (G_GINT64_CONSTANT(90) * G_USEC_PER_SEC) /* torch takes 2 s, and a minute from a cold network disk */
#define ENTRIES_MAX 20000u
#define DEPTH_MAX 6u

typedef struct {
  char *version;
  char *file;
  char *error; /* set: the import failed */
} Import;

static void import_clear(Import *import) {
  g_free(import->version);
  g_free(import->file);
  g_free(import->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Import, import_clear)

/* How a child that gave no answer ended. */
static char *how_it_ended(const AinEnvCapture *capture, gint64 limit_us) {
  if (capture->timed_out) {
    return g_strdup_printf("the import did not end within %.3g s", (double)limit_us / G_USEC_PER_SEC);
  }
  if (WIFSIGNALED(capture->status)) {
    return g_strdup_printf("the import was ended by signal %d (%s)%s", WTERMSIG(capture->status),
                           g_strsignal(WTERMSIG(capture->status)),
                           WTERMSIG(capture->status) == 4
                               ? ": this processor lacks instructions that the wheel was built for"
                               : "");
  }
  return g_strdup_printf("the import ended the process with code %d", WEXITSTATUS(capture->status));
}

/* FALSE: it could not be tried; *import then has the error. */
static gboolean try_import(const AinLook *look, const char *name, Import *import) {
  const AinInterpreter *python = look->facts->python;
  g_autofree char *script = g_build_filename(look->facts->plan->bootstrap, "imports.py", NULL);
  g_autoptr(GError) error = NULL;
  g_autoptr(GBytes) program = ain_file_read(script, SCRIPT_MAX, &error);
  if (program == NULL) {
    import->error = g_strdup(error->message);
    return FALSE;
  }
  g_autofree char *word = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
  gint64 limit_us = ain_look_limit(look, IMPORT_LIMIT_US);
  g_auto(GStrv) environment = ain_env_spawn_environment();
  g_auto(AinEnvCapture) capture = { 0 };
  char *argv[] = { python->executable, (char *)"-c", (char *)g_bytes_get_data(program, NULL), word,
                   (char *)name,       NULL };
  if (!ain_env_spawn_capture(argv, environment, limit_us, OUTPUT_MAX, &capture, &error)) {
    import->error = g_strdup(error->message);
    return FALSE;
  }
  g_autofree char *record = ain_env_record_find(capture.output->str, capture.output->len, word);
  if (record == NULL) {
    import->error = how_it_ended(&capture, limit_us);
    return TRUE;
  }
  import->version = ain_env_record_value(record, "version");
  import->file = ain_env_record_value(record, "file");
  import->error = ain_env_record_value(record, "error");
  if (import->error == NULL && import->version == NULL) {
    import->error = g_strdup("its answer is not understood");
  }
  return TRUE;
}

/* --- why an import fails ---------------------------------------------------------------------------------
 */

/* What is wrong with a library by its name and first bytes; NULL: nothing that can be seen so. */
static char *fault_of(const char *path, const char *name, const AinInterpreter *python) {
  struct utsname machine = { 0 };
  (void)uname(&machine);
  AinElf kind = ain_env_elf_check(path, FALSE);
  if (kind == AIN_ELF_FOREIGN) {
    return g_strdup_printf("%s is for another machine than this %s", path, machine.machine);
  }
  if (kind == AIN_ELF_NOT) {
    return g_strdup_printf("%s is damaged: it is no shared library", path);
  }
  const char *tag = strstr(name, ".cpython-");
  g_autofree char *wanted =
      g_strdup_printf(".cpython-%u%u", python->version_hex >> 24, (python->version_hex >> 16) & 0xff);
  gsize size = strlen(wanted);
  if (tag != NULL && (strncmp(tag, wanted, size) != 0 || g_ascii_isdigit(tag[size]))) {
    return g_strdup_printf("%s is for another version of Python than %s", path, python->version);
  }
  return NULL;
}

/* The first library below the folder with a fault that can be seen. */
static char *find_fault(const char *folder, const AinInterpreter *python, guint depth, guint *entries) {
  g_autoptr(GDir) directory = depth < DEPTH_MAX ? g_dir_open(folder, 0, NULL) : NULL;
  const char *name;
  char *fault = NULL;
  while (directory != NULL && fault == NULL && (name = g_dir_read_name(directory)) != NULL
         && ++*entries < ENTRIES_MAX) {
    g_autofree char *path = g_build_filename(folder, name, NULL);
    if (g_str_has_suffix(name, ".so") || strstr(name, ".so.") != NULL) {
      fault = fault_of(path, name, python);
    } else if (g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
      fault = find_fault(path, python, depth + 1, entries);
    }
  }
  return fault;
}

static char *find_fault_of_package(const AinInterpreter *python, const char *name) {
  for (char **path = python->paths; *path != NULL; path++) {
    g_autofree char *folder = g_build_filename(*path, name, NULL);
    if (g_file_test(folder, G_FILE_TEST_IS_DIR)) {
      guint entries = 0;
      return find_fault(folder, python, 0, &entries);
    }
  }
  return NULL;
}

/* What the exception means, where it is one of the usual ones. */
static const char *meaning_of(const char *error) {
  static const struct {
    const char *part;
    const char *meaning;
  } known[] = {
    { "compiled using NumPy 1.x", "it was built for NumPy 1, and NumPy 2 is installed" },
    { "_ARRAY_API not found", "it was built for another NumPy than is installed" },
    { "numpy.core.multiarray failed to import", "it was built for another NumPy than is installed" },
    { "GLIBC_", "it was built for a newer C library than this machine has" },
    { "GLIBCXX_", "it was built for a newer C++ library than this machine has" },
    { "libgomp", "the system library libgomp1 is missing" },
    { "libcuda", "the NVIDIA driver is missing" },
    { "libcudart", "CUDA libraries are missing" },
    { "Numpy is not available", "it was built for another NumPy than is installed" },
    { "No module named", "something that it needs is not installed" },
  };
  for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
    if (strstr(error, known[i].part) != NULL) {
      return known[i].meaning;
    }
  }
  return NULL;
}

static char *mend_of_broken(const AinInterpreter *python, const char *name) {
  if (python->externally_managed) {
    return ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PACKAGES, python);
  }
  g_autofree char *quoted = ain_env_mend_quote(python->executable);
  return g_strdup_printf("%s -m pip install --force-reinstall --no-cache-dir %s", quoted, name);
}

static void look_broken(AinLook *look, const char *name, const char *error) {
  const AinInterpreter *python = look->facts->python;
  g_autofree char *fault = find_fault_of_package(python, name);
  g_autofree char *mend = mend_of_broken(python, name);
  const char *meaning = fault != NULL ? fault : meaning_of(error);
  g_autofree char *shown = g_strndup(error, 300);
  ain_look_error(look, mend, "%s is installed for %s and cannot be imported%s%s; it says: %s", name,
                 python->executable, meaning != NULL ? ": " : "", meaning != NULL ? meaning : "",
                 g_strdelimit(shown, "\n", ' '));
}

static void look_at_package(AinLook *look, const char *name, const char *version, gboolean needed) {
  const AinInterpreter *python = look->facts->python;
  if (python == NULL) {
    ain_look_skip(look, look->facts->base != NULL ? "the start installs it into the virtual environment"
                                                  : "there is no usable interpreter");
    return;
  }
  if (version == NULL) {
    g_autofree char *mend = ain_env_mend_command(ain_env_mend_family_here(), AIN_MEND_PACKAGES, python);
    if (needed) {
      ain_look_error(look, mend, "%s lacks %s, without which no model can run", python->executable, name);
    } else {
      ain_look_warn(look, mend, "%s lacks %s, which TorchScript and large models need", python->executable,
                    name);
    }
    return;
  }
  g_auto(Import) import = { 0 };
  if (!try_import(look, name, &import)) {
    ain_look_skip(look, "it could not be tried: %s", import.error);
  } else if (import.error != NULL) {
    look_broken(look, name, import.error);
  } else {
    ain_look_ok(look, "%s %s, %s", name, import.version, import.file);
  }
}

void ain_check_numpy(AinLook *look) {
  look_at_package(look, "numpy", look->facts->python != NULL ? look->facts->python->numpy : NULL, TRUE);
}

void ain_check_torch(AinLook *look) {
  look_at_package(look, "torch", look->facts->python != NULL ? look->facts->python->torch : NULL, FALSE);
}

static gboolean has_package(const AinInterpreter *python, const char *name) {
  g_autofree char *prefix = g_strconcat(name, "==", NULL);
  for (char **package = python->packages; *package != NULL; package++) {
    if (g_str_has_prefix(*package, prefix)) {
      return TRUE;
    }
  }
  return FALSE;
}

void ain_check_builtins(AinLook *look) {
  const AinInterpreter *python = look->facts->python;
  if (python == NULL) {
    ain_look_skip(look, look->facts->base != NULL ? "the virtual environment is not made yet"
                                                  : "there is no usable interpreter");
    return;
  }
  g_autofree char *file =
      g_build_filename(look->facts->plan->bootstrap, "requirements", "builtins.txt", NULL);
  g_auto(GStrv) names = ain_env_requirements_read(file, NULL);
  g_autoptr(GPtrArray) missing = g_ptr_array_new();
  for (char **name = names; name != NULL && *name != NULL; name++) {
    if (!has_package(python, *name)) {
      g_ptr_array_add(missing, *name);
    }
  }
  g_ptr_array_add(missing, NULL);
  if (missing->len == 1) {
    ain_look_ok(look, "what the statistical built-in models need is installed");
    return;
  }
  g_autofree char *list = g_strjoinv(", ", (char **)missing->pdata);
  g_autofree char *program = ain_env_mend_program();
  g_autofree char *quoted = ain_env_mend_quote(python->executable);
  g_autofree char *list_file = ain_env_mend_quote(file);
  g_autofree char *mend =
      g_strdup_printf("%s env install -i %s --requirements %s", program, quoted, list_file);
  ain_look_warn(look, mend,
                "%s lacks %s: built-in models that need them (arima, holtwinters, ...) answer with an error",
                python->executable, list);
}
