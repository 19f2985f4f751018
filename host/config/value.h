/* One value: checking its text against its row, storing it, showing it. Private to host/config. Any thread.
 */
#pragma once
#include "config/table.h"

/* What the row allows, for messages and the manual ("an integer from 1 to 65535"). Owned. */
char *ain_value_allowed(const AinKey *key);

/* Checks text against the row and, with config not NULL, stores it in the row's field; relative paths start
 * at config->home. Errors: INVALID, with the bare complaint ("is no number"). */
gboolean ain_value_set(const AinKey *key, const char *text, AinConfig *config, GError **error);

/* The value for a message: quoted and shortened, or hidden for a secret. Owned. */
char *ain_value_quote(const AinKey *key, const char *text);

/* What stands in the row's field, as it would be written, secrets hidden; text is what was given, for rows
 * without a field. Owned. */
char *ain_value_show(const AinKey *key, const AinConfig *config, const char *text);
