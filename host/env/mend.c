/* One command for each thing that can be missing, by distribution and by kind of interpreter. */
#include "env/mend.h"

#include "base/fd.h"

#include <string.h>
#include <unistd.h>

#define OS_RELEASE_MAX 65536u

static AinFamilyOfDistribution family_of_id(const char *id) {
  static const struct {
    const char *id;
    AinFamilyOfDistribution family;
  } known[] = {
    { "debian", AIN_FAMILY_DEBIAN },    { "ubuntu", AIN_FAMILY_DEBIAN },    { "rhel", AIN_FAMILY_REDHAT },
    { "fedora", AIN_FAMILY_REDHAT },    { "centos", AIN_FAMILY_REDHAT },    { "rocky", AIN_FAMILY_REDHAT },
    { "almalinux", AIN_FAMILY_REDHAT }, { "openeuler", AIN_FAMILY_REDHAT }, { "suse", AIN_FAMILY_SUSE },
    { "opensuse", AIN_FAMILY_SUSE },    { "sles", AIN_FAMILY_SUSE },        { "arch", AIN_FAMILY_ARCH },
  };
  for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
    if (g_ascii_strcasecmp(id, known[i].id) == 0) {
      return known[i].family;
    }
  }
  return AIN_FAMILY_OTHER;
}

AinFamilyOfDistribution ain_env_mend_family(const char *os_release) {
  static const char *const keys[] = { "ID=", "ID_LIKE=" };
  g_auto(GStrv) lines = g_strsplit(os_release, "\n", -1);
  for (gsize k = 0; k < G_N_ELEMENTS(keys); k++) {
    for (char **line = lines; *line != NULL; line++) {
      if (!g_str_has_prefix(*line, keys[k])) {
        continue;
      }
      g_auto(GStrv) ids = g_strsplit_set(*line + strlen(keys[k]), " \"'\r", -1);
      for (char **id = ids; *id != NULL; id++) {
        AinFamilyOfDistribution family = family_of_id(*id);
        if (family != AIN_FAMILY_OTHER) {
          return family;
        }
      }
    }
  }
  return AIN_FAMILY_OTHER;
}

AinFamilyOfDistribution ain_env_mend_family_here(void) {
  static const char *const files[] = { "/etc/os-release", "/usr/lib/os-release" };
  for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
    g_autoptr(GBytes) text = ain_file_read(files[i], OS_RELEASE_MAX, NULL);
    if (text != NULL) {
      return ain_env_mend_family(g_bytes_get_data(text, NULL));
    }
  }
  return AIN_FAMILY_OTHER;
}

char *ain_env_mend_quote(const char *path) {
  gboolean plain = *path != '\0';
  for (const char *c = path; *c != '\0'; c++) {
    plain = plain && (g_ascii_isalnum(*c) || strchr("/._-+", *c) != NULL);
  }
  return plain ? g_strdup(path) : g_shell_quote(path);
}

char *ain_env_mend_program(void) {
  g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
  if (self == NULL || !g_str_has_suffix(self, "/ainode")) {
    return g_strdup("lib/ainode");
  }
  return ain_env_mend_quote(self);
}

static const char *sudo(void) {
  return geteuid() == 0 ? "" : "sudo ";
}

/* "3.11" of "3.11.7" */
static char *minor_version(const AinInterpreter *interpreter) {
  return g_strdup_printf("%u.%u", interpreter->version_hex >> 24, (interpreter->version_hex >> 16) & 0xff);
}

static gboolean is_of_distribution(const AinInterpreter *interpreter) {
  return g_strcmp0(interpreter->base_prefix, "/usr") == 0;
}

static char *mend_python(AinFamilyOfDistribution family) {
  static const char *const install[] = {
    [AIN_FAMILY_DEBIAN] = "apt-get install -y python3 python3-venv",
    [AIN_FAMILY_REDHAT] = "dnf install -y python3.12 python3.12-pip",
    [AIN_FAMILY_SUSE] = "zypper install -y python311 python311-pip",
    [AIN_FAMILY_ARCH] = "pacman -S --noconfirm python",
    [AIN_FAMILY_OTHER] = NULL,
  };
  if (install[family] == NULL) {
    return g_strdup("install CPython 3.9 or newer and name it with sbin/start-ainode.sh -i PYTHON");
  }
  return g_strconcat(sudo(), install[family], NULL);
}

