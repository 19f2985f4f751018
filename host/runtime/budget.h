/* The one bound on all memory that host and workers share (ain_shared_memory_bytes): the slots of loaded
 * models, and the memory of their own that large requests and large results get. Who finds no room waits for
 * it, first come first served; nothing is ever made beyond the bound. Loop thread.
 *
 * The three uses cannot starve one another, so that nobody waits for ever: slots may have a quarter; slots
 * and requests together five eighths, results three eighths. A running request thus always gets room for its
 * result, and the requests before it room to end. */
#pragma once
#include "base/loop.h"

#include <glib.h>

typedef enum {
  AIN_BUDGET_SLOTS,   /* one worker's slots, both ways */
  AIN_BUDGET_REQUEST, /* a request that does not fit into a slot */
  AIN_BUDGET_RESULT,  /* likewise a result */
  AIN_BUDGET_USES,
} AinBudgetUse;

#define AIN_BUDGET_MIN (G_GUINT64_CONSTANT(16) * 1024 * 1024)

typedef struct AinBudget AinBudget;
typedef struct AinBudgetTicket AinBudgetTicket; /* one who waits */

/* bytes: AIN_BUDGET_MIN or more. */
AinBudget *ain_budget_new(AinLoop *loop, guint64 bytes);
void ain_budget_free(AinBudget *budget); /* NULL is allowed; all tickets must be gone */

/* The most that one take of this use can ever get. */
guint64 ain_budget_most(const AinBudget *budget, AinBudgetUse use);
/* What one take could get now: 0 while others wait for the same use. */
guint64 ain_budget_left(const AinBudget *budget, AinBudgetUse use);
/* Counted in whole pages. FALSE: there is no room now, or others wait. */
gboolean ain_budget_take(AinBudget *budget, AinBudgetUse use, guint64 bytes);
void ain_budget_give(AinBudget *budget, AinBudgetUse use, guint64 bytes);

/* Calls func once, from the loop, when there is room for so much and all who asked before were told; func
 * takes it then and there, or leaves it to the next. bytes: at most ain_budget_most(). The ticket is gone
 * when func is called. */
AinBudgetTicket *ain_budget_wait(AinBudget *budget, AinBudgetUse use, guint64 bytes, AinLoopFunc func,
                                 gpointer data);
void ain_budget_forget(AinBudgetTicket *ticket); /* NULL is allowed */
/* Told from the loop when somebody waits for slots or a request: so many bytes of slots given back would let
 * him go on. NULL: nobody. */
void ain_budget_on_shortage(AinBudget *budget, void (*func)(guint64 missing, gpointer data), gpointer data);

guint64 ain_budget_bytes(const AinBudget *budget);
guint64 ain_budget_peak(const AinBudget *budget); /* the most that was ever taken at once */
