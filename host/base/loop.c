#include "base/loop.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long the loop yields at most for an expected answer before it sleeps; the pollers say how long it pays.
 * Yielding halves the latency of one client and costs nothing under load, since the processor is given away.
 */
#define YIELD_US 2200
/* A round of yields that took so long went to a process that computes: we do without yielding for a while,
 * since a sleeper is woken sooner than such a process gives the processor back. */
#define CROWDED_US 1000
#define CROWDED_PAUSE_US 50000
/* Rounds of yielding between two looks at the descriptors. */
#define YIELDS_PER_POLL 4
#define EVENTS_PER_ROUND 64

struct AinLoopFd {
  AinLoop *loop;
  int fd;
  AinLoopFdFunc func; /* NULL once unwatched: freed at the end of the round */
  gpointer data;
};

struct AinLoopTimer {
  AinLoop *loop;
  GSequenceIter *place;
  gint64 deadline;
  AinLoopFunc func;
  gpointer data;
};

/* pthread primitives, not GLib's: a thread sanitizer sees through these. */
typedef struct Task {
  struct Task *next;
  AinLoopFunc work; /* NULL for a plain post */
  AinLoopFunc done;
  gpointer data;
} Task;

typedef struct {
  Task *first;
  Task **last;
} TaskQueue;

/* Idle helpers form a stack: the one that worked last, whose stack and heap are warm, works next. So few of
 * many helpers ever touch memory where little is to be done. */
typedef struct Helper {
  AinLoop *loop;
  pthread_t thread;
  pthread_cond_t wake;
  gboolean waiting;     /* under the loop's lock: it is in the stack */
  struct Helper *below; /* under the loop's lock */
} Helper;

typedef struct {
  const AinLoopPoller *poller;
  gpointer data;
} PollerEntry;

struct AinLoop {
  int epoll_fd;
  int wake_fd;
  AinLoopFd *wake_watch;
  atomic_bool quit;
  pthread_mutex_t lock;
  TaskQueue posted; /* under lock */
  TaskQueue work;   /* under lock */
  Helper *idle;     /* under lock: top of the stack */
  gboolean closing; /* under lock */
  GSequence *timers;
  GPtrArray *dead_watches;
  GArray *pollers;
  gint64 no_yield_until;
  guint n_helpers;
  Helper *helpers;
};

gint64 ain_loop_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (gint64)now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static void queue_init(TaskQueue *queue) {
  queue->first = NULL;
  queue->last = &queue->first;
}

static void queue_push(TaskQueue *queue, Task *task) {
  task->next = NULL;
  *queue->last = task;
  queue->last = &task->next;
}

static Task *queue_pop(TaskQueue *queue) {
  Task *task = queue->first;
  if (task != NULL) {
    queue->first = task->next;
    if (queue->first == NULL) {
      queue->last = &queue->first;
    }
  }
  return task;
}

static void wake(AinLoop *loop) {
  guint64 one = 1;
  /* A full counter already means "awake": nothing to do about a failed write. */
  ssize_t written = write(loop->wake_fd, &one, sizeof one);
  (void)written;
}

static void post_task(AinLoop *loop, Task *task) {
  pthread_mutex_lock(&loop->lock);
  gboolean was_empty = loop->posted.first == NULL;
  queue_push(&loop->posted, task);
  pthread_mutex_unlock(&loop->lock);
  if (was_empty) {
    wake(loop);
  }
}

void ain_loop_post(AinLoop *loop, AinLoopFunc func, gpointer data) {
  Task *task = g_new0(Task, 1);
  task->done = func;
  task->data = data;
  post_task(loop, task);
}

/* Under lock. */
static void wake_helper(AinLoop *loop) {
  Helper *helper = loop->idle;
  if (helper != NULL) {
    loop->idle = helper->below;
    helper->waiting = FALSE;
    pthread_cond_signal(&helper->wake);
  }
}

