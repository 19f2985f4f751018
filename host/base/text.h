/* Small text helpers. Any thread. */
#pragma once
#include <glib.h>

/* Appends value as a JSON string with its quotes; invalid UTF-8 is replaced, control characters escaped. */
void ain_text_append_json(GString *out, const char *value, gsize size);

/* Owned: valid UTF-8 of which a terminal shows each character; what else is in `text` (escape sequences,
 * direction marks) becomes spaces, but for the characters in `kept`. */
char *ain_text_printable(const char *text, const char *kept);
