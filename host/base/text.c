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
