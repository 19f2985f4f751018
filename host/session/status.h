/* TSStatus codes that a DataNode answers a session with, and what follows from them. Pure; any thread. */
#pragma once
#include "session/data_node.h"

#define AIN_NODE_SUCCESS 200
#define AIN_NODE_REDIRECT 400 /* the rows are valid; another DataNode would have been nearer */

typedef enum {
  AIN_NODE_DONE,    /* what was asked is there */
  AIN_NODE_EXPIRED, /* the session is unknown (any more): log in again */
  AIN_NODE_PASSING, /* starting, stopping, electing, overloaded: this or another DataNode may do it later */
  AIN_NODE_FINAL,   /* asking again will not help */
} AinNodeVerdict;

AinNodeVerdict ain_node_verdict(const AinNodeStatus *status);

/* The errors for a status that is not DONE: REJECTED for FINAL, TIMEOUT for a query that the DataNode ended
 * because of its time, otherwise UNREACHABLE. address: of the DataNode. */
void ain_node_refused_login(const AinNodeStatus *status, const char *address,
                            const AinSessionOptions *options, GError **error);
void ain_node_refused_query(const AinNodeStatus *status, const char *address, GError **error);
