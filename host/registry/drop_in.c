/* Weights that are copied in while the node runs: noticed by inotify, and by a look every ten seconds where
 * that does not work; judged on a helper (weights.h), loaded once by the prover, then served. */
#include "base/error.h"
#include "base/fd.h"
#include "registry/builtin.h"
#include "registry/internal.h"
#include "registry/model_id.h"
#include "registry/seen.h"
#include "registry/text.h"
#include "registry/weights.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_AGAIN_US ((gint64)10 * G_USEC_PER_SEC)
/* Tried again after what was no fault of the weights: with the first look after so long, ever later. */
#define TRY_AGAIN_US ((gint64)2 * G_USEC_PER_SEC)
#define TRIES_MAX_SHIFT 8U
#define UNSETTLED_US (G_GINT64_CONSTANT(250) * 1000)
/* After an event: files come in groups, and a copy under way makes many events. */
#define EVENT_DELAY_US (G_GINT64_CONSTANT(100) * 1000)
#define EVENT_PAUSE_US (G_GINT64_CONSTANT(300) * 1000)
#define FOLDERS_MAX 1000U
/* Weights that are gone, or being written anew, may be replaced: so long the old ones are still served. */
#define GONE_US (G_GINT64_CONSTANT(800) * 1000)
#define WRITTEN_US ((gint64)60 * G_USEC_PER_SEC)

#define CHANGES                                                                                              \
  (IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_DELETE_SELF         \
   | IN_MOVE_SELF | IN_ATTRIB)

struct AinDropIn {
  AinRegistry *registry; /* NULL once it is freed */
  char **roots;
  int inotify_fd; /* -1: not available */
  AinLoopFd *watch;
  AinLoopTimer *timer;
  gint64 due;          /* of the timer */
  gint64 last_look;    /* when the last one ended */
  gboolean looking;    /* a helper has this */
  gboolean missed;     /* something changed meanwhile */
  gboolean missed_end; /* and that may have been all of it */
  GHashTable *seen;    /* seen.h */
  guint holders;       /* the registry, a look, loads under way */
  GHashTable *told;    /* paths that were complained about, with the complaint */
};

/* A first load under way. */
typedef struct {
  AinDropIn *drop_in;
  char *id;
  AinModel *model;
  AinSourceStamp stamp;
  AinModel *fresh; /* passed, being warmed; then active */
} Trial;

typedef struct {
  AinDropIn *drop_in;
  char **roots;
  int inotify_fd;
  GHashTable *seen; /* a copy of what the drop-in has */
  GPtrArray *found; /* AinWeights */
  GPtrArray *notes; /* char *: path, complaint, path, complaint */
} Look;

static void look_soon(AinDropIn *drop_in, gint64 when);

static void release(AinDropIn *drop_in) {
  if (--drop_in->holders == 0) {
    g_strfreev(drop_in->roots);
    ain_fd_close(&drop_in->inotify_fd);
    g_hash_table_unref(drop_in->told);
    g_hash_table_unref(drop_in->seen);
    g_free(drop_in);
  }
}

/* --- looking, on a helper
 * ---------------------------------------------------------------------------------- */

/* Returns the watch, -1 without one. */
static int watch_folder(const Look *look, const char *path) {
  return look->inotify_fd >= 0 ? inotify_add_watch(look->inotify_fd, path, CHANGES | IN_ONLYDIR) : -1;
}

static void note(Look *look, const char *path, char *complaint) {
  g_ptr_array_add(look->notes, g_strdup(path));
  g_ptr_array_add(look->notes, complaint);
}

static void look_at_folder(Look *look, const char *path) {
  int watch = watch_folder(look, path); /* before looking: what changes in between makes an event */
  AinWeights *weights = ain_weights_look(path, ain_seen_of(look->seen, watch));
  g_autoptr(GError) error = NULL;
  const AinBuiltin *builtin = ain_builtin_find(weights->id);
  gboolean known = builtin != NULL && builtin->kind != AIN_KIND_STATISTICAL;
  gboolean candidate = known || weights->has_kind;
  if (candidate && !known
      && (!ain_registry_check_id_text(weights->id, strlen(weights->id), &error)
          || ain_registry_is_builtin_id(weights->id, strlen(weights->id)))) {
    note(look, path,
         error != NULL ? g_strdup(error->message)
                       : g_strdup("its name is that of a built-in model that has no weights"));
    candidate = FALSE;
  } else if (!candidate && weights->state != AIN_WEIGHTS_ABSENT) {
    note(look, path, g_strdup(weights->reason));
  }
  if (candidate) {
    g_ptr_array_add(look->found, weights);
  } else {
    ain_weights_free(weights);
  }
}

