#include "runtime/budget.h"

#define PAGE G_GUINT64_CONSTANT(4096)
/* Workers fall idle without a word to us: while somebody waits, idle ones are asked for so often. */
#define LOOK_US (G_GINT64_CONSTANT(50) * 1000)

struct AinBudget {
  AinLoop *loop;
  guint64 bytes;
  guint64 used[AIN_BUDGET_USES];
  guint64 peak;
  GQueue waiting[AIN_BUDGET_USES]; /* AinBudgetTicket */
  AinLoopTimer *round;             /* somebody waits and something changed */
  gboolean turn[AIN_BUDGET_USES];  /* whose ticket was just called may take before those who wait */
  void (*shortage)(guint64 missing, gpointer data);
  gpointer shortage_data;
};

struct AinBudgetTicket {
  AinBudget *budget;
  AinBudgetUse use;
  guint64 bytes;
  AinLoopFunc func;
  gpointer data;
};

static guint64 whole_pages(guint64 bytes) {
  return bytes > G_MAXUINT64 - PAGE ? G_MAXUINT64 : (bytes + PAGE - 1) / PAGE * PAGE;
}

static guint64 rest(guint64 limit, guint64 used) {
  return limit - MIN(limit, used);
}

AinBudget *ain_budget_new(AinLoop *loop, guint64 bytes) {
  AinBudget *budget = g_new0(AinBudget, 1);
  budget->loop = loop;
  budget->bytes = MAX(bytes, AIN_BUDGET_MIN);
  for (guint use = 0; use < AIN_BUDGET_USES; use++) {
    g_queue_init(&budget->waiting[use]);
  }
  return budget;
}

void ain_budget_free(AinBudget *budget) {
  if (budget != NULL) {
    ain_loop_timer_stop(budget->round);
    for (guint use = 0; use < AIN_BUDGET_USES; use++) {
      g_assert(g_queue_is_empty(&budget->waiting[use]));
    }
    g_free(budget);
  }
}

guint64 ain_budget_bytes(const AinBudget *budget) {
  return budget->bytes;
}

guint64 ain_budget_peak(const AinBudget *budget) {
  return budget->peak;
}

guint64 ain_budget_most(const AinBudget *budget, AinBudgetUse use) {
  /* Eight workers of the largest models have room at least, hundreds of the usual ones. */
  guint64 most = use == AIN_BUDGET_SLOTS ? budget->bytes / 32 : budget->bytes / 8 * 3;
  return most / PAGE * PAGE;
}

/* --- what is left --- */

static guint64 slots_left(const AinBudget *budget) {
  return rest(budget->bytes / 4, budget->used[AIN_BUDGET_SLOTS]);
}

static guint64 inward_left(const AinBudget *budget) {
  return rest(budget->bytes / 8 * 5, budget->used[AIN_BUDGET_SLOTS] + budget->used[AIN_BUDGET_REQUEST]);
}

/* A worker that waits for slots is kept back by requests only until those that run now have ended. */
static guint64 promised_to_slots(const AinBudget *budget) {
  const AinBudgetTicket *first = g_queue_peek_head((GQueue *)&budget->waiting[AIN_BUDGET_SLOTS]);
  return first != NULL && first->bytes <= slots_left(budget) ? first->bytes : 0;
}

static guint64 room(const AinBudget *budget, AinBudgetUse use) {
  switch (use) {
  case AIN_BUDGET_SLOTS:
    return MIN(slots_left(budget), inward_left(budget));
  case AIN_BUDGET_REQUEST:
    return rest(inward_left(budget), promised_to_slots(budget));
  default:
    return rest(budget->bytes / 8 * 3, budget->used[AIN_BUDGET_RESULT]);
  }
}

guint64 ain_budget_left(const AinBudget *budget, AinBudgetUse use) {
  if (!budget->turn[use] && !g_queue_is_empty((GQueue *)&budget->waiting[use])) {
    return 0;
  }
  return MIN(room(budget, use), ain_budget_most(budget, use)) / PAGE
         * PAGE; /* what is taken is whole pages */
}

/* --- who waits --- */

static void serve(AinBudget *budget, AinBudgetUse use) {
  AinBudgetTicket *first;
  while ((first = g_queue_peek_head(&budget->waiting[use])) != NULL && first->bytes <= room(budget, use)) {
    g_queue_pop_head(&budget->waiting[use]);
    AinBudgetTicket ticket = *first;
    g_free(first);
    budget->turn[use] = TRUE;
    ticket.func(ticket.data);
    budget->turn[use] = FALSE;
  }
}

static void tell_shortage(const AinBudget *budget, AinBudgetUse use) {
  const AinBudgetTicket *first = g_queue_peek_head((GQueue *)&budget->waiting[use]);
  if (first != NULL && budget->shortage != NULL) {
    budget->shortage(rest(first->bytes, room(budget, use)), budget->shortage_data);
  }
}

static void plan_round(AinBudget *budget, gint64 delay);

static void round_due(gpointer data) {
  AinBudget *budget = data;
  budget->round = NULL;
  serve(budget, AIN_BUDGET_RESULT);
  serve(budget, AIN_BUDGET_SLOTS);
  serve(budget, AIN_BUDGET_REQUEST);
  tell_shortage(budget, AIN_BUDGET_SLOTS);
  tell_shortage(budget, AIN_BUDGET_REQUEST);
  plan_round(budget, LOOK_US);
}

/* From the loop, never from inside of whoever gives or asks. */
static void plan_round(AinBudget *budget, gint64 delay) {
  gboolean waited_for = FALSE;
  for (guint use = 0; use < AIN_BUDGET_USES; use++) {
    waited_for |= !g_queue_is_empty(&budget->waiting[use]);
  }
  if (waited_for) {
    ain_loop_timer_stop(budget->round);
    budget->round = ain_loop_timer(budget->loop, ain_loop_now() + delay, round_due, budget);
  }
}

AinBudgetTicket *ain_budget_wait(AinBudget *budget, AinBudgetUse use, guint64 bytes, AinLoopFunc func,
                                 gpointer data) {
  AinBudgetTicket *ticket = g_new0(AinBudgetTicket, 1);
  *ticket = (AinBudgetTicket){ budget, use, whole_pages(bytes), func, data };
  g_queue_push_tail(&budget->waiting[use], ticket);
  plan_round(budget, 0);
  return ticket;
}

void ain_budget_forget(AinBudgetTicket *ticket) {
  if (ticket != NULL) {
    g_queue_remove(&ticket->budget->waiting[ticket->use], ticket);
    plan_round(ticket->budget, 0); /* perhaps there is room for the next */
    g_free(ticket);
  }
}

void ain_budget_on_shortage(AinBudget *budget, void (*func)(guint64 missing, gpointer data), gpointer data) {
  budget->shortage = func;
  budget->shortage_data = data;
}

gboolean ain_budget_take(AinBudget *budget, AinBudgetUse use, guint64 bytes) {
  bytes = whole_pages(bytes);
  if (bytes > ain_budget_left(budget, use)) {
    return FALSE;
  }
  budget->turn[use] = FALSE; /* one take a turn */
  budget->used[use] += bytes;
  guint64 total = 0;
  for (guint i = 0; i < AIN_BUDGET_USES; i++) {
    total += budget->used[i];
  }
  budget->peak = MAX(budget->peak, total);
  return TRUE;
}

void ain_budget_give(AinBudget *budget, AinBudgetUse use, guint64 bytes) {
  bytes = whole_pages(bytes);
  g_assert(bytes <= budget->used[use]);
  budget->used[use] -= bytes;
  plan_round(budget, 0);
}
