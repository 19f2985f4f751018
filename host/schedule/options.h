/* Options of a request to a built-in or large model: how many rows are asked for, and the rest as JSON text
 * for the worker, which knows the model's attributes. Loop thread. */
#pragma once
#include "registry/registry.h"
#include "rpc/call.h"
#include "tsblock/tsblock.h"

#include <glib.h>

/* What a request says about nulls, with the option `nulls`; *policy stays as it is where it says nothing.
 * Errors: INVALID. */
gboolean ain_options_nulls(const AinRequest *request, AinNullPolicy *policy, GError **error);

/* Whether the request to a user's model says acceleration=true. */
gboolean ain_options_accelerate(const AinRequest *request);
/* What the worker gets then: any text means it. */
#define AIN_OPTIONS_ACCELERATE "{\"acceleration\": \"true\"}"

/* *length: rows asked for, 0 when the request says none. *text: owned JSON object of texts, with the caller's
 * family as "ainode_family". Errors: INVALID (a length out of range, in the words of the official node),
 * TOO_LARGE. */
gboolean ain_options_read(const AinModel *model, const AinCall *call, gint32 *length, char **text,
                          GError **error);
