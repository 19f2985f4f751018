#include "cluster/leader.h"

#include "base/error.h"
#include "base/loop.h"
#include "cluster/refusal.h"
#include "cluster/resolve.h"

#define MILLISECOND ((gint64)1000)
#define SECOND (1000 * MILLISECOND)
#define CONNECT_TIMEOUT (5 * SECOND)
/* A leader that warms up keeps a request for half of cn_connection_timeout_ms, 30 s, before it answers. */
#define REPLY_TIMEOUT (40 * SECOND)
#define REPLY_TIMEOUT_ONE_TRY (10 * SECOND)
#define FIRST_BACK_OFF (100 * MILLISECOND)
#define LAST_BACK_OFF (5 * SECOND)
#define NOT_READY_PAUSE (1 * SECOND)
#define LAST_TRY (100 * MILLISECOND)
#define MAX_REDIRECTS 5 /* in a row, before a pause */
#define MAX_TARGETS 64

typedef struct {
  AinEndpoint at;
  char *reason; /* why the last try failed; NULL: not tried */
} Target;

struct AinLeader {
  const AinConfig *config;
  int cancel_fd;
  AinTlsContext *tls; /* NULL until asked, and without TLS */
  GPtrArray *targets; /* of Target: the seeds, then those learnt */
  guint n_seeds;      /* distinct ones: the first of the targets */
  guint current;
  gboolean lost_answer;
};

/* One ain_leader_ask(). */
typedef struct {
  AinLeader *leader;
  const char *what;
  AinLeaderCall call;
  gpointer data;
  gboolean one_try;
  gint64 deadline;
  gint64 back_off;
  guint failures;  /* unreachable targets in a row */
  guint redirects; /* in a row */
  guint tried;     /* one_try: seeds done */
} Ask;

typedef enum { FINAL, AGAIN, STOPPED } Step;

static void target_free(Target *target) {
  g_free(target->at.host);
  g_free(target->reason);
  g_free(target);
}

/* Index of the endpoint among the targets, added when new; the current one when there is no more room. */
static guint find_target(AinLeader *leader, const AinEndpoint *at) {
  for (guint i = 0; i < leader->targets->len; i++) {
    const Target *target = g_ptr_array_index(leader->targets, i);
    if (target->at.port == at->port && strcmp(target->at.host, at->host) == 0) {
      return i;
    }
  }
  if (leader->targets->len >= MAX_TARGETS) {
    return leader->current;
  }
  Target *target = g_new0(Target, 1);
  target->at = (AinEndpoint){ g_strdup(at->host), at->port };
  g_ptr_array_add(leader->targets, target);
  return leader->targets->len - 1;
}

AinLeader *ain_leader_new(const AinConfig *config, int cancel_fd) {
  AinLeader *leader = g_new0(AinLeader, 1);
  leader->config = config;
  leader->cancel_fd = cancel_fd;
  leader->targets = g_ptr_array_new_with_free_func((GDestroyNotify)target_free);
  for (guint i = 0; i < config->n_seeds; i++) {
    find_target(leader, &config->seeds[i]);
  }
  leader->n_seeds = leader->targets->len;
  return leader;
}

void ain_leader_free(AinLeader *leader) {
  if (leader != NULL) {
    g_ptr_array_unref(leader->targets);
    ain_tls_context_free(leader->tls);
    g_free(leader);
  }
}

gboolean ain_leader_lost_answer(const AinLeader *leader) {
  return leader->lost_answer;
}

gboolean ain_leader_sleep(const AinLeader *leader, gint64 duration_us) {
  g_autoptr(GError) error = NULL;
  ain_cluster_wait(-1, 0, ain_loop_now() + duration_us, leader->cancel_fd, &error);
  return g_error_matches(error, AIN_ERROR, AIN_ERROR_TIMEOUT);
}

static void learn(AinLeader *leader, const AinReply *reply) {
  for (guint i = 0; i < reply->members->len; i++) {
    const AinMember *member = g_ptr_array_index(reply->members, i);
    if (member->kind == AIN_MEMBER_CONFIG_NODE) {
      find_target(leader, &member->endpoint);
    }
  }
}

