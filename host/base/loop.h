/* The host's event loop and its pool of helpers.
 *
 * One thread runs the loop and owns all state of rpc, schedule, runtime and registry: those modules take no
 * locks. Whatever blocks or takes longer than about 100 us (files, the cluster client, converting megabytes)
 * goes through ain_loop_offload() and comes back to the loop. Times are microseconds of CLOCK_MONOTONIC. */
#pragma once
#include <glib.h>

typedef struct AinLoop AinLoop;
typedef struct AinLoopFd AinLoopFd;       /* one watched descriptor */
typedef struct AinLoopTimer AinLoopTimer; /* one armed timer */

typedef void (*AinLoopFunc)(gpointer data);
typedef void (*AinLoopFdFunc)(guint32 epoll_events, gpointer data);

/* n_helpers: threads of the offload pool (at least 1). Errors: INTERNAL. */
AinLoop *ain_loop_new(guint n_helpers, GError **error);
/* Loop thread, after ain_loop_run() returned. Waits for the helpers; work not yet started is dropped, but its
 * done function is still called so that its data can be freed. NULL is allowed. */
void ain_loop_free(AinLoop *loop);
void ain_loop_run(AinLoop *loop);  /* until ain_loop_quit(); may be run again */
void ain_loop_quit(AinLoop *loop); /* any thread, also before run */

gint64 ain_loop_now(void);

/* Watches fd (borrowed; remove the watch before closing it). Loop thread. */
AinLoopFd *ain_loop_watch(AinLoop *loop, int fd, guint32 epoll_events, AinLoopFdFunc func, gpointer data);
void ain_loop_watch_change(AinLoopFd *watch, guint32 epoll_events);
void ain_loop_unwatch(
    AinLoopFd *watch); /* NULL is allowed; func is not called again, also not in this round */

/* Calls func once at `deadline` (ain_loop_now() scale), unless stopped. Loop thread. The timer frees itself
 * when it fires; ain_loop_timer_stop() frees it early and takes NULL. */
AinLoopTimer *ain_loop_timer(AinLoop *loop, gint64 deadline, AinLoopFunc func, gpointer data);
void ain_loop_timer_stop(AinLoopTimer *timer);

/* Runs func on the loop thread, in the order posted. Any thread. */
void ain_loop_post(AinLoop *loop, AinLoopFunc func, gpointer data);

/* Runs work on a helper thread, then done on the loop thread. Both get data. Any thread. The helper that
 * became idle last is taken, so that one serves where little is to be done. */
void ain_loop_offload(AinLoop *loop, AinLoopFunc work, AinLoopFunc done, gpointer data);

/* A poller is asked between waits, so that an answer in shared memory is seen without a system call.
 * poll: handles what is there, returns TRUE when it did something.
 * hot: TRUE while an answer is expected soon: the loop then waits by yielding, bounded, before it sleeps.
 * arm: last look before the loop sleeps: raises the sleep flag and returns TRUE when something is there
 * already. disarm: the loop is awake again. All on the loop thread. */
typedef struct {
  gboolean (*poll)(gpointer data);
  gboolean (*hot)(gpointer data);
  gboolean (*arm)(gpointer data);
  void (*disarm)(gpointer data);
} AinLoopPoller;
void ain_loop_add_poller(AinLoop *loop, const AinLoopPoller *poller, gpointer data);
void ain_loop_remove_poller(AinLoop *loop, const AinLoopPoller *poller, gpointer data);
