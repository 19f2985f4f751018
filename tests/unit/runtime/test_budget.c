/* The budget of shared memory: its parts, whose turn it is, and that nobody waits for ever. */
#include "runtime/budget.h"

#include <glib.h>

#define MIB (G_GUINT64_CONSTANT(1024) * 1024)

typedef struct {
  AinLoop *loop;
  AinBudget *budget; /* of 64 MiB: 2 for one worker's slots, 16 for all, 24 for a request or a result */
  GString *told;
  guint64 missing;
  guint shortages;
} Fixture;

typedef struct {
  Fixture *f;
  AinBudgetUse use;
  guint64 bytes;
  char name;
  gboolean declines;
  AinBudgetTicket *ticket;
} Asker;

static void set_up(Fixture *f, gconstpointer data) {
  (void)data;
  f->loop = ain_loop_new(1, NULL);
  f->budget = ain_budget_new(f->loop, 64 * MIB);
  f->told = g_string_new(NULL);
}

static void tear_down(Fixture *f, gconstpointer data) {
  (void)data;
  ain_budget_free(f->budget);
  ain_loop_free(f->loop);
  g_string_free(f->told, TRUE);
}

static void quit(gpointer loop) {
  ain_loop_quit(loop);
}

static void run(Fixture *f) {
  ain_loop_timer(f->loop, ain_loop_now() + 5000, quit, f->loop);
  ain_loop_run(f->loop);
}

static void told(gpointer data) {
  Asker *asker = data;
  asker->ticket = NULL;
  g_string_append_c(asker->f->told, asker->name);
  if (!asker->declines) {
    g_assert_true(ain_budget_take(asker->f->budget, asker->use, asker->bytes));
  }
}

static void ask(Fixture *f, Asker *asker, AinBudgetUse use, guint64 bytes, char name) {
  *asker = (Asker){ .f = f, .use = use, .bytes = bytes, .name = name };
  g_assert_false(ain_budget_take(f->budget, use, bytes));
  asker->ticket = ain_budget_wait(f->budget, use, bytes, told, asker);
}

static void test_parts(Fixture *f, gconstpointer data) {
  (void)data;
  AinBudget *budget = f->budget;
  g_assert_cmpuint(ain_budget_most(budget, AIN_BUDGET_SLOTS), ==, 2 * MIB);
  g_assert_cmpuint(ain_budget_most(budget, AIN_BUDGET_REQUEST), ==, 24 * MIB);
  g_assert_cmpuint(ain_budget_most(budget, AIN_BUDGET_RESULT), ==, 24 * MIB);
  g_assert_false(ain_budget_take(budget, AIN_BUDGET_REQUEST, 24 * MIB + 1));
  g_assert_false(ain_budget_take(budget, AIN_BUDGET_REQUEST, G_MAXUINT64));
  for (int i = 0; i < 8; i++) {
    g_assert_true(ain_budget_take(budget, AIN_BUDGET_SLOTS, 2 * MIB));
  }
  g_assert_false(ain_budget_take(budget, AIN_BUDGET_SLOTS, 1)); /* a quarter is theirs */
  g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, 24 * MIB));
  g_assert_false(ain_budget_take(budget, AIN_BUDGET_REQUEST, 1));
  g_assert_true(ain_budget_take(budget, AIN_BUDGET_RESULT, 24 * MIB)); /* whatever requests hold */
  g_assert_false(ain_budget_take(budget, AIN_BUDGET_RESULT, 1));
  g_assert_cmpuint(ain_budget_peak(budget), ==, ain_budget_bytes(budget));
  ain_budget_give(budget, AIN_BUDGET_RESULT, 24 * MIB);
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 24 * MIB);
  ain_budget_give(budget, AIN_BUDGET_SLOTS, 16 * MIB);
  g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, 1));
  g_assert_cmpuint(ain_budget_left(budget, AIN_BUDGET_REQUEST), ==, 24 * MIB);
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 1);
  g_assert_cmpuint(ain_budget_peak(budget), ==, ain_budget_bytes(budget));
}

