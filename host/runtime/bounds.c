/* What no limit of the kernel counts for one process alone: the files that a worker has written into its
 * private folder, those it holds open that have no name any more, memory of large requests and results that
 * were answered long ago, and its threads. A process in the sandbox
 * that has more than a model can need is ended, with the reason. */
#include "runtime/internal.h"

#include "base/error.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_US (G_GINT64_CONSTANT(2) * G_USEC_PER_SEC)
#define MOST_BYTES (G_GUINT64_CONSTANT(1) << 30)
#define MOST_FILES 20000u
#define MOST_THREADS 4096u
/* Folders in folders; deeper ones are as bad as too many. */
#define MOST_DEPTH 32u

typedef struct {
  pid_t pid;
  guint64 bytes;
  guint files;
  guint threads;
  guint64 large; /* bytes of large requests and results that it maps or has open */
  guint64
      most_large; /* all that are under way anywhere; 0: it was given none, and is not looked at for that */
} Held;

struct AinBounds {
  AinRuntime *runtime; /* NULL once freed while somebody measures */
  AinLoop *loop;
  char *work_dir;
  AinLoopTimer *timer;
  GPtrArray *workers; /* borrowed; those in the sandbox */
  GArray *held;       /* Held, while somebody measures; else NULL */
};

/* --- measuring: any thread --- */

static void add_folder(int folder, guint depth, Held *held) {
  DIR *list = fdopendir(folder); /* takes it */
  const struct dirent *entry;
  if (list == NULL) {
    close(folder);
    return;
  }
  /* NOLINTNEXTLINE(concurrency-mt-unsafe): the list is this thread's alone */
  while (held->files <= MOST_FILES && (entry = readdir(list)) != NULL) {
    struct stat info;
    gboolean self = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (self || fstatat(dirfd(list), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    held->files++;
    held->bytes += (guint64)info.st_blocks * 512;
    if (S_ISDIR(info.st_mode) && depth == MOST_DEPTH) {
      held->files = MOST_FILES + 1;
    } else if (S_ISDIR(info.st_mode)) {
      int inner = openat(dirfd(list), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (inner >= 0) {
        add_folder(inner, depth + 1, held);
      }
    }
  }
  closedir(list);
}

/* Files without a name that it has open: unlinked ones, memory that is not the host's. */
static void add_nameless(Held *held) {
  g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)held->pid);
  g_autoptr(GDir) list = g_dir_open(path, 0, NULL);
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
  const char *name;
  while (list != NULL && (name = g_dir_read_name(list)) != NULL) {
    g_autofree char *file = g_build_filename(path, name, NULL);
    g_autofree char *what = g_file_read_link(file, NULL);
    struct stat info;
    if (what == NULL || stat(file, &info) != 0) {
      continue;
    }
    if (g_str_has_prefix(what, "/memfd:ainode-")) {
      held->large += g_str_has_prefix(what, "/memfd:ainode-large-") ? (guint64)info.st_blocks * 512 : 0;
      continue;
    }
    if (S_ISREG(info.st_mode) && info.st_nlink == 0) {
      gint64 number = (gint64)info.st_ino;
      if (g_hash_table_add(seen, g_memdup2(&number, sizeof number))) {
        held->bytes += (guint64)info.st_blocks * 512;
      }
    }
  }
}

/* Its own parts of what the host has closed: the memory lives as long as somebody holds it. */
static void add_large(Held *held) {
  g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)held->pid);
  g_autofree char *text = NULL;
  if (held->most_large == 0 || !g_file_get_contents(path, &text, NULL, NULL)) {
    return;
  }
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    char *dash = NULL;
    guint64 start = g_ascii_strtoull(*line, &dash, 16);
    if (strstr(*line, "/memfd:ainode-large-") != NULL && *dash == '-') {
      held->large += g_ascii_strtoull(dash + 1, NULL, 16) - start;
    }
  }
}

static void count_threads(Held *held) {
  g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)held->pid);
  g_autofree char *text = NULL;
  if (g_file_get_contents(path, &text, NULL, NULL)) {
    const char *found = strstr(text, "\nThreads:");
    held->threads = found != NULL ? (guint)strtoul(found + strlen("\nThreads:"), NULL, 10) : 0;
  }
}

