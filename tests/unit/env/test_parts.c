/* Settings, requirements, mending commands, ELF heads. */
#include "base/error.h"
#include "env/elf.h"
#include "env/mend.h"
#include "env/requirements.h"
#include "env/settings.h"

#include "folder.h"

#include <unistd.h>

static gboolean load(const char *home, const char *text, AinEnvSettings *settings, GError **error) {
  g_autofree char *file = folder_file(home, "conf/ainode-env.sh", text, 0644);
  return ain_env_settings_load(home, settings, error);
}

static void expect_interpreter(const char *home, const char *text, const char *interpreter) {
  g_autoptr(GError) error = NULL;
  g_auto(AinEnvSettings) settings = { 0 };
  load(home, text, &settings, &error);
  g_assert_no_error(error);
  g_assert_cmpstr(settings.interpreter, ==, interpreter);
}

static void test_settings_are_read(void) {
  char *home = folder_new();
  g_autoptr(GError) error = NULL;
  g_auto(AinEnvSettings) settings = { 0 };
  g_assert_true(ain_env_settings_load(home, &settings, &error)); /* no file */
  g_assert_null(settings.interpreter);
  expect_interpreter(home, "# ain_interpreter_dir=/no\n", NULL);
  expect_interpreter(home, "ain_interpreter_dir=\n", NULL);
  expect_interpreter(home, "ain_interpreter_dir=/a b/python3  # mine\r\n", "/a b/python3");
  expect_interpreter(home, "ain_interpreter_dir=\"/a b/python3\"\n", "/a b/python3");
  expect_interpreter(home, "export ain_interpreter_dir='/x'\n", "/x");
  expect_interpreter(home, "ain_interpreter_dir=/first\nain_interpreter_dir=/second\n", "/second");
  /* the program part of an official file is not run */
  expect_interpreter(home,
                     "ain_interpreter_dir=/x\nif true; then\n  ain_interpreter_dir=\"$p_dir\"\nfi\n"
                     "touch /tmp/never\n",
                     "/x");
  g_assert_true(load(home, "ain_force_reinstall=1\nain_install_offline=0\n", &settings, &error));
  g_assert_true(settings.force_reinstall);
  g_assert_false(settings.install_offline);
  folder_free(home);
}

static void test_settings_are_refused(void) {
  static const struct {
    const char *text;
    const char *says;
  } cases[] = {
    { "\nain_force_reinstall=yes\n", "line 2: ain_force_reinstall is 'yes'; 0 and 1 are allowed" },
    { "ain_install_offline=2\n", "line 1: ain_install_offline is '2'" },
    { "ain_interpreter_dir=$HOME/venv\n", "shell expressions are not evaluated" },
    { "ain_interpreter_dir=`which python`\n", "shell expressions are not evaluated" },
  };
  char *home = folder_new();
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autoptr(GError) error = NULL;
    g_auto(AinEnvSettings) settings = { 0 };
    g_assert_false(load(home, cases[i].text, &settings, &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, cases[i].says));
    g_assert_nonnull(strstr(error->message, "ainode-env.sh"));
  }
  folder_free(home);
}

static void test_environment_wins_over_file(void) {
  char *home = folder_new();
  g_autoptr(GError) error = NULL;
  g_auto(AinEnvSettings) settings = { 0 };
  g_setenv("ain_install_offline", "1", TRUE);
  g_assert_true(load(home, "ain_install_offline=0\n", &settings, &error));
  g_assert_true(settings.install_offline);
  g_setenv("ain_install_offline", "maybe", TRUE);
  g_assert_false(load(home, "", &settings, &error));
  g_assert_nonnull(strstr(error->message, "the environment: ain_install_offline"));
  g_unsetenv("ain_install_offline");
  folder_free(home);
}