/* A small one that came later does not overtake a large one, or that would wait for ever. */
static void test_turns(Fixture *f, gconstpointer data) {
  (void)data;
  AinBudget *budget = f->budget;
  Asker a;
  Asker b;
  Asker c;
  for (int i = 0; i < 10; i++) {
    g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, 4 * MIB));
  }
  ask(f, &a, AIN_BUDGET_REQUEST, 20 * MIB, 'a');
  ask(f, &b, AIN_BUDGET_REQUEST, MIB, 'b');
  ask(f, &c, AIN_BUDGET_REQUEST, 24 * MIB, 'c');
  for (int i = 0; i < 4; i++) {
    ain_budget_give(budget, AIN_BUDGET_REQUEST, 4 * MIB);
    g_assert_cmpuint(ain_budget_left(budget, AIN_BUDGET_REQUEST), ==, 0); /* others wait */
    run(f);
    g_assert_cmpstr(f->told->str, ==, "");
  }
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 4 * MIB);
  run(f);
  g_assert_cmpstr(f->told->str, ==, "a");
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 20 * MIB);
  run(f);
  g_assert_cmpstr(f->told->str, ==, "ab");
  ain_budget_forget(c.ticket);
  g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, MIB));
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 22 * MIB);
}

/* What is said to be left can be taken, also where the parts are no whole pages. */
static void test_odd_bytes(Fixture *f, gconstpointer data) {
  (void)data;
  AinBudget *budget = ain_budget_new(f->loop, 64 * MIB + 4096 + 8);
  g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, 24 * MIB));
  guint64 left = ain_budget_left(budget, AIN_BUDGET_REQUEST);
  g_assert_cmpuint(left, >, 0);
  g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, left));
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 24 * MIB);
  ain_budget_give(budget, AIN_BUDGET_REQUEST, left);
  ain_budget_free(budget);
}

/* Whoever does not take what it waited for leaves it to the next. */
static void test_declined_turn(Fixture *f, gconstpointer data) {
  (void)data;
  Asker a;
  Asker b;
  g_assert_true(ain_budget_take(f->budget, AIN_BUDGET_RESULT, 24 * MIB));
  ask(f, &a, AIN_BUDGET_RESULT, 24 * MIB, 'a');
  ask(f, &b, AIN_BUDGET_RESULT, 24 * MIB, 'b');
  a.declines = TRUE;
  ain_budget_give(f->budget, AIN_BUDGET_RESULT, 24 * MIB);
  run(f);
  g_assert_cmpstr(f->told->str, ==, "ab");
  ain_budget_give(f->budget, AIN_BUDGET_RESULT, 24 * MIB);
}

static void shortage(guint64 missing, gpointer data) {
  Fixture *f = data;
  f->missing = missing;
  f->shortages++;
}

/* Requests that keep coming do not keep a worker from its slots; and idle workers are asked for theirs. */
static void test_slots_come_first(Fixture *f, gconstpointer data) {
  (void)data;
  AinBudget *budget = f->budget;
  Asker a;
  Asker b;
  ain_budget_on_shortage(budget, shortage, f);
  for (int i = 0; i < 10; i++) {
    g_assert_true(ain_budget_take(budget, AIN_BUDGET_REQUEST, 4 * MIB));
  }
  ask(f, &a, AIN_BUDGET_SLOTS, 2 * MIB, 'a');
  ask(f, &b, AIN_BUDGET_REQUEST, 3 * MIB, 'b');
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 4 * MIB);
  run(f);
  g_assert_cmpstr(f->told->str, ==, "a");
  g_assert_cmpuint(f->missing, ==, MIB); /* of b's 3 MiB, 2 are left */
  ain_budget_give(budget, AIN_BUDGET_SLOTS, 2 * MIB);
  run(f);
  g_assert_cmpstr(f->told->str, ==, "ab");
  guint shortages = f->shortages;
  run(f);
  g_assert_cmpuint(f->shortages, ==, shortages); /* nobody waits, nobody is asked */
  ain_budget_give(budget, AIN_BUDGET_REQUEST, 39 * MIB);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)
  ADD("/budget/parts", test_parts);
  ADD("/budget/turns", test_turns);
  ADD("/budget/odd-bytes", test_odd_bytes);
  ADD("/budget/declined-turn", test_declined_turn);
  ADD("/budget/slots-come-first", test_slots_come_first);
  return g_test_run();
}
