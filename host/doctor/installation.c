/* The unpacked package and its settings. */
#include "base/error.h"
#include "doctor/check.h"
#include "doctor/paths.h"
#include "env/elf.h"
#include "env/settings.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char unpack_mend[] = "unpack the whole apache-iotdb-*-ainode-bin.zip again; conf and data stay";

typedef struct {
  const char *name; /* below lib */
  gboolean program; /* is executed */
  gboolean elf;
} Part;

static const Part parts[] = {
  { "ainode", TRUE, TRUE },
  { "ainode-runtime", TRUE, TRUE },
  { "_ainode.abi3.so", FALSE, TRUE },
  { "pyruntime/ainode/boot.py", FALSE, FALSE },
  { "pyruntime/ainode/worker.py", FALSE, FALSE },
};

static void look_unusable(AinLook *look, const Part *part, const char *path, int reason) {
  g_autofree char *mount = ain_path_mount(path);
  if (reason == ENOENT) {
    ain_look_error(look, unpack_mend, "%s is missing: the installation is not whole", path);
  } else if (part->program && ain_path_is_noexec(path)) {
    g_autofree char *mend = g_strdup_printf("mount -o remount,exec %s, or install on another file system",
                                            mount != NULL ? mount : path);
    ain_look_error(look, mend, "%s cannot be run: the file system %s is mounted noexec", path,
                   mount != NULL ? mount : "");
  } else {
    g_autofree char *mend = g_strdup_printf("chmod a+r%s %s", part->program ? "x" : "", path);
    ain_look_error(look, mend, "%s cannot be %s by uid %u: %s", path, part->program ? "run" : "read",
                   (unsigned)geteuid(), g_strerror(reason));
  }
}

static gboolean look_at_part(AinLook *look, const char *lib, const Part *part) {
  struct utsname machine = { 0 };
  g_autofree char *path = g_build_filename(lib, part->name, NULL);
  if (eaccess(path, part->program ? R_OK | X_OK : R_OK) != 0) {
    look_unusable(look, part, path, errno);
    return FALSE;
  }
  AinElf kind = part->elf ? ain_env_elf_check(path, FALSE) : AIN_ELF_FITS;
  if (kind == AIN_ELF_FITS) {
    return TRUE;
  }
  (void)uname(&machine);
  ain_look_error(look, unpack_mend,
                 kind == AIN_ELF_FOREIGN ? "%s is for another machine than %s: take the package for it"
                                         : "%s is no program for %s: it is damaged",
                 path, machine.machine);
  return FALSE;
}

void ain_check_programs(AinLook *look) {
  g_autofree char *lib = g_build_filename(look->request->home, "lib", NULL);
  gboolean good = TRUE;
  for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
    good &= look_at_part(look, lib, &parts[i]);
  }
  g_autofree char *bootstrap = ain_env_bootstrap_dir(look->request->home);
  g_autofree char *probe = g_build_filename(bootstrap, "probe.py", NULL);
  if (eaccess(probe, R_OK) != 0) {
    look_unusable(look, &parts[G_N_ELEMENTS(parts) - 1], probe, errno);
    good = FALSE;
  }
  /* Libraries there cannot be loaded, although they can be read. */
  if (good && ain_path_is_noexec(lib)) {
    look_unusable(look, &parts[0], lib, EACCES);
  } else if (good) {
    ain_look_ok(look, "%s is whole, for this machine, and may be run", lib);
  }
}

void ain_check_configuration(AinLook *look) {
  const AinDoctorRequest *request = look->request;
  g_autoptr(GError) error = NULL;
  g_autoptr(GPtrArray) earlier = ain_doctor_take_warnings();
  look->found.config = ain_config_load(request->home, request->config_file, request->overrides, &error);
  g_autoptr(GPtrArray) warnings = ain_doctor_take_warnings();
  for (guint i = 0; i < warnings->len; i++) {
    ain_look_warn(look, NULL, "%s", (const char *)g_ptr_array_index(warnings, i));
  }
  if (look->found.config == NULL) {
    ain_look_error(look,
                   "correct the line that is named; the default of every key: lib/ainode config --template",
                   "%s", error->message);
  } else if (warnings->len == 0) {
    ain_look_ok(look, "%s is valid (every value and its source: lib/ainode config)",
                look->found.config->config_file);
  }
}

void ain_check_settings(AinLook *look) {
  g_auto(AinEnvSettings) settings = { 0 };
  g_autoptr(GError) error = NULL;
  if (!ain_env_settings_load(look->request->home, &settings, &error)) {
    ain_look_error(look, "correct the line that is named", "%s", error->message);
  } else if (settings.interpreter != NULL) {
    ain_look_ok(look, "ain_interpreter_dir = %s%s", settings.interpreter,
                settings.install_offline ? ", installing offline" : "");
  } else {
    ain_look_ok(look, "conf/ainode-env.sh names no interpreter%s",
                settings.install_offline ? "; installing offline" : "");
  }
}
