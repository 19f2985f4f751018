/* Outside text in messages: see text.h. */
#include "registry/text.h"

#include <string.h>

/* A path or uri of usual length stays whole. */
#define SHOWN_BYTES 400

char *ain_registry_show(const char *text, gssize size) {
  gsize length = size < 0 ? strlen(text) : (gsize)size;
  gboolean cut = length > SHOWN_BYTES;
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)MIN(length, SHOWN_BYTES));
  GString *shown = g_string_new(NULL);
  for (const char *at = valid; *at != 0; at = g_utf8_next_char(at)) {
    gunichar character = g_utf8_get_char(at);
    g_string_append_unichar(shown, g_unichar_iscntrl(character) ? '?' : character);
  }
  if (cut) {
    g_string_append(shown, "...");
  }
  return g_string_free(shown, FALSE);
}