void ain_loop_offload(AinLoop *loop, AinLoopFunc work, AinLoopFunc done, gpointer data) {
  Task *task = g_new0(Task, 1);
  task->work = work;
  task->done = done;
  task->data = data;
  pthread_mutex_lock(&loop->lock);
  queue_push(&loop->work, task);
  wake_helper(loop);
  pthread_mutex_unlock(&loop->lock);
}

/* Under lock. */
static void await_work(Helper *helper) {
  AinLoop *loop = helper->loop;
  while (loop->work.first == NULL && !loop->closing) {
    helper->waiting = TRUE;
    helper->below = loop->idle;
    loop->idle = helper;
    while (helper->waiting) {
      pthread_cond_wait(&helper->wake, &loop->lock);
    }
  }
}

static void *helper_main(void *data) {
  Helper *helper = data;
  AinLoop *loop = helper->loop;
  for (;;) {
    pthread_mutex_lock(&loop->lock);
    await_work(helper);
    Task *task = loop->closing ? NULL : queue_pop(&loop->work);
    pthread_mutex_unlock(&loop->lock);
    if (task == NULL) {
      return NULL;
    }
    task->work(task->data);
    post_task(loop, task);
  }
}

static void wake_event(guint32 events, gpointer data) {
  (void)events;
  AinLoop *loop = data;
  guint64 count;
  ssize_t got = read(loop->wake_fd, &count, sizeof count); /* non-blocking: a stale wake-up is harmless */
  (void)got;
}

AinLoop *ain_loop_new(guint n_helpers, GError **error) {
  AinLoop *loop = g_new0(AinLoop, 1);
  loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  pthread_mutex_init(&loop->lock, NULL);
  queue_init(&loop->posted);
  queue_init(&loop->work);
  loop->timers = g_sequence_new(NULL);
  loop->dead_watches = g_ptr_array_new_with_free_func(g_free);
  loop->pollers = g_array_new(FALSE, FALSE, sizeof(PollerEntry));
  loop->helpers = g_new0(Helper, MAX(n_helpers, 1));
  if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, errno, "cannot create the event loop");
    ain_loop_free(loop);
    return NULL;
  }
  loop->wake_watch = ain_loop_watch(loop, loop->wake_fd, EPOLLIN, wake_event, loop);
  for (guint i = 0; i < MAX(n_helpers, 1); i++) {
    Helper *helper = &loop->helpers[i];
    helper->loop = loop;
    pthread_cond_init(&helper->wake, NULL);
    int failed = pthread_create(&helper->thread, NULL, helper_main, helper);
    if (failed != 0) {
      pthread_cond_destroy(&helper->wake);
      ain_error_set_errno(error, AIN_ERROR_INTERNAL, failed, "cannot start a helper thread");
      ain_loop_free(loop);
      return NULL;
    }
    loop->n_helpers++;
  }
  return loop;
}

static void run_posted(AinLoop *loop) {
  pthread_mutex_lock(&loop->lock);
  Task *task = loop->posted.first;
  queue_init(&loop->posted);
  pthread_mutex_unlock(&loop->lock);
  while (task != NULL) {
    Task *next = task->next;
    if (task->done != NULL) {
      task->done(task->data);
    }
    g_free(task);
    task = next;
  }
}

void ain_loop_free(AinLoop *loop) {
  if (loop == NULL) {
    return;
  }
  pthread_mutex_lock(&loop->lock);
  loop->closing = TRUE;
  while (loop->idle != NULL) {
    wake_helper(loop);
  }
  pthread_mutex_unlock(&loop->lock);
  for (guint i = 0; i < loop->n_helpers; i++) {
    pthread_join(loop->helpers[i].thread, NULL);
    pthread_cond_destroy(&loop->helpers[i].wake);
  }
  for (Task *task = queue_pop(&loop->work); task != NULL; task = queue_pop(&loop->work)) {
    queue_push(&loop->posted, task);
  }
  while (loop->posted.first != NULL) {
    run_posted(loop);
  }
  while (g_sequence_get_length(loop->timers) > 0) {
    ain_loop_timer_stop(g_sequence_get(g_sequence_get_begin_iter(loop->timers)));
  }
  g_sequence_free(loop->timers);
  g_free(loop->wake_watch);
  g_ptr_array_unref(loop->dead_watches);
  g_array_unref(loop->pollers);
  g_free(loop->helpers);
  ain_fd_close(&loop->epoll_fd);
  ain_fd_close(&loop->wake_fd);
  pthread_mutex_destroy(&loop->lock);
  g_free(loop);
}