static void look_at_root(Look *look, const char *root) {
  g_autofree char *misplaced = g_build_filename(root, AIN_WEIGHTS_FILE, NULL);
  (void)watch_folder(look, root);
  GDir *folder = g_dir_open(root, 0, NULL);
  if (folder == NULL) {
    return;
  }
  if (g_file_test(misplaced, G_FILE_TEST_EXISTS)) {
    note(look, misplaced,
         g_strdup("weights belong one folder deeper, into a folder with the name of the model"));
  }
  const char *name = NULL;
  for (guint i = 0; i < FOLDERS_MAX && (name = g_dir_read_name(folder)) != NULL; i++) {
    g_autofree char *path = g_build_filename(root, name, NULL);
    if (name[0] != '.' && g_file_test(path, G_FILE_TEST_IS_DIR)) {
      look_at_folder(look, path);
    }
  }
  g_dir_close(folder);
}

static void look_work(gpointer data) {
  Look *look = data;
  for (char **root = look->roots; *root != NULL; root++) {
    g_autofree char *above = g_path_get_dirname(*root);
    (void)watch_folder(look, above); /* tells when the root itself appears */
    look_at_root(look, *root);
  }
}

/* --- entries
 * ----------------------------------------------------------------------------------------------- */

/* Not served any more. The folder may be whole again later. */
static void deactivate(AinRegistry *registry, AinEntry *entry, AinModelState state, const char *reason) {
  if (entry->model != NULL) {
    ain_registry_retire(registry, entry->model);
    g_clear_pointer(&entry->model, ain_model_unref);
  }
  if (entry->state != state || g_strcmp0(entry->reason, reason) != 0) {
    if (state == AIN_STATE_FAILED) {
      g_warning("model %s cannot be used: %s", entry->id, reason);
    } else {
      g_message("model %s is not active: %s", entry->id, reason);
    }
  }
  entry->state = state;
  entry->stamped = FALSE;
  entry->broken_since = 0;
  g_free(entry->reason);
  entry->reason = g_strdup(reason);
  ain_registry_answer_askers(registry, entry);
}

static void activate(AinRegistry *registry, AinEntry *entry, Trial *trial) {
  AinModel *old = entry->model;
  entry->model = g_steal_pointer(&trial->fresh);
  entry->state = AIN_STATE_ACTIVE;
  entry->tries = 0;
  g_clear_pointer(&entry->reason, g_free);
  if (old != NULL) {
    ain_registry_retire(registry, old);
    ain_model_unref(old);
  }
  g_message("model %s is active: its weights are in %s (%" G_GINT64_FORMAT " bytes)", entry->id,
            trial->model->directory, trial->stamp.model.size);
  ain_registry_answer_askers(registry, entry);
}

static void trial_ended(gpointer data) {
  Trial *trial = data;
  release(trial->drop_in);
  ain_model_unref(trial->model);
  ain_model_unref(trial->fresh);
  g_free(trial->id);
  g_free(trial);
}

/* The entry that the trial was made for, unless its weights are others by now. */
static AinEntry *entry_of(const Trial *trial) {
  AinRegistry *registry = trial->drop_in->registry;
  AinEntry *entry = registry == NULL ? NULL : ain_registry_find(registry, trial->id);
  gboolean wanted = entry != NULL && entry->category != AIN_CATEGORY_USER && entry->stamped
                    && ain_file_stamps_equal(&entry->stamp, &trial->stamp);
  return wanted ? entry : NULL;
}

static void warmed(gpointer data) {
  Trial *trial = data;
  AinRegistry *registry = trial->drop_in->registry;
  AinEntry *entry = entry_of(trial);
  if (entry != NULL) {
    activate(registry, entry, trial);
  } else if (registry != NULL) {
    ain_registry_retire(registry, trial->fresh); /* its weights went while it was being loaded */
  }
  trial_ended(trial);
}

/* The runtime or the worker ended by itself, the machine had no room for it, or it may have been too slow. */
static gboolean is_passing(const GError *error) {
  return g_error_matches(error, AIN_ERROR, AIN_ERROR_ENVIRONMENT)
         || g_error_matches(error, AIN_ERROR, AIN_ERROR_EXHAUSTED)
         || g_error_matches(error, AIN_ERROR, AIN_ERROR_WORKER_DIED)
         || g_error_matches(error, AIN_ERROR, AIN_ERROR_TIMEOUT);
}

