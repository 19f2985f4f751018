#include "session/status.h"

#include "base/error.h"

#include <string.h>

/* The numbers are the same in 2.0.1-beta, 2.0.5 and 2.0.10. */
enum {
  START_UP = 203,
  SHUT_DOWN = 204,
  UNSUPPORTED_DIALECT = 205,
  INTERNAL_SERVER = 305,
  DISPATCH = 306,
  NO_DATABASE = 500,
  STORAGE_NOT_READY = 602,
  TIME_ZONE = 702,
  NO_MEMORY = 709,
  INTERNAL_TIMEOUT = 712,
  INTERNAL_RETRY = 713,
  TOO_MANY_QUERIES = 717,
  NO_QUERY_MEMORY = 719,
  QUERY_TIMEOUT = 720,
  NETWORK_PARTITION = 721,
  WRONG_PASSWORD = 801,
  NOT_LOGGED_IN = 802,
  NO_USER = 804,
  USER_LOCKED = 822,
  PARTITION_CACHE = 903,
  CONSENSUS_NOT_READY = 904,
  LEADER_CHANGE = 905,
  NO_REGION = 906,
  NO_DATANODE = 1007,
  NO_CONFIGNODE = 1010,
  NO_REPLICA = 1012,
  LEADER_WARMING_UP = 1014,
  NO_CONSENSUS_GROUP = 2206,
  RATIS_UNAVAILABLE = 2207,
};

/* INTERNAL_SERVER is not among them: it is also what a broken statement meets, and needRetry tells. */
static gboolean is_passing(gint32 code) {
  static const gint32 passing[] = {
    START_UP,         SHUT_DOWN,           DISPATCH,          STORAGE_NOT_READY,  NO_MEMORY,
    INTERNAL_TIMEOUT, INTERNAL_RETRY,      TOO_MANY_QUERIES,  NO_QUERY_MEMORY,    NETWORK_PARTITION,
    PARTITION_CACHE,  CONSENSUS_NOT_READY, LEADER_CHANGE,     NO_REGION,          NO_DATANODE,
    NO_CONFIGNODE,    NO_REPLICA,          LEADER_WARMING_UP, NO_CONSENSUS_GROUP, RATIS_UNAVAILABLE,
  };
  for (gsize i = 0; i < G_N_ELEMENTS(passing); i++) {
    if (passing[i] == code) {
      return TRUE;
    }
  }
  return FALSE;
}

AinNodeVerdict ain_node_verdict(const AinNodeStatus *status) {
  if (status->code == AIN_NODE_SUCCESS || status->code == AIN_NODE_REDIRECT) {
    return AIN_NODE_DONE;
  }
  if (status->code == NOT_LOGGED_IN) {
    return AIN_NODE_EXPIRED;
  }
  return status->need_retry || is_passing(status->code) ? AIN_NODE_PASSING : AIN_NODE_FINAL;
}

static const char *advice(gint32 code) {
  switch (code) {
  case WRONG_PASSWORD:
  case NO_USER:
  case NOT_LOGGED_IN:
    return "; check ain_cluster_ingress_username and ain_cluster_ingress_password";
  case USER_LOCKED:
    return "; too many wrong passwords lock a user for a while: check ain_cluster_ingress_password, then "
           "wait";
  case TIME_ZONE:
    return "; check ain_cluster_ingress_time_zone";
  case UNSUPPORTED_DIALECT:
    return "; this DataNode knows the tree dialect only";
  case NO_DATABASE:
    return "; SHOW DATABASES lists those there are";
  default:
    return "";
  }
}

static int code_of_error(const AinNodeStatus *status) {
  if (status->code == QUERY_TIMEOUT) {
    return AIN_ERROR_TIMEOUT;
  }
  return ain_node_verdict(status) == AIN_NODE_PASSING ? AIN_ERROR_UNREACHABLE : AIN_ERROR_REJECTED;
}

/* ": " and the DataNode's sentence without its full stop. Owned. */
static char *quoted(const AinNodeStatus *status) {
  gsize size = strlen(status->message);
  gboolean stop = size > 0 && status->message[size - 1] == '.';
  return size == 0 ? g_strdup("") : g_strdup_printf(": %.*s", (int)(size - (stop ? 1 : 0)), status->message);
}

void ain_node_refused_login(const AinNodeStatus *status, const char *address,
                            const AinSessionOptions *options, GError **error) {
  g_autofree char *text = quoted(status);
  g_set_error(error, AIN_ERROR, code_of_error(status),
              "the DataNode %s refuses the login of user \"%s\" with code %d%s%s", address, options->username,
              status->code, text, advice(status->code));
}

void ain_node_refused_query(const AinNodeStatus *status, const char *address, GError **error) {
  g_autofree char *text = quoted(status);
  g_set_error(error, AIN_ERROR, code_of_error(status),
              "the DataNode %s refuses the statement with code %d%s%s", address, status->code, text,
              advice(status->code));
}