AinLoopFd *ain_loop_watch(AinLoop *loop, int fd, guint32 epoll_events, AinLoopFdFunc func, gpointer data) {
  AinLoopFd *watch = g_new0(AinLoopFd, 1);
  watch->loop = loop;
  watch->fd = fd;
  watch->func = func;
  watch->data = data;
  struct epoll_event event = { .events = epoll_events, .data.ptr = watch };
  if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
    g_error("epoll_ctl(ADD, %d): %s", fd, g_strerror(errno)); /* a programming error, or no memory */
  }
  return watch;
}

void ain_loop_watch_change(AinLoopFd *watch, guint32 epoll_events) {
  struct epoll_event event = { .events = epoll_events, .data.ptr = watch };
  if (epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) != 0) {
    g_error("epoll_ctl(MOD, %d): %s", watch->fd, g_strerror(errno));
  }
}

void ain_loop_unwatch(AinLoopFd *watch) {
  if (watch == NULL) {
    return;
  }
  epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
  watch->func = NULL; /* this round's event list may still name it */
  g_ptr_array_add(watch->loop->dead_watches, watch);
}

static int compare_timers(gconstpointer a, gconstpointer b, gpointer data) {
  (void)data;
  const AinLoopTimer *first = a;
  const AinLoopTimer *second = b;
  return (first->deadline > second->deadline) - (first->deadline < second->deadline);
}

AinLoopTimer *ain_loop_timer(AinLoop *loop, gint64 deadline, AinLoopFunc func, gpointer data) {
  AinLoopTimer *timer = g_new0(AinLoopTimer, 1);
  timer->loop = loop;
  timer->deadline = deadline;
  timer->func = func;
  timer->data = data;
  timer->place = g_sequence_insert_sorted(loop->timers, timer, compare_timers, NULL);
  return timer;
}

void ain_loop_timer_stop(AinLoopTimer *timer) {
  if (timer != NULL) {
    g_sequence_remove(timer->place);
    g_free(timer);
  }
}

static void run_timers(AinLoop *loop) {
  if (g_sequence_is_empty(loop->timers)) {
    return;
  }
  gint64 now = ain_loop_now();
  for (;;) {
    GSequenceIter *first = g_sequence_get_begin_iter(loop->timers);
    if (g_sequence_iter_is_end(first)) {
      return;
    }
    AinLoopTimer *timer = g_sequence_get(first);
    if (timer->deadline > now) {
      return;
    }
    AinLoopFunc func = timer->func;
    gpointer data = timer->data;
    ain_loop_timer_stop(timer);
    func(data);
  }
}

static int sleep_ms(AinLoop *loop) {
  GSequenceIter *first = g_sequence_get_begin_iter(loop->timers);
  if (g_sequence_iter_is_end(first)) {
    return -1;
  }
  const AinLoopTimer *timer = g_sequence_get(first);
  gint64 wait = timer->deadline - ain_loop_now();
  return wait <= 0 ? 0 : (int)MIN((wait + 999) / 1000, 60000);
}

void ain_loop_add_poller(AinLoop *loop, const AinLoopPoller *poller, gpointer data) {
  PollerEntry entry = { poller, data };
  g_array_append_val(loop->pollers, entry);
}

void ain_loop_remove_poller(AinLoop *loop, const AinLoopPoller *poller, gpointer data) {
  for (guint i = 0; i < loop->pollers->len; i++) {
    const PollerEntry *entry = &g_array_index(loop->pollers, PollerEntry, i);
    if (entry->poller == poller && entry->data == data) {
      g_array_remove_index(loop->pollers, i);
      return;
    }
  }
}