static void tried(const GError *error, gpointer data) {
  Trial *trial = data;
  AinEntry *entry = entry_of(trial);
  if (entry == NULL) {
    trial_ended(trial);
    return;
  }
  AinRegistry *registry = trial->drop_in->registry;
  if (error != NULL) {
    deactivate(registry, entry, AIN_STATE_FAILED, error->message);
    entry->stamped = TRUE; /* the same files are not tried again */
    if (is_passing(error)) {
      gint64 wait = TRY_AGAIN_US << MIN(entry->tries, TRIES_MAX_SHIFT);
      entry->tries++;
      entry->try_again = ain_loop_now() + wait;
      look_soon(trial->drop_in, entry->try_again);
    }
    trial_ended(trial);
    return;
  }
  trial->fresh =
      ain_builtin_model_new(entry->id, trial->model->kind, trial->model->directory, entry->category);
  trial->fresh->generation = ++registry->generation;
  trial->fresh->threads = trial->model->threads;
  ain_registry_warm(registry, trial->fresh, warmed, trial);
}

static void try_weights(AinDropIn *drop_in, AinEntry *entry, const AinWeights *weights) {
  AinRegistry *registry = drop_in->registry;
  entry->broken_since = 0;
  gboolean same = entry->stamped && ain_file_stamps_equal(&entry->stamp, &weights->stamp)
                  && g_strcmp0(entry->uri, weights->directory) == 0;
  if (same && (entry->try_again == 0 || ain_loop_now() < entry->try_again)) {
    return; /* served, being loaded, or known not to load */
  }
  entry->tries = same ? entry->tries : 0;
  entry->try_again = 0;
  gboolean overwritten =
      entry->model != NULL && entry->stamped && entry->stamp.model.inode == weights->stamp.model.inode;
  if (overwritten) {
    deactivate(registry, entry, AIN_STATE_LOADING, "its weights were overwritten in place");
  } else if (entry->model == NULL) {
    entry->state = AIN_STATE_LOADING;
  }
  Trial *trial = g_new0(Trial, 1);
  trial->drop_in = drop_in;
  trial->id = g_strdup(entry->id);
  trial->model = ain_builtin_model_new(entry->id, weights->kind, weights->directory, entry->category);
  trial->stamp = weights->stamp;
  drop_in->holders++;
  entry->kind = weights->kind;
  entry->stamp = weights->stamp;
  entry->stamped = TRUE;
  g_free(entry->uri);
  entry->uri = g_strdup(weights->directory);
  registry->prover.prove(registry->prover.prover, trial->model, tried, trial);
}

/* Several folders of one id: a whole one wins, then the first that is anything. */
static const AinWeights *choose(const GPtrArray *found, const char *id) {
  const AinWeights *chosen = NULL;
  for (guint i = 0; i < found->len; i++) {
    const AinWeights *weights = g_ptr_array_index(found, i);
    if (strcmp(weights->id, id) == 0
        && (chosen == NULL || (chosen->state != AIN_WEIGHTS_WHOLE && weights->state > chosen->state))) {
      chosen = weights;
    }
  }
  return chosen;
}

/* Whether the file that the model's workers have mapped is as it was, or only out of the way. */
static gboolean is_untouched(const AinEntry *entry) {
  g_autofree char *path = g_build_filename(entry->model->directory, AIN_WEIGHTS_FILE, NULL);
  struct stat info;
  if (stat(path, &info) != 0) {
    return errno == ENOENT || errno == ENOTDIR;
  }
  const AinFileStamp *known = &entry->stamp.model;
  AinFileMark mark = ain_file_mark(&info);
  return info.st_ino != known->inode || (mark.size == known->size && mark.modified == known->modified);
}

/* Weights that are replaced are not whole for a moment: the old ones are served meanwhile. */
static gboolean may_come_back(AinEntry *entry, gint64 patience) {
  if (entry->model == NULL || !entry->stamped || !is_untouched(entry)) {
    return FALSE;
  }
  gint64 now = ain_loop_now();
  if (entry->broken_since == 0) {
    entry->broken_since = now;
  }
  return now - entry->broken_since < patience;
}

