/* Reading /proc, cgroup v2 and statvfs; see load_source.h. */
#include "observe/load_source.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TEXT_MAX 16384
#define CGROUP_DEPTH_MAX 64

/* Up to TEXT_MAX bytes of a kernel file, whose size is not known before; NULL when there is none. Owned. */
static char *read_text(const char *directory, const char *name) {
  g_autofree char *path = g_build_filename(directory, name, NULL);
  ain_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return NULL;
  }
  g_autofree char *text = g_malloc(TEXT_MAX + 1);
  gsize size = 0;
  while (size < TEXT_MAX) {
    ssize_t count = read(fd, text + size, TEXT_MAX - size);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      break;
    }
    size += (gsize)count;
  }
  text[size] = '\0';
  return g_steal_pointer(&text);
}

/* The number after `key` at the start of a line. */
static gboolean find_number(const char *text, const char *key, guint64 *value) {
  gsize size = strlen(key);
  for (const char *line = text; line != NULL && *line != '\0';) {
    if (strncmp(line, key, size) == 0 && (line[size] == ' ' || line[size] == ':')) {
      const char *digits = line + size + 1;
      digits += strspn(digits, " ");
      char *end = NULL;
      *value = g_ascii_strtoull(digits, &end, 10);
      return end != digits;
    }
    line = strchr(line, '\n');
    line = line != NULL ? line + 1 : NULL;
  }
  return FALSE;
}

static double percent(double part, double whole) {
  double value = whole > 0 ? part / whole * 100.0 : 0.0;
  return isfinite(value) ? CLAMP(value, 0.0, 100.0) : 0.0;
}

/* user nice system idle iowait irq softirq steal; guest time is in user already. */
static gboolean read_ticks(const AinLoadSource *source, guint64 *busy, guint64 *total) {
  g_autofree char *text = read_text(source->proc, "stat");
  if (text == NULL || !g_str_has_prefix(text, "cpu ")) {
    return FALSE;
  }
  guint64 ticks[8] = { 0 };
  const char *p = text + 4;
  *total = 0;
  for (guint i = 0; i < G_N_ELEMENTS(ticks); i++) {
    char *end = NULL;
    ticks[i] = g_ascii_strtoull(p, &end, 10);
    if (end == p) {
      return i >= 4; /* the first four have always been there */
    }
    p = end;
    *total += ticks[i];
    *busy = *total - ticks[3] - ticks[4];
  }
  return TRUE;
}

/* Next control group above, "/a/b" -> "/a" -> "/"; FALSE at the top. */
static gboolean go_up(char *group) {
  char *slash = strrchr(group, '/');
  if (slash == NULL || group[1] == '\0') {
    return FALSE;
  }
  slash[slash == group ? 1 : 0] = '\0';
  return TRUE;
}

/* This process' group in the unified hierarchy, "/..." as the kernel writes it; NULL when there is none. */
static char *find_group(const AinLoadSource *source) {
  g_autofree char *text = read_text(source->proc, "self/cgroup");
  const char *line = text;
  while (line != NULL && !g_str_has_prefix(line, "0::/")) {
    line = strchr(line, '\n');
    line = line != NULL ? line + 1 : NULL;
  }
  if (line == NULL || strstr(line, "/..") != NULL) {
    return NULL; /* "/..": a group outside what this mount shows */
  }
  return g_strndup(line + 3, strcspn(line + 3, "\n"));
}

/* The smallest processor limit from `group` upwards, in processors; *where gets the group that has it. */
static double cpu_limit(const AinLoadSource *source, const char *group, char **where) {
  g_autofree char *at = g_strdup(group);
  double smallest = 0;
  int depth = 0;
  do {
    g_autofree char *directory = g_build_filename(source->cgroup, at, NULL);
    g_autofree char *text = read_text(directory, "cpu.max");
    double quota = 0;
    double period = 0;
    /* "max 100000" has no quota: g_ascii_strtod reads no number there */
    char *end = NULL;
    if (text != NULL && g_ascii_isdigit(*text)) {
      quota = g_ascii_strtod(text, &end);
      period = g_ascii_strtod(end, NULL);
    }
    if (quota > 0 && period > 0 && (smallest <= 0 || quota / period < smallest)) {
      smallest = quota / period;
      g_free(*where);
      *where = g_steal_pointer(&directory);
    }
  } while (++depth < CGROUP_DEPTH_MAX && go_up(at));
  return smallest;
}

static double cgroup_cpu(const AinLoadSource *source, AinLoadCounters *counters, gint64 now,
                         const char *group) {
  g_autofree char *where = NULL;
  double processors = cpu_limit(source, group, &where);
  g_autofree char *text = processors > 0 ? read_text(where, "cpu.stat") : NULL;
  guint64 used = 0;
  if (text == NULL || !find_number(text, "usage_usec", &used)) {
    counters->taken = 0;
    return 0;
  }
  double value = 0;
  if (counters->taken > 0 && now > counters->taken && used >= counters->cgroup_us) {
    value = percent((double)(used - counters->cgroup_us), (double)(now - counters->taken) * processors);
  }
  counters->cgroup_us = used;
  counters->taken = now;
  return value;
}

