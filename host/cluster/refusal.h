/* TSStatus codes that a ConfigNode answers this node with, and what an operator can do about a refusal. Pure.
 */
#pragma once
#include "cluster/client.h"
#include "config/config.h"

#include <glib.h>

#define AIN_CODE_SUCCESS 200
#define AIN_CODE_REDIRECT 400

/* TRUE: asking again will not help. Codes not known here count as passing: a release may add ways to say "not
 * yet" (as 1014 was), and the wait is bounded. */
gboolean ain_refusal_is_final(gint32 code);

/* The errors for a refusing reply, all REJECTED, each with what to do. path: the identity file. */
void ain_refusal_of_registration(const AinReply *reply, const AinConfig *config, const char *path,
                                 GError **error);
void ain_refusal_of_restart(const AinReply *reply, const AinConfig *config, gint32 node_id, const char *path,
                            GError **error);
void ain_refusal_of_removal(const AinReply *reply, gint32 node_id, GError **error);