static void apply(AinDropIn *drop_in, AinEntry *entry, const AinWeights *weights) {
  if (weights->state == AIN_WEIGHTS_WHOLE) {
    try_weights(drop_in, entry, weights);
    return;
  }
  gboolean broken = weights->state == AIN_WEIGHTS_BROKEN || weights->state == AIN_WEIGHTS_FOREIGN;
  if (broken
      || !may_come_back(entry, weights->state == AIN_WEIGHTS_INCOMPLETE && !weights->missing ? WRITTEN_US
                                                                                             : GONE_US)) {
    deactivate(drop_in->registry, entry, broken ? AIN_STATE_FAILED : AIN_STATE_INACTIVE, weights->reason);
  }
}

/* New fine-tuned models, in the order they were found. */
static void add_entries(AinDropIn *drop_in, const GPtrArray *found) {
  for (guint i = 0; i < found->len; i++) {
    const AinWeights *weights = g_ptr_array_index(found, i);
    AinEntry *entry = ain_registry_find(drop_in->registry, weights->id);
    if (entry != NULL && entry->category == AIN_CATEGORY_USER
        && g_hash_table_insert(drop_in->told, g_strdup(weights->directory), g_strdup("taken"))) {
      g_warning("the weights in %s are ignored: a model of that id is registered", weights->directory);
    } else if (entry == NULL) {
      entry = ain_registry_entry_new(weights->id, AIN_STATE_INACTIVE);
      entry->category = AIN_CATEGORY_FINE_TUNED;
      entry->kind = weights->kind;
      entry->registered = g_get_real_time();
      entry->reason = g_strdup("");
      ain_registry_add_entry_first(drop_in->registry, entry);
    }
  }
}

static void remove_entry(AinRegistry *registry, AinEntry *entry) {
  g_message("model %s is gone: its weights were removed", entry->id);
  if (entry->model != NULL) {
    ain_registry_retire(registry, entry->model);
  }
  ain_registry_remove_entry(registry, entry);
}

static void apply_all(AinDropIn *drop_in, const GPtrArray *found) {
  AinRegistry *registry = drop_in->registry;
  g_autoptr(GPtrArray) entries = g_ptr_array_new();
  add_entries(drop_in, found);
  for (guint i = 0; i < registry->entries->len; i++) {
    AinEntry *entry = g_ptr_array_index(registry->entries, i);
    if (entry->category != AIN_CATEGORY_USER && entry->kind != AIN_KIND_STATISTICAL) {
      g_ptr_array_add(entries, entry);
    }
  }
  for (guint i = 0; i < entries->len; i++) {
    AinEntry *entry = g_ptr_array_index(entries, i);
    const AinWeights *weights = choose(found, entry->id);
    if (weights != NULL) {
      apply(drop_in, entry, weights);
    } else if (may_come_back(entry, GONE_US)) {
      continue;
    } else if (entry->category == AIN_CATEGORY_FINE_TUNED) {
      remove_entry(registry, entry);
    } else {
      g_autofree char *reason = g_strdup_printf("put its %s and %s into %s/%s", AIN_WEIGHTS_CONFIG,
                                                AIN_WEIGHTS_FILE, drop_in->roots[0], entry->id);
      deactivate(registry, entry, AIN_STATE_INACTIVE, reason);
    }
  }
}

/* --- rounds
 * ------------------------------------------------------------------------------------------------ */

/* Every complaint once, until it changes. */
static void log_notes(AinDropIn *drop_in, const GPtrArray *notes) {
  for (guint i = 0; i + 1 < notes->len; i += 2) {
    const char *path = g_ptr_array_index(notes, i);
    const char *complaint = g_ptr_array_index(notes, i + 1);
    if (g_strcmp0(g_hash_table_lookup(drop_in->told, path), complaint) != 0) {
      g_hash_table_insert(drop_in->told, g_strdup(path), g_strdup(complaint));
      g_autofree char *shown = ain_registry_show(path, -1);
      g_warning("%s is ignored: %s", shown, complaint);
    }
  }
}

static gboolean any_unsettled(const AinRegistry *registry, const GPtrArray *found) {
  for (guint i = 0; i < registry->entries->len; i++) {
    if (((const AinEntry *)g_ptr_array_index(registry->entries, i))->broken_since != 0) {
      return TRUE;
    }
  }
  for (guint i = 0; i < found->len; i++) {
    if (((const AinWeights *)g_ptr_array_index(found, i))->unsettled) {
      return TRUE;
    }
  }
  return FALSE;
}

