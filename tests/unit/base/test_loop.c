/* The loop: order of posts, timers, watches that go away in their own round, offloaded work, pollers. */
#include "base/loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

typedef struct {
  AinLoop *loop;
  GString *trace;
  guint left;
} Fixture;

static void fixture_init(Fixture *f) {
  g_autoptr(GError) error = NULL;
  f->loop = ain_loop_new(2, &error);
  g_assert_no_error(error);
  f->trace = g_string_new(NULL);
  f->left = 0;
}

static void fixture_clear(Fixture *f) {
  ain_loop_free(f->loop);
  g_string_free(f->trace, TRUE);
}

static void mark_a(gpointer data) {
  g_string_append_c(((Fixture *)data)->trace, 'a');
}
static void mark_b(gpointer data) {
  g_string_append_c(((Fixture *)data)->trace, 'b');
}
static void quit(gpointer data) {
  ain_loop_quit(((Fixture *)data)->loop);
}

static void test_posts_keep_order(void) {
  Fixture f;
  fixture_init(&f);
  for (int i = 0; i < 3; i++) {
    ain_loop_post(f.loop, mark_a, &f);
    ain_loop_post(f.loop, mark_b, &f);
  }
  ain_loop_post(f.loop, quit, &f);
  ain_loop_run(f.loop);
  g_assert_cmpstr(f.trace->str, ==, "ababab");
  fixture_clear(&f);
}

static void test_timers_fire_in_order_and_stop(void) {
  Fixture f;
  fixture_init(&f);
  gint64 now = ain_loop_now();
  ain_loop_timer(f.loop, now + 20000, quit, &f);
  ain_loop_timer(f.loop, now + 10000, mark_b, &f);
  ain_loop_timer(f.loop, now + 1000, mark_a, &f);
  AinLoopTimer *stopped = ain_loop_timer(f.loop, now + 5000, mark_a, &f);
  ain_loop_timer_stop(stopped);
  ain_loop_run(f.loop);
  g_assert_cmpstr(f.trace->str, ==, "ab");
  g_assert_cmpint(ain_loop_now() - now, >=, 20000);
  fixture_clear(&f);
}

typedef struct {
  Fixture f;
  int pipes[2][2];
  AinLoopFd *watches[2];
} TwoPipes;

static void drop_both(guint32 events, gpointer data) {
  (void)events;
  TwoPipes *t = data;
  g_string_append_c(t->f.trace, 'x');
  for (int i = 0; i < 2; i++) {
    ain_loop_unwatch(t->watches[i]);
  }
  ain_loop_quit(t->f.loop);
}

/* Both pipes are readable in one round; the first callback removes both, so the second must not run. */
static void test_unwatch_within_the_round(void) {
  TwoPipes t;
  fixture_init(&t.f);
  for (int i = 0; i < 2; i++) {
    g_assert_cmpint(pipe(t.pipes[i]), ==, 0);
    g_assert_cmpint(write(t.pipes[i][1], "1", 1), ==, 1);
    t.watches[i] = ain_loop_watch(t.f.loop, t.pipes[i][0], EPOLLIN, drop_both, &t);
  }
  ain_loop_run(t.f.loop);
  g_assert_cmpstr(t.f.trace->str, ==, "x");
  for (int i = 0; i < 4; i++) {
    close(t.pipes[i / 2][i % 2]);
  }
  fixture_clear(&t.f);
}

typedef struct {
  Fixture *f;
  guint value;
} Job;

static void job_work(gpointer data) {
  Job *job = data;
  job->value *= 2;
}
static void job_done(gpointer data) {
  Job *job = data;
  g_assert_cmpuint(job->value % 2, ==, 0);
  if (--job->f->left == 0) {
    ain_loop_quit(job->f->loop);
  }
  g_free(job);
}

static void test_offload_comes_back(void) {
  Fixture f;
  fixture_init(&f);
  f.left = 1000;
  for (guint i = 0; i < 1000; i++) {
    Job *job = g_new0(Job, 1);
    *job = (Job){ &f, i };
    ain_loop_offload(f.loop, job_work, job_done, job);
  }
  ain_loop_run(f.loop);
  g_assert_cmpuint(f.left, ==, 0);
  fixture_clear(&f);
}

#define HELPERS 4
#define ROUNDS 100

