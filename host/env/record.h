/* What probe.py answers: finding the block in the output, reading it, judging it. No I/O but for looking at
 * the ELF files it names. Any thread. */
#pragma once
#include "env/env.h"

#include <glib.h>

/* The lines between the markers that carry `word`, or NULL. Owned. */
char *ain_env_record_find(const char *output, gsize size, const char *word);
/* The value of the first such line with this key; NULL: there is none, or its escapes are broken. Owned. */
char *ain_env_record_value(const char *record, const char *key);

/* Reads such lines. asked: as the operator wrote it. NULL where a line or value breaks the format or what is
 * needed is missing. */
AinInterpreter *ain_env_record_parse(const char *record, const char *asked);

/* Whether models can run with it at all. Errors: ENVIRONMENT. */
gboolean ain_env_record_judge(const AinInterpreter *interpreter, GError **error);
