/* The table as the manual page iotdb-ainode.properties(5). */
#include "config/load.h"
#include "config/value.h"

static const char HEAD[] =
    ".\\\" Generated from host/config/table.c by test_config_generated --write; do not edit.\n"
    ".TH IOTDB-AINODE.PROPERTIES 5 \"\" \"iotdb-ainode\" \"File Formats\"\n"
    ".SH NAME\n"
    "iotdb-ainode.properties \\- configuration of the AINode of Apache IoTDB\n"
    ".SH DESCRIPTION\n"
    "Read by\n.BR ainode (1)\n"
    "from the folder conf of the installation. A line is key=value; lines that begin with # or ! are "
    "comments.\n"
    "The environment overrides the file: the key in capitals. The command line overrides both:\n"
    ".B \\-D\nkey=value. A bad line or value stops the start with file, line and key. Relative paths start "
    "at the\n"
    "installation directory.\n";

/* What roff would take for a command or an escape. */
static void append_text(GString *out, const char *text) {
  if (*text == '.' || *text == '\'') {
    g_string_append(out, "\\&");
  }
  for (const char *c = text; *c != '\0'; c++) {
    if (*c == '\\') {
      g_string_append(out, "\\e");
    } else if (*c == '-') {
      g_string_append(out, "\\-");
    } else {
      g_string_append_c(out, *c);
    }
  }
}

static void append_key(GString *out, const AinKey *key) {
  g_autofree char *allowed = ain_value_allowed(key);
  g_string_append(out, ".TP\n.B ");
  append_text(out, key->name);
  g_string_append_c(out, '=');
  append_text(out, key->initial);
  g_string_append_c(out, '\n');
  append_text(out, key->doc);
  g_string_append(out, "\nAllowed: ");
  append_text(out, allowed);
  g_string_append(out, ".\n");
  if (key->alias != NULL) {
    g_string_append(out, "Also known as ");
    append_text(out, key->alias);
    g_string_append(out, ".\n");
  }
}

char *ain_config_man(void) {
  g_autoptr(GString) out = g_string_new(HEAD);
  for (guint section = 0; section < AIN_SECTION_COUNT; section++) {
    g_string_append(out, ".SH ");
    g_autofree char *title = g_ascii_strup(ain_section_title(section), -1);
    append_text(out, title);
    g_string_append_c(out, '\n');
    for (guint i = 0; i < ain_n_keys; i++) {
      if (ain_keys[i].section == section) {
        append_key(out, &ain_keys[i]);
      }
    }
  }
  g_string_append(out, ".SH SEE ALSO\n.BR ainode (1)\n");
  return g_string_free(g_steal_pointer(&out), FALSE);
}
