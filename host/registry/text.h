/* Outside text in messages. Any thread. */
#pragma once
#include <glib.h>

/* Owned copy fit for a log line and a reply: valid UTF-8, without control characters, cut to a few hundred
 * bytes. */
char *ain_registry_show(const char *text, gssize size);
