/* Small text helpers. Any thread. */
#pragma once
#include <glib.h>

/* Appends value as a JSON string with its quotes; invalid UTF-8 is replaced, control characters escaped. */
void ain_text_append_json(GString *out, const char *value, gsize size);