static char *mend_venv(AinFamilyOfDistribution family, const AinInterpreter *interpreter) {
  g_autofree char *minor = minor_version(interpreter);
  if (!is_of_distribution(interpreter)) {
    g_autofree char *get = mend_python(family);
    return g_strdup_printf("%s (this Python in %s was built without it)", get, interpreter->base_prefix);
  }
  switch (family) {
  case AIN_FAMILY_DEBIAN:
    return g_strdup_printf("%sapt-get install -y python%s-venv", sudo(), minor);
  case AIN_FAMILY_REDHAT:
    return g_strdup_printf("%sdnf install -y python%s-pip", sudo(), minor);
  case AIN_FAMILY_SUSE:
  case AIN_FAMILY_ARCH:
  case AIN_FAMILY_OTHER:
  default:
    return mend_python(family);
  }
}

static char *mend_ssl(AinFamilyOfDistribution family, const AinInterpreter *interpreter) {
  static const char *const headers[] = {
    [AIN_FAMILY_DEBIAN] = "apt-get install -y libssl-dev",
    [AIN_FAMILY_REDHAT] = "dnf install -y openssl-devel",
    [AIN_FAMILY_SUSE] = "zypper install -y libopenssl-devel",
    [AIN_FAMILY_ARCH] = "pacman -S --noconfirm openssl",
    [AIN_FAMILY_OTHER] = NULL,
  };
  if (is_of_distribution(interpreter) && family == AIN_FAMILY_DEBIAN) {
    g_autofree char *minor = minor_version(interpreter);
    return g_strdup_printf("%sapt-get install -y --reinstall libpython%s-stdlib", sudo(), minor);
  }
  g_autofree char *first = headers[family] == NULL ? g_strdup("install the OpenSSL headers")
                                                   : g_strconcat(sudo(), headers[family], NULL);
  if (strstr(interpreter->base_prefix, "/.pyenv/versions/") != NULL) {
    return g_strdup_printf("%s && pyenv install --force %s", first, interpreter->version);
  }
  return g_strdup_printf("%s, then build the Python in %s again (./configure && make && make install)", first,
                         interpreter->base_prefix);
}

static char *mend_packages(AinFamilyOfDistribution family, const AinInterpreter *interpreter) {
  if (interpreter->externally_managed) {
    if (family == AIN_FAMILY_DEBIAN) {
      return g_strconcat(sudo(), "apt-get install -y python3-numpy python3-torch", NULL);
    }
    g_autofree char *python = ain_env_mend_quote(interpreter->executable);
    return g_strdup_printf("%s -m venv ~/ainode-venv, then start with -i ~/ainode-venv/bin/python", python);
  }
  g_autofree char *program = ain_env_mend_program();
  g_autofree char *python = ain_env_mend_quote(interpreter->executable);
  return g_strdup_printf("%s env install -i %s", program, python);
}

static char *mend_pip(AinFamilyOfDistribution family, const AinInterpreter *interpreter) {
  if (interpreter->externally_managed || !interpreter->has_ensurepip) {
    return is_of_distribution(interpreter) && family == AIN_FAMILY_DEBIAN
               ? g_strconcat(sudo(), "apt-get install -y python3-pip", NULL)
               : mend_venv(family, interpreter);
  }
  g_autofree char *python = ain_env_mend_quote(interpreter->executable);
  return g_strdup_printf("%s -m ensurepip", python);
}

char *ain_env_mend_command(AinFamilyOfDistribution family, AinMend mend, const AinInterpreter *interpreter) {
  switch (mend) {
  case AIN_MEND_VENV:
    return mend_venv(family, interpreter);
  case AIN_MEND_SSL:
    return mend_ssl(family, interpreter);
  case AIN_MEND_PACKAGES:
    return mend_packages(family, interpreter);
  case AIN_MEND_PIP:
    return mend_pip(family, interpreter);
  case AIN_MEND_OLD_PIP: {
    g_autofree char *python = ain_env_mend_quote(interpreter->executable);
    return g_strdup_printf("%s -m pip install --upgrade pip", python);
  }
  case AIN_MEND_PYTHON:
  default:
    return mend_python(family);
  }
}