static gboolean run_pollers(AinLoop *loop) {
  gboolean did = FALSE;
  for (guint i = 0; i < loop->pollers->len; i++) {
    PollerEntry entry = g_array_index(loop->pollers, PollerEntry, i); /* a copy: poll may add or remove */
    did |= entry.poller->poll(entry.data);
  }
  return did;
}

static gboolean any_hot(AinLoop *loop) {
  for (guint i = 0; i < loop->pollers->len; i++) {
    const PollerEntry *entry = &g_array_index(loop->pollers, PollerEntry, i);
    if (entry->poller->hot(entry->data)) {
      return TRUE;
    }
  }
  return FALSE;
}

/* TRUE when something came in meanwhile and the loop must not sleep. */
static gboolean arm_pollers(AinLoop *loop) {
  gboolean ready = FALSE;
  for (guint i = 0; i < loop->pollers->len; i++) {
    const PollerEntry *entry = &g_array_index(loop->pollers, PollerEntry, i);
    ready |= entry->poller->arm(entry->data);
  }
  return ready;
}

static void disarm_pollers(AinLoop *loop) {
  for (guint i = 0; i < loop->pollers->len; i++) {
    const PollerEntry *entry = &g_array_index(loop->pollers, PollerEntry, i);
    entry->poller->disarm(entry->data);
  }
}

static inline void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int wait_now(AinLoop *loop, struct epoll_event *events) {
  return epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, 0);
}

/* Yields for up to YIELD_US while an answer is expected. Returns events seen, or -1 when a poller did work.
 */
static int wait_yielding(AinLoop *loop, struct epoll_event *events) {
  gint64 now = ain_loop_now();
  gint64 until = now + YIELD_US;
  do {
    gint64 begun = now;
    for (int i = 0; i < YIELDS_PER_POLL; i++) {
      for (int pause = 0; pause < 16; pause++) {
        cpu_relax();
      }
      if (run_pollers(loop)) {
        return -1;
      }
      sched_yield();
    }
    int count = wait_now(loop, events);
    if (count > 0) {
      return count;
    }
    now = ain_loop_now();
    if (now - begun > CROWDED_US) {
      loop->no_yield_until = now + CROWDED_PAUSE_US;
      return run_pollers(loop) ? -1 : 0;
    }
  } while (now < until && any_hot(loop));
  return 0;
}

static int wait_events(AinLoop *loop, struct epoll_event *events) {
  int count = wait_now(loop, events);
  if (count != 0 || run_pollers(loop)) {
    return MAX(count, 0);
  }
  if (any_hot(loop) && ain_loop_now() >= loop->no_yield_until) {
    count = wait_yielding(loop, events);
    if (count != 0) {
      return MAX(count, 0);
    }
  }
  int timeout = atomic_load(&loop->quit) ? 0 : sleep_ms(loop);
  if (loop->pollers->len == 0) {
    return MAX(epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, timeout), 0);
  }
  if (!arm_pollers(loop)) {
    count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, timeout);
  }
  disarm_pollers(loop);
  run_pollers(loop);
  return MAX(count, 0);
}

void ain_loop_run(AinLoop *loop) {
  struct epoll_event events[EVENTS_PER_ROUND];
  while (!atomic_load(&loop->quit)) {
    int count = wait_events(loop, events);
    for (int i = 0; i < count; i++) {
      AinLoopFd *watch = events[i].data.ptr;
      if (watch->func != NULL) {
        watch->func(events[i].events, watch->data);
      }
    }
    run_posted(loop);
    run_timers(loop);
    g_ptr_array_set_size(loop->dead_watches, 0);
  }
  atomic_store(&loop->quit, FALSE);
}

void ain_loop_quit(AinLoop *loop) {
  atomic_store(&loop->quit, TRUE);
  wake(loop);
}