static void measure(gpointer data) {
  AinBounds *bounds = data;
  for (guint i = 0; i < bounds->held->len; i++) {
    Held *held = &g_array_index(bounds->held, Held, i);
    g_autofree char *prefix = g_strdup_printf("worker-%d-", (int)held->pid);
    g_autoptr(GDir) list = g_dir_open(bounds->work_dir, 0, NULL);
    const char *name;
    while (list != NULL && (name = g_dir_read_name(list)) != NULL) {
      g_autofree char *path = g_build_filename(bounds->work_dir, name, NULL);
      int folder =
          g_str_has_prefix(name, prefix) ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
      if (folder >= 0) {
        add_folder(folder, 0, held);
      }
    }
    add_nameless(held);
    add_large(held);
    count_threads(held);
  }
}

/* --- judging: loop thread --- */

static char *judge(const Held *held) {
  if (held->files > MOST_FILES) {
    return g_strdup_printf("it has written more than %u files", MOST_FILES);
  }
  if (held->bytes > MOST_BYTES) {
    return g_strdup_printf("it has written files of %" G_GUINT64_FORMAT
                           " bytes, a model may have %" G_GUINT64_FORMAT,
                           held->bytes, MOST_BYTES);
  }
  if (held->most_large > 0 && held->large > held->most_large) {
    return g_strdup_printf("it holds %" G_GUINT64_FORMAT
                           " bytes of requests and results, all together may have %" G_GUINT64_FORMAT
                           " (ain_shared_memory_bytes)",
                           held->large, held->most_large);
  }
  if (held->threads > MOST_THREADS) {
    return g_strdup_printf("it has %u threads, a model may have %u", held->threads, MOST_THREADS);
  }
  return NULL;
}

static AinWorker *worker_of(const AinBounds *bounds, pid_t pid) {
  for (guint i = 0; i < bounds->workers->len; i++) {
    AinWorker *worker = g_ptr_array_index(bounds->workers, i);
    if (ain_worker_pid(worker) == pid) {
      return worker;
    }
  }
  return NULL;
}

static void free_bounds(AinBounds *bounds) {
  g_clear_pointer(&bounds->held, g_array_unref);
  g_ptr_array_unref(bounds->workers);
  g_free(bounds->work_dir);
  g_free(bounds);
}

static void look_later(AinBounds *bounds);

static void measured(gpointer data) {
  AinBounds *bounds = data;
  g_autoptr(GArray) held = g_steal_pointer(&bounds->held);
  if (bounds->runtime == NULL) {
    free_bounds(bounds);
    return;
  }
  for (guint i = 0; i < held->len; i++) {
    const Held *one = &g_array_index(held, Held, i);
    AinWorker *worker = worker_of(bounds, one->pid);
    g_autofree char *fault = worker != NULL ? judge(one) : NULL;
    if (fault != NULL) {
      ain_worker_exceeded(worker, fault);
    }
  }
  look_later(bounds);
}

static void look(gpointer data) {
  AinBounds *bounds = data;
  bounds->timer = NULL;
  bounds->held = g_array_new(FALSE, TRUE, sizeof(Held));
  for (guint i = 0; i < bounds->workers->len; i++) {
    const AinWorker *worker = g_ptr_array_index(bounds->workers, i);
    Held one = { .pid = ain_worker_pid(worker) };
    if (ain_worker_had_large(worker)) {
      one.most_large = ain_budget_bytes(bounds->runtime->budget);
    }
    if (one.pid != 0) {
      g_array_append_val(bounds->held, one);
    }
  }
  ain_loop_offload(bounds->loop, measure, measured, bounds);
}

static void look_later(AinBounds *bounds) {
  if (bounds->timer == NULL && bounds->held == NULL && bounds->workers->len > 0) {
    bounds->timer = ain_loop_timer(bounds->loop, ain_loop_now() + LOOK_US, look, bounds);
  }
}

AinBounds *ain_bounds_new(AinRuntime *runtime) {
  AinBounds *bounds = g_new0(AinBounds, 1);
  bounds->runtime = runtime;
  bounds->loop = runtime->loop;
  bounds->work_dir = g_strdup(runtime->config.work_dir);
  bounds->workers = g_ptr_array_new();
  return bounds;
}

void ain_bounds_free(AinBounds *bounds) {
  if (bounds != NULL) {
    ain_loop_timer_stop(g_steal_pointer(&bounds->timer));
    bounds->runtime = NULL;
    if (bounds->held == NULL) {
      free_bounds(bounds);
    }
  }
}

void ain_bounds_watch(AinBounds *bounds, AinWorker *worker) {
  g_ptr_array_add(bounds->workers, worker);
  look_later(bounds);
}

void ain_bounds_forget(AinBounds *bounds, AinWorker *worker) {
  g_ptr_array_remove_fast(bounds->workers, worker);
  if (bounds->workers->len == 0) {
    ain_loop_timer_stop(g_steal_pointer(&bounds->timer));
  }
}
