#include "base/text.h"

void ain_text_append_json(GString *out, const char *value, gsize size) {
  g_autofree char *valid = g_utf8_make_valid(value, (gssize)size);
  g_string_append_c(out, '"');
  for (const char *at = valid; *at != '\0'; at++) {
    unsigned char byte = (unsigned char)*at;
    if (byte == '"' || byte == '\\') {
      g_string_append_c(out, '\\');
      g_string_append_c(out, *at);
    } else if (byte < 0x20 || byte == 0x7f) {
      g_string_append_printf(out, "\\u%04x", byte);
    } else {
      g_string_append_c(out, *at);
    }
  }
  g_string_append_c(out, '"');
}

char *ain_text_printable(const char *text, const char *kept) {
  g_autofree char *valid = g_utf8_make_valid(text, -1);
  GString *out = g_string_new(NULL);
  for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
    gunichar character = g_utf8_get_char(at);
    gboolean shown = g_unichar_isprint(character) || g_utf8_strchr(kept, -1, character) != NULL;
    g_string_append_unichar(out, shown ? character : ' ');
  }
  return g_string_free(out, FALSE);
}
