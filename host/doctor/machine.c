/* The machine itself: kernel, C library, memory, clock, mandatory access control. */
#include "base/fd.h"
#include "doctor/check.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define OLDEST_KERNEL_MAJOR 5
#define OLDEST_KERNEL_MINOR 10
#define TEXT_MAX 65536u
#define MIB (G_GUINT64_CONSTANT(1) << 20)
/* A worker of PyTorch takes some 250 MB beside its weights, the host 4. */
#define LEAST_MEMORY (512 * MIB)
#define LITTLE_MEMORY (1024 * MIB)
#define SLACK_S 120 /* clocks of file servers differ a little */

void ain_check_kernel(AinLook *look) {
  struct utsname name;
  int major = 0;
  int minor = 0;
  if (uname(&name) != 0) {
    ain_look_skip(look, "the kernel does not say its version: %s", g_strerror(errno));
    return;
  }
  g_auto(GStrv) parts = g_strsplit_set(name.release, ".-", 3);
  if (g_strv_length(parts) >= 2) {
    major = (int)g_ascii_strtoll(parts[0], NULL, 10);
    minor = (int)g_ascii_strtoll(parts[1], NULL, 10);
  }
  if (major < OLDEST_KERNEL_MAJOR || (major == OLDEST_KERNEL_MAJOR && minor < OLDEST_KERNEL_MINOR)) {
    ain_look_error(look, "run the AINode on a machine or container host with Linux 5.10 or newer",
                   "Linux %s is older than 5.10, the first with what the shared memory of models needs",
                   name.release);
    return;
  }
  ain_look_ok(look, "Linux %s on %s", name.release, name.machine);
}

/* That this program runs says that the C library is new enough; which one it is helps with wheels. */
void ain_check_libc(AinLook *look) {
  ain_look_ok(look, "glibc %s: wheels built for up to manylinux_%s can be used", gnu_get_libc_version(),
              gnu_get_libc_version());
}

/* --- memory ----------------------------------------------------------------------------------------------
 */

/* "MemAvailable:  123 kB" in bytes, 0 when it is not there. */
static guint64 from_meminfo(const char *key) {
  g_autofree char *text = NULL;
  if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL)) {
    return 0;
  }
  const char *line = strstr(text, key);
  return line == NULL ? 0 : g_ascii_strtoull(line + strlen(key), NULL, 10) * 1024;
}

static guint64 number_of(const char *folder, const char *name) {
  g_autofree char *path = g_build_filename(folder, name, NULL);
  g_autofree char *text = NULL;
  guint64 number = 0;
  if (!g_file_get_contents(path, &text, NULL, NULL)
      || !g_ascii_string_to_unsigned(g_strchomp(text), 10, 0, G_MAXUINT64, &number, NULL)) {
    return G_MAXUINT64; /* "max", or no such group */
  }
  return number;
}

/* What is left of the tightest control group around this process (version 2, or 1), or G_MAXUINT64. */
static guint64 left_in_groups(guint64 *limit) {
  static const struct {
    const char *prefix; /* of the line in /proc/self/cgroup */
    const char *mount;
    const char *maximum;
    const char *current;
  } kinds[] = {
    { "0::", "/sys/fs/cgroup", "memory.max", "memory.current" },
    { ":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes" },
  };
  g_autofree char *text = NULL;
  guint64 left = G_MAXUINT64;
  if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL)) {
    return left;
  }
  for (gsize kind = 0; kind < G_N_ELEMENTS(kinds); kind++) {
    const char *line = strstr(text, kinds[kind].prefix);
    if (line == NULL) {
      continue;
    }
    g_autofree char *name =
        g_strndup(line + strlen(kinds[kind].prefix), strcspn(line + strlen(kinds[kind].prefix), "\n"));
    g_autofree char *folder = g_build_filename(kinds[kind].mount, name, NULL);
    while (strlen(folder) >= strlen(kinds[kind].mount)) {
      guint64 maximum = number_of(folder, kinds[kind].maximum);
      guint64 current = number_of(folder, kinds[kind].current);
      if (maximum < (G_GUINT64_CONSTANT(1) << 60) && current != G_MAXUINT64
          && maximum - MIN(current, maximum) < left) {
        left = maximum - MIN(current, maximum);
        *limit = maximum;
      }
      char *parent = g_path_get_dirname(folder);
      g_free(folder);
      folder = parent;
    }
  }
  return left;
}