static void test_requirements(void) {
  char *folder = folder_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *file =
      folder_file(folder, "r.txt",
                  "# comment\n\nnumpy>=1.26\n  torch == 2.0 \\\n   --hash=sha256:00\n-i x\n"
                  "scikit-learn[extra]~=1.0\nold; python_version < '3'\nA.b_c\n",
                  0644);
  g_auto(GStrv) names = ain_env_requirements_read(file, &error);
  g_assert_no_error(error);
  g_autofree char *joined = g_strjoinv(" ", names);
  g_assert_cmpstr(joined, ==, "numpy torch scikit-learn A.b_c");
  g_autofree char *bad = folder_file(folder, "bad.txt", "numpy\n==1\n", 0644);
  g_assert_null(ain_env_requirements_read(bad, &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  g_assert_nonnull(strstr(error->message, "line 2"));
  g_clear_error(&error);
  g_assert_null(ain_env_requirements_read("/nonexistent/r.txt", &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_INVALID);
  folder_free(folder);
}

static void test_families(void) {
  g_assert_cmpint(ain_env_mend_family("NAME=x\nID=debian\n"), ==, AIN_FAMILY_DEBIAN);
  g_assert_cmpint(ain_env_mend_family("ID_LIKE=\"fedora rhel\"\nID=\"strange\"\n"), ==, AIN_FAMILY_REDHAT);
  g_assert_cmpint(ain_env_mend_family("ID=linuxmint\nID_LIKE=ubuntu\n"), ==, AIN_FAMILY_DEBIAN);
  g_assert_cmpint(ain_env_mend_family("ID='arch'\r\n"), ==, AIN_FAMILY_ARCH);
  g_assert_cmpint(ain_env_mend_family("VERSION_ID=debian\n"), ==, AIN_FAMILY_OTHER);
  g_assert_cmpint(ain_env_mend_family(""), ==, AIN_FAMILY_OTHER);
}

static void expect_mend(AinFamilyOfDistribution family, AinMend mend, const AinInterpreter *interpreter,
                        const char *says) {
  g_autofree char *command = ain_env_mend_command(family, mend, interpreter);
  if (strstr(command, says) == NULL) {
    g_error("'%s' does not say '%s'", command, says);
  }
}

static void test_mending_commands(void) {
  AinInterpreter system = { .executable = "/usr/bin/python3",
                            .version = "3.11.2",
                            .version_hex = 0x030b02f0,
                            .base_prefix = "/usr",
                            .has_ensurepip = TRUE };
  AinInterpreter pyenv = system;
  AinInterpreter built = system;
  pyenv.base_prefix = "/home/a/.pyenv/versions/3.11.2";
  built.base_prefix = "/opt/python 3";
  built.executable = "/opt/python 3/bin/python3";
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_PYTHON, NULL, "apt-get install -y python3 python3-venv");
  expect_mend(AIN_FAMILY_OTHER, AIN_MEND_PYTHON, NULL, "install CPython 3.9 or newer");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_VENV, &system, "apt-get install -y python3.11-venv");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_VENV, &built, "was built without it");
  expect_mend(AIN_FAMILY_REDHAT, AIN_MEND_VENV, &system, "dnf install -y python3.11-pip");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_SSL, &system, "--reinstall libpython3.11-stdlib");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_SSL, &pyenv, "libssl-dev && pyenv install --force 3.11.2");
  expect_mend(AIN_FAMILY_REDHAT, AIN_MEND_SSL, &built,
              "openssl-devel, then build the Python in /opt/python 3");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_PACKAGES, &built, "env install -i '/opt/python 3/bin/python3'");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_PIP, &built, "-m ensurepip");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_OLD_PIP, &system, "/usr/bin/python3 -m pip install --upgrade pip");
  system.externally_managed = TRUE;
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_PACKAGES, &system,
              "apt-get install -y python3-numpy python3-torch");
  expect_mend(AIN_FAMILY_ARCH, AIN_MEND_PACKAGES, &system, "/usr/bin/python3 -m venv");
  expect_mend(AIN_FAMILY_DEBIAN, AIN_MEND_PIP, &system, "apt-get install -y python3-pip");
}

static void test_problems_come_in_order(void) {
  AinInterpreter lacking = { .executable = "/opt/p/bin/python3",
                             .version = "3.9.0",
                             .version_hex = 0x030900f0,
                             .base_prefix = "/opt/p",
                             .pip = "19.2.3",
                             .has_ensurepip = TRUE };
  g_autoptr(GPtrArray) problems = ain_env_problems(&lacking);
  g_assert_cmpuint(problems->len, ==, 3);
  g_assert_nonnull(strstr(g_ptr_array_index(problems, 0), "no ssl module"));
  g_assert_nonnull(strstr(g_ptr_array_index(problems, 1), "pip too old"));
  g_assert_nonnull(
      strstr(g_ptr_array_index(problems, 2), "lacks numpy, without which no model can run, and torch"));
  AinInterpreter whole = lacking;
  whole.numpy = "2.0";
  whole.torch = "2.0";
  g_autoptr(GPtrArray) none = ain_env_problems(&whole);
  g_assert_cmpuint(none->len, ==, 0); /* without need of pip, its age does not matter */
}

static void test_elf(void) {
  char *folder = folder_new();
  g_autofree char *script = folder_file(folder, "script", "#!/bin/sh\n", 0755);
  g_autofree char *truncated = folder_file(folder, "short", "\177ELF", 0644);
  g_autofree char *fifo = g_build_filename(folder, "fifo", NULL);
  g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
  g_assert_cmpint(ain_env_elf_check("/proc/self/exe", FALSE), ==, AIN_ELF_FITS);
  g_assert_cmpint(ain_env_elf_check(script, FALSE), ==, AIN_ELF_NOT);
  g_assert_cmpint(ain_env_elf_check(truncated, FALSE), ==, AIN_ELF_NOT);
  g_assert_cmpint(ain_env_elf_check(fifo, FALSE), ==, AIN_ELF_NOT);
  g_assert_cmpint(ain_env_elf_check(folder, FALSE), ==, AIN_ELF_NOT);
  g_assert_cmpint(ain_env_elf_check("/nonexistent", TRUE), ==, AIN_ELF_NOT);
  folder_free(folder);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/env/settings/read", test_settings_are_read);
  g_test_add_func("/env/settings/refused", test_settings_are_refused);
  g_test_add_func("/env/settings/environment", test_environment_wins_over_file);
  g_test_add_func("/env/requirements", test_requirements);
  g_test_add_func("/env/mend/families", test_families);
  g_test_add_func("/env/mend/commands", test_mending_commands);
  g_test_add_func("/env/problems", test_problems_come_in_order);
  g_test_add_func("/env/elf", test_elf);
  return g_test_run();
}