static void free_weights(gpointer data) {
  ain_weights_free(data);
}

/* When to look again after a look. */
static gint64 pause_after(const Look *look) {
  const AinDropIn *drop_in = look->drop_in;
  if (drop_in->missed) {
    return drop_in->missed_end ? EVENT_DELAY_US : EVENT_PAUSE_US;
  }
  return any_unsettled(drop_in->registry, look->found) ? UNSETTLED_US : LOOK_AGAIN_US;
}

static void look_done(gpointer data) {
  Look *look = data;
  AinDropIn *drop_in = look->drop_in;
  drop_in->looking = FALSE;
  drop_in->last_look = ain_loop_now();
  if (drop_in->registry != NULL) {
    log_notes(drop_in, look->notes);
    apply_all(drop_in, look->found);
    look_soon(drop_in, drop_in->last_look + pause_after(look));
    drop_in->missed = FALSE;
    drop_in->missed_end = FALSE;
  }
  g_hash_table_unref(look->seen);
  g_strfreev(look->roots);
  g_ptr_array_unref(look->found);
  g_ptr_array_unref(look->notes);
  g_free(look);
  release(drop_in);
}

static void begin_look(gpointer data) {
  AinDropIn *drop_in = data;
  drop_in->timer = NULL;
  drop_in->looking = TRUE;
  drop_in->holders++;
  Look *look = g_new0(Look, 1);
  look->drop_in = drop_in;
  look->roots = g_strdupv(drop_in->roots);
  look->inotify_fd = drop_in->inotify_fd; /* closed when the last holder has gone */
  look->seen = ain_seen_copy(drop_in->seen);
  look->found = g_ptr_array_new_with_free_func(free_weights);
  look->notes = g_ptr_array_new_with_free_func(g_free);
  ain_loop_offload(drop_in->registry->loop, look_work, look_done, look);
}

static void look_soon(AinDropIn *drop_in, gint64 when) {
  if (drop_in->timer != NULL && drop_in->due <= when) {
    return;
  }
  ain_loop_timer_stop(drop_in->timer);
  drop_in->due = when;
  drop_in->timer = ain_loop_timer(drop_in->registry->loop, when, begin_look, drop_in);
}

static void changed(guint32 events, gpointer data) {
  (void)events;
  AinDropIn *drop_in = data;
  gboolean end = FALSE;
  char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
  ssize_t size;
  while ((size = read(drop_in->inotify_fd, buffer, sizeof buffer)) > 0) {
    for (const char *at = buffer; at < buffer + size;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
      end |= ain_seen_take(drop_in->seen, event); /* what else changed is found by looking */
      at += sizeof *event + event->len;
    }
  }
  if (drop_in->looking) {
    drop_in->missed = TRUE;
    drop_in->missed_end |= end;
  } else {
    gint64 pause = end ? EVENT_DELAY_US : EVENT_PAUSE_US;
    look_soon(drop_in, MAX(ain_loop_now() + EVENT_DELAY_US, drop_in->last_look + pause));
  }
}

/* --- life
 * -------------------------------------------------------------------------------------------------- */

AinDropIn *ain_drop_in_new(AinRegistry *registry, const char *const *directories) {
  AinDropIn *drop_in = g_new0(AinDropIn, 1);
  g_autoptr(GError) error = NULL;
  drop_in->registry = registry;
  drop_in->holders = 1;
  drop_in->roots = g_strdupv((char **)directories);
  drop_in->seen = ain_seen_new();
  drop_in->told = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
  if (!ain_file_make_directory(drop_in->roots[0], &error)) {
    g_warning("%s: weights cannot be put there", error->message);
  }
  drop_in->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (drop_in->inotify_fd >= 0) {
    drop_in->watch = ain_loop_watch(registry->loop, drop_in->inotify_fd, EPOLLIN, changed, drop_in);
  } else {
    g_message("changes of the weights folders are noticed within %d s: the kernel gives no inotify instance",
              (int)(LOOK_AGAIN_US / G_USEC_PER_SEC));
  }
  begin_look(drop_in);
  return drop_in;
}

void ain_drop_in_free(AinDropIn *drop_in) {
  if (drop_in != NULL) {
    drop_in->registry = NULL;
    ain_loop_unwatch(drop_in->watch);
    ain_loop_timer_stop(drop_in->timer);
    drop_in->timer = NULL;
    release(drop_in);
  }
}