typedef struct {
  AinLoop *loop;
  pthread_barrier_t all; /* passed only when every helper is in it */
  pthread_t last;        /* who worked */
  pthread_t who[HELPERS];
  guint count[HELPERS];
  guint left;
} Pool;

static void work_together(gpointer data) {
  Pool *pool = data;
  pthread_barrier_wait(&pool->all);
}
static void together_done(gpointer data) {
  Pool *pool = data;
  if (--pool->left == 0) {
    ain_loop_quit(pool->loop);
  }
}

static void test_offload_uses_all_helpers(void) {
  g_autoptr(GError) error = NULL;
  Pool pool = { .loop = ain_loop_new(HELPERS, &error), .left = 50 * HELPERS };
  g_assert_no_error(error);
  pthread_barrier_init(&pool.all, NULL, HELPERS);
  for (guint i = 0; i < 50 * HELPERS; i++) {
    ain_loop_offload(pool.loop, work_together, together_done, &pool);
  }
  ain_loop_run(pool.loop);
  g_assert_cmpuint(pool.left, ==, 0);
  ain_loop_free(pool.loop);
  pthread_barrier_destroy(&pool.all);
}

static void work_alone(gpointer data) {
  Pool *pool = data;
  pool->last = pthread_self();
}
static void give_one(gpointer data);
static void alone_done(gpointer data) {
  Pool *pool = data;
  guint i = 0;
  while (pool->count[i] > 0 && !pthread_equal(pool->who[i], pool->last)) {
    i++;
  }
  g_assert_cmpuint(i, <, HELPERS);
  pool->who[i] = pool->last;
  pool->count[i]++;
  if (--pool->left == 0) {
    ain_loop_quit(pool->loop);
    return;
  }
  /* The helper is idle by then, but for rare exceptions: they are why the test asks for half. */
  ain_loop_timer(pool->loop, ain_loop_now() + 500, give_one, pool);
}
static void give_one(gpointer data) {
  Pool *pool = data;
  ain_loop_offload(pool->loop, work_alone, alone_done, pool);
}

static void test_offload_prefers_the_last_helper(void) {
  g_autoptr(GError) error = NULL;
  Pool pool = { .loop = ain_loop_new(HELPERS, &error), .left = ROUNDS };
  g_assert_no_error(error);
  give_one(&pool);
  ain_loop_run(pool.loop);
  guint most = 0;
  for (guint i = 0; i < HELPERS; i++) {
    most = MAX(most, pool.count[i]);
  }
  g_assert_cmpuint(most, >=, ROUNDS / 2);
  ain_loop_free(pool.loop);
}

typedef struct {
  Fixture f;
  guint polls;
  guint arms;
  guint disarms;
} Polled;

static gboolean poller_poll(gpointer data) {
  Polled *p = data;
  if (++p->polls == 20) {
    ain_loop_quit(p->f.loop);
    return TRUE;
  }
  return FALSE;
}
static gboolean poller_hot(gpointer data) {
  (void)data;
  return FALSE;
}
static gboolean poller_arm(gpointer data) {
  ((Polled *)data)->arms++;
  return TRUE; /* always "something is there": the loop must never sleep */
}
static void poller_disarm(gpointer data) {
  ((Polled *)data)->disarms++;
}

static void test_pollers_are_armed_and_disarmed(void) {
  static const AinLoopPoller poller = { poller_poll, poller_hot, poller_arm, poller_disarm };
  Polled p = { 0 };
  fixture_init(&p.f);
  ain_loop_add_poller(p.f.loop, &poller, &p);
  ain_loop_run(p.f.loop);
  g_assert_cmpuint(p.arms, >, 0);
  g_assert_cmpuint(p.arms, ==, p.disarms);
  ain_loop_remove_poller(p.f.loop, &poller, &p);
  fixture_clear(&p.f);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/loop/posts-keep-order", test_posts_keep_order);
  g_test_add_func("/loop/timers", test_timers_fire_in_order_and_stop);
  g_test_add_func("/loop/unwatch-within-the-round", test_unwatch_within_the_round);
  g_test_add_func("/loop/offload", test_offload_comes_back);
  g_test_add_func("/loop/offload-uses-all-helpers", test_offload_uses_all_helpers);
  g_test_add_func("/loop/offload-prefers-the-last-helper", test_offload_prefers_the_last_helper);
  g_test_add_func("/loop/pollers", test_pollers_are_armed_and_disarmed);
  return g_test_run();
}