static void note(Ask *ask, Target *target, const char *address, char *reason) {
  g_autofree char *name = ain_cluster_endpoint_text(target->at.host, target->at.port);
  gboolean same = address == NULL || strcmp(address, name) == 0;
  g_message("%s at ConfigNode %s%s%s%s: %s", ask->what, name, same ? "" : " (", same ? "" : address,
            same ? "" : ")", reason);
  g_free(target->reason);
  target->reason = reason;
}

static gboolean next_target(Ask *ask) {
  AinLeader *leader = ask->leader;
  ask->tried++;
  if (ask->one_try && ask->tried >= leader->n_seeds) {
    return FALSE;
  }
  leader->current = (ask->one_try ? ask->tried : leader->current + 1) % leader->targets->len;
  return TRUE;
}

static Step pause_for(Ask *ask, gint64 duration, GError **error) {
  gint64 now = ain_loop_now();
  gint64 left = ask->deadline - now;
  if (duration > 0) {
    duration = MIN(duration, left - LAST_TRY); /* the end of the time is worth a try too */
  }
  if (left <= 0 || duration < 0) {
    return STOPPED;
  }
  g_autoptr(GError) ended = NULL;
  ain_cluster_wait(-1, 0, now + duration, ask->leader->cancel_fd, &ended);
  if (g_error_matches(ended, AIN_ERROR, AIN_ERROR_TIMEOUT)) {
    return AGAIN;
  }
  g_propagate_error(error, g_steal_pointer(&ended));
  return STOPPED;
}

/* No answer from this one: the next at once, and a growing pause after each round. */
static Step after_failure(Ask *ask, GError **error) {
  ask->failures++;
  ask->redirects = 0;
  if (!next_target(ask)) {
    return STOPPED;
  }
  if (ask->failures < ask->leader->targets->len || ask->one_try) {
    return pause_for(ask, 0, error);
  }
  gint64 duration = ask->back_off;
  ask->failures = 0;
  ask->back_off = MIN(ask->back_off * 2, LAST_BACK_OFF);
  return pause_for(ask, duration, error);
}

/* An answer that says "not me" or "not yet". */
static Step after_not_ready(Ask *ask, const AinReply *reply, GError **error) {
  AinLeader *leader = ask->leader;
  ask->failures = 0;
  ask->back_off = FIRST_BACK_OFF;
  if (reply->code == AIN_CODE_REDIRECT && reply->has_redirect && ask->redirects < MAX_REDIRECTS) {
    guint to = find_target(leader, &reply->redirect);
    if (to != leader->current) {
      ask->redirects++;
      leader->current = to;
      return pause_for(ask, 0, error);
    }
  }
  ask->redirects = 0;
  /* 400 without a leader: an election is going on, and another ConfigNode may know of its end first. The
   * other codes come from the leader itself. */
  if ((ask->one_try || reply->code == AIN_CODE_REDIRECT) && !next_target(ask)) {
    return STOPPED;
  }
  return pause_for(ask, ask->one_try ? 0 : NOT_READY_PAUSE, error);
}

static gboolean call_target(Ask *ask, const Target *target, char **address, AinReply *reply, GError **error) {
  const AinConfig *config = ask->leader->config;
  AinTransportLimits limits = { .connect_us = CONNECT_TIMEOUT,
                                .reply_us = ask->one_try ? REPLY_TIMEOUT_ONE_TRY : REPLY_TIMEOUT,
                                .deadline = ask->deadline,
                                .cancel_fd = ask->leader->cancel_fd,
                                .tls = ask->leader->tls };
  g_autoptr(AinConfigNode) node =
      ain_config_node_connect(&target->at, config->thrift_compression, &limits, error);
  if (node == NULL) {
    return FALSE;
  }
  *address = g_strdup(ain_config_node_address(node));
  if (ask->call(node, ask->data, reply, error)) {
    return TRUE;
  }
  if (ain_config_node_was_sent(node)) {
    ask->leader->lost_answer = TRUE;
  }
  return FALSE;
}