void ain_check_memory(AinLook *look) {
  guint64 limit = 0;
  guint64 available = from_meminfo("MemAvailable:");
  guint64 in_groups = left_in_groups(&limit);
  if (available == 0 && in_groups == G_MAXUINT64) {
    ain_look_skip(look, "/proc/meminfo and the control groups tell nothing");
    return;
  }
  gboolean grouped = in_groups < available || available == 0;
  guint64 left = grouped ? in_groups : available;
  g_autofree char *where =
      grouped ? g_strdup_printf("of the control group's %.1f GiB", (double)limit / (double)(1024 * MIB))
              : g_strdup_printf("of the machine's %.1f GiB",
                                (double)from_meminfo("MemTotal:") / (double)(1024 * MIB));
  if (left < LEAST_MEMORY) {
    ain_look_warn(
        look, grouped ? "raise the memory limit of the container or service (memory.max)" : NULL,
        "%.0f MiB %s are left; the first worker with PyTorch needs about 300 MiB beside its weights",
        (double)left / (double)MIB, where);
  } else {
    ain_look_ok(look, "%.1f GiB %s are left%s", (double)left / (double)(1024 * MIB), where,
                left < LITTLE_MEMORY ? ", enough for small models only" : "");
  }
}

/* --- clock -----------------------------------------------------------------------------------------------
 */

/* A file of ours that is younger than now was written by a clock that was ahead, or ours has gone back. */
static char *newest_of(const AinLook *look, time_t *when) {
  const AinConfig *config = look->facts->config;
  g_autofree char *program = g_build_filename(look->request->home, "lib", "ainode", NULL);
  g_autofree char *identity =
      config == NULL ? NULL : g_build_filename(config->system_dir, "system.properties", NULL);
  g_autofree char *log =
      config == NULL ? NULL : g_build_filename(config->logs_dir, "log_ainode_all.log", NULL);
  const char *paths[] = { "/proc/self/exe", program, identity, log };
  char *newest = NULL;
  *when = 0;
  for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
    struct stat info;
    if (paths[i] != NULL && stat(paths[i], &info) == 0 && info.st_mtim.tv_sec > *when) {
      *when = info.st_mtim.tv_sec;
      g_free(newest);
      newest = g_strdup(paths[i]);
    }
  }
  return newest;
}

void ain_check_clock(AinLook *look) {
  static const char mend[] = "set the clock and keep it so: timedatectl set-ntp true";
  time_t newest_time = 0;
  g_autofree char *newest = newest_of(look, &newest_time);
  time_t now = time(NULL);
  g_autoptr(GDateTime) shown = g_date_time_new_from_unix_utc(now);
  g_autofree char *text = g_date_time_format(shown, "%Y-%m-%d %H:%M:%S UTC");
  if (newest_time > now + SLACK_S) {
    g_autoptr(GDateTime) other = g_date_time_new_from_unix_utc(newest_time);
    g_autofree char *then = g_date_time_format(other, "%Y-%m-%d %H:%M:%S UTC");
    ain_look_warn(look, mend,
                  "the clock says %s, but %s was written later, at %s: the clock is behind, or was", text,
                  newest, then);
    return;
  }
  struct timex state = { 0 };
  int answer = adjtimex(&state);
  if (answer >= 0 && (answer == TIME_ERROR || (state.status & STA_UNSYNC) != 0)) {
    /* Virtual machines often take the time from their host without telling the kernel. */
    ain_look_ok(look, "%s; no time service steers the kernel's clock", text);
  } else {
    ain_look_ok(look, "%s%s", text, answer >= 0 ? ", kept by a time service" : "");
  }
}

/* --- SELinux and AppArmor --------------------------------------------------------------------------------
 */

static char *first_line(const char *path) {
  g_autofree char *text = NULL;
  if (!g_file_get_contents(path, &text, NULL, NULL)) {
    return NULL;
  }
  text[strcspn(text, "\n")] = '\0';
  return g_steal_pointer(&text);
}

void ain_check_security(AinLook *look) {
  g_autofree char *enforce = first_line("/sys/fs/selinux/enforce");
  g_autofree char *label = first_line("/proc/self/attr/current");
  if (enforce != NULL && strcmp(enforce, "1") == 0 && label != NULL && strstr(label, "unconfined") == NULL) {
    ain_look_warn(
        look, "look for denials: ausearch -m AVC -ts recent; a policy module allows what is missing",
        "SELinux is enforcing and confines this process (%s): what looks like wrong permissions may "
        "be its policy",
        label);
  } else if (enforce != NULL) {
    ain_look_ok(look, "SELinux is %s",
                strcmp(enforce, "1") == 0 ? "enforcing, this process unconfined" : "permissive");
  } else if (label != NULL && *label != '\0' && strstr(label, "unconfined") == NULL
             && strstr(label, "(enforce)") != NULL) {
    ain_look_warn(look, "look for denials: journalctl -k | grep apparmor",
                  "AppArmor confines this process by the profile %s: what looks like wrong permissions may "
                  "be its policy",
                  label);
  } else {
    ain_look_ok(look, "neither SELinux nor AppArmor confines this process");
  }
}