/* Page cache that can go at once is not counted as used. */
static double cgroup_memory(const AinLoadSource *source, const char *group) {
  g_autofree char *at = g_strdup(group);
  double fullest = 0;
  int depth = 0;
  do {
    g_autofree char *directory = g_build_filename(source->cgroup, at, NULL);
    g_autofree char *limit = read_text(directory, "memory.max");
    g_autofree char *current = read_text(directory, "memory.current");
    g_autofree char *stat = read_text(directory, "memory.stat");
    if (limit == NULL || current == NULL || !g_ascii_isdigit(*limit)) {
      continue; /* "max", or the root group, which has no such file; the loop's condition still runs */
    }
    guint64 cache = 0;
    guint64 used = g_ascii_strtoull(current, NULL, 10);
    if (stat != NULL && find_number(stat, "inactive_file", &cache)) {
      used -= MIN(used, cache);
    }
    fullest = MAX(fullest, percent((double)used, (double)g_ascii_strtoull(limit, NULL, 10)));
  } while (++depth < CGROUP_DEPTH_MAX && go_up(at));
  return fullest;
}

static void collect_cpu(const AinLoadSource *source, AinLoadCounters *counters, gint64 now, const char *group,
                        AinLoadSample *sample) {
  guint64 busy = 0;
  guint64 total = 0;
  double machine = sample->cpu_percent;
  if (read_ticks(source, &busy, &total)) {
    if (total > counters->total) {
      /* the kernel lets iowait go backwards: busy may then seem to shrink */
      double grown = busy > counters->busy ? (double)(busy - counters->busy) : 0;
      machine = percent(grown, (double)(total - counters->total));
    }
    counters->busy = busy; /* also when time went backwards (a moved container): go on from here */
    counters->total = total;
  }
  double limited = group != NULL ? cgroup_cpu(source, counters, now, group) : 0;
  sample->cpu_percent = MAX(machine, limited);
}

static void collect_memory(const AinLoadSource *source, const char *group, AinLoadSample *sample) {
  g_autofree char *text = read_text(source->proc, "meminfo");
  guint64 total = 0;
  guint64 available = 0;
  double machine = sample->memory_percent;
  if (text != NULL && find_number(text, "MemTotal", &total)
      && find_number(text, "MemAvailable", &available)) {
    machine = percent((double)total - (double)available, (double)total);
  }
  double limited = group != NULL ? cgroup_memory(source, group) : 0;
  sample->memory_percent = MAX(machine, limited);
}

static void collect_disk(const AinLoadSource *source, AinLoadSample *sample) {
  g_autofree char *path = g_strdup(source->path);
  struct statvfs info;
  int failed = statvfs(path, &info);
  while (failed != 0 && errno == ENOENT && !g_str_equal(path, "/") && !g_str_equal(path, ".")) {
    char *parent = g_path_get_dirname(path);
    g_free(path);
    path = parent;
    failed = statvfs(path, &info);
  }
  if (failed != 0) {
    return;
  }
  double used = (double)info.f_blocks - (double)info.f_bfree;
  double usable = (double)info.f_bavail; /* without what is kept for root */
  sample->disk_percent = percent(used, used + usable);
  sample->free_disk_gib = usable * (double)info.f_frsize / (1024.0 * 1024.0 * 1024.0);
}

void ain_load_collect(const AinLoadSource *source, AinLoadCounters *counters, gint64 now,
                      AinLoadSample *sample) {
  g_autofree char *group = find_group(source);
  collect_cpu(source, counters, now, group, sample);
  collect_memory(source, group, sample);
  collect_disk(source, sample);
}

guint64 ain_load_memory_limit(const AinLoadSource *source) {
  g_autofree char *text = read_text(source->proc, "meminfo");
  g_autofree char *at = find_group(source);
  guint64 smallest = 0;
  int depth = 0;
  if (text != NULL && find_number(text, "MemTotal", &smallest)) {
    smallest *= 1024;
  }
  do {
    g_autofree char *directory = at != NULL ? g_build_filename(source->cgroup, at, NULL) : NULL;
    g_autofree char *limit = at != NULL ? read_text(directory, "memory.max") : NULL;
    guint64 bytes = limit != NULL ? g_ascii_strtoull(limit, NULL, 10) : 0; /* "max": 0 */
    if (bytes > 0 && (smallest == 0 || bytes < smallest)) {
      smallest = bytes;
    }
  } while (at != NULL && ++depth < CGROUP_DEPTH_MAX && go_up(at));
  return smallest;
}