/* The peer closes without a word when the protocols differ. */
static char *explain(const Ask *ask, const GError *failed, gboolean was_connected) {
  if (was_connected && g_error_matches(failed, AIN_ERROR, AIN_ERROR_UNREACHABLE)
      && strstr(failed->message, "without an answer") != NULL) {
    return g_strdup_printf("%s: another service, or one that does not speak the %s protocol "
                           "(ain_thrift_compression_enabled=%d)",
                           failed->message, ask->leader->config->thrift_compression ? "compact" : "binary",
                           ask->leader->config->thrift_compression);
  }
  return g_strdup(failed->message);
}

static char *describe(const AinReply *reply) {
  g_autofree char *to =
      reply->has_redirect ? ain_cluster_endpoint_text(reply->redirect.host, reply->redirect.port) : NULL;
  return g_strdup_printf("it answered code %d%s%s%s%s", reply->code, to != NULL ? ", leader " : "",
                         to != NULL ? to : "", reply->message[0] != '\0' ? ": " : "", reply->message);
}

static Step try_once(Ask *ask, AinReply *reply, GError **error) {
  AinLeader *leader = ask->leader;
  Target *target = g_ptr_array_index(leader->targets, leader->current);
  g_autoptr(GError) failed = NULL;
  g_autofree char *address = NULL;
  ain_reply_clear(reply);
  if (!call_target(ask, target, &address, reply, &failed)) {
    if (g_error_matches(failed, AIN_ERROR, AIN_ERROR_CANCELLED)) {
      g_propagate_error(error, g_steal_pointer(&failed));
      return STOPPED;
    }
    note(ask, target, address, explain(ask, failed, address != NULL));
    return after_failure(ask, error);
  }
  learn(leader, reply);
  if (reply->code == AIN_CODE_SUCCESS || ain_refusal_is_final(reply->code)) {
    return FINAL;
  }
  note(ask, target, address, describe(reply));
  return after_not_ready(ask, reply, error);
}

static void give_up(const Ask *ask, gint64 wait_ms, GError **error) {
  g_autoptr(GString) reasons = g_string_new(NULL);
  const GPtrArray *targets = ask->leader->targets;
  for (guint i = 0; i < targets->len; i++) {
    const Target *target = g_ptr_array_index(targets, i);
    if (target->reason != NULL) {
      g_autofree char *name = ain_cluster_endpoint_text(target->at.host, target->at.port);
      g_string_append_printf(reasons, "%s%s: %s", reasons->len > 0 ? "; " : "", name, target->reason);
    }
  }
  g_autofree char *waited =
      wait_ms > 0 ? g_strdup_printf(" within %.1f s", (double)wait_ms / 1000) : g_strdup(" (one try)");
  g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE,
              "%s failed: no ConfigNode could do it%s [%s]; check that the ConfigNode runs and that "
              "ain_seed_config_node names its cn_internal_address and cn_internal_port",
              ask->what, waited, reasons->len > 0 ? reasons->str : "none was tried");
}

gboolean ain_leader_ask(AinLeader *leader, const char *what, gint64 wait_ms, AinLeaderCall call,
                        gpointer data, AinReply *reply, GError **error) {
  Ask ask = { .leader = leader,
              .what = what,
              .call = call,
              .data = data,
              .one_try = wait_ms == 0,
              .deadline = wait_ms > 0 ? ain_loop_now() + wait_ms * MILLISECOND : G_MAXINT64,
              .back_off = FIRST_BACK_OFF };
  leader->lost_answer = FALSE;
  if (leader->config->internal_ssl && leader->tls == NULL) {
    leader->tls = ain_transport_tls(leader->config, error);
    if (leader->tls == NULL) {
      return FALSE;
    }
  }
  if (ask.one_try) {
    leader->current = 0;
  }
  for (;;) {
    g_autoptr(GError) stopped = NULL;
    Step step = leader->targets->len > 0 ? try_once(&ask, reply, &stopped) : STOPPED;
    if (step == FINAL) {
      return TRUE;
    }
    if (step == STOPPED) {
      ain_reply_clear(reply);
      if (stopped != NULL) {
        g_propagate_error(error, g_steal_pointer(&stopped));
      } else {
        give_up(&ask, wait_ms, error);
      }
      return FALSE;
    }
  }
}
