/* What the table tells people: `ainode config`, the shipped file, the manual page. */
#include "config/load.h"
#include "config/value.h"

#include <string.h>

#define COMMENT_WIDTH 100
#define VALUE_COLUMN 60

char *ain_config_print(const AinConfig *config) {
  g_autoptr(GString) out = g_string_new(NULL);
  g_string_append_printf(out, "# installation directory: %s\n", config->home);
  for (guint i = 0; i < ain_n_keys; i++) {
    const AinKey *key = &ain_keys[i];
    const struct AinOrigin *origin = config->origins != NULL ? &config->origins[i] : NULL;
    g_autofree char *value = ain_value_show(key, config, origin != NULL ? origin->text : key->initial);
    g_autofree char *setting = g_strdup_printf("%s=%s", key->name, value);
    g_string_append_printf(out, "%-*s # %s", VALUE_COLUMN, setting,
                           origin != NULL ? origin->source : "set by the program");
    if (origin != NULL && !g_str_equal(origin->spelled, key->name)) {
      g_string_append_printf(out, ", as %s", origin->spelled);
    }
    g_string_append_c(out, '\n');
  }
  return g_string_free(g_steal_pointer(&out), FALSE);
}

/* "# " before each line; breaks between words. */
static void append_comment(GString *out, const char *text) {
  g_auto(GStrv) words = g_strsplit(text, " ", -1);
  gsize width = 0;
  for (guint i = 0; words[i] != NULL; i++) {
    gsize size = strlen(words[i]);
    if (width > 0 && width + 1 + size > COMMENT_WIDTH) {
      g_string_append_c(out, '\n');
      width = 0;
    }
    g_string_append(out, width == 0 ? "# " : " ");
    g_string_append(out, words[i]);
    width += size + (width == 0 ? 2 : 1);
  }
  g_string_append_c(out, '\n');
}

static char *since_of(const AinKey *key) {
  gboolean release = g_ascii_isdigit(key->since[0]);
  return g_strdup_printf("%s%s", release ? "since " : "of ", key->since);
}

static void append_key(GString *out, const AinKey *key) {
  g_autofree char *allowed = ain_value_allowed(key);
  g_autofree char *since = since_of(key);
  g_autofree char *facts = key->alias != NULL ? g_strdup_printf("Allowed: %s. Key %s; also known as %s.",
                                                                allowed, since, key->alias)
                                              : g_strdup_printf("Allowed: %s. Key %s.", allowed, since);
  g_string_append_c(out, '\n');
  append_comment(out, key->doc);
  append_comment(out, facts);
  g_string_append_printf(out, "%s%s=%s\n", (key->flags & AIN_KEY_SHIPPED) != 0 ? "" : "# ", key->name,
                         key->initial);
}

static const char *const TEMPLATE_HEAD[] = {
  "Configuration of the AINode. Generated from the table in host/config/table.c; the manual is "
  "docs/CONFIGURATION.md.",
  "A line is key=value. A line that begins with '#' or '!' is a comment; the lines below that are comments "
  "show the default. A bad line or value stops the start.",
  "The environment overrides this file: the key in capitals, e.g. AIN_SEED_CONFIG_NODE or CLUSTER_NAME.",
  "Relative paths start at the installation directory (IOTDB_AINODE_HOME overrides which that is).",
};

char *ain_config_properties_template(void) {
  g_autoptr(GString) out = g_string_new(NULL);
  for (guint i = 0; i < G_N_ELEMENTS(TEMPLATE_HEAD); i++) {
    append_comment(out, TEMPLATE_HEAD[i]);
  }
  for (guint section = 0; section < AIN_SECTION_COUNT; section++) {
    g_string_append_printf(out, "\n####################\n### %s\n####################\n",
                           ain_section_title(section));
    for (guint i = 0; i < ain_n_keys; i++) {
      if (ain_keys[i].section == section) {
        append_key(out, &ain_keys[i]);
      }
    }
  }
  return g_string_free(g_steal_pointer(&out), FALSE);
}

static const char MARKDOWN_HEAD[] =
    "# Configuration\n\n"
    "<!-- Generated from host/config/table.c by `test_config_generated --write`; do not edit. -->\n\n"
    "The node reads `conf/iotdb-ainode.properties` in its installation directory. Each source overrides the\n"
    "one before it: default, file, environment, command line.\n\n"
    "- A line is `key=value`. Lines that begin with `#` or `!` are comments. Surrounding double quotes are\n"
    "  stripped; the escapes `\\\\ \\: \\= \\# \\! \\\" \\t \\n \\r \\f \\uXXXX` are undone. The file is "
    "UTF-8, "
    "at most\n"
    "  1 MiB, a line at most 8192 bytes.\n"
    "- A bad line or value, or one setting with two values, stops the start with the file, the line, the "
    "key,\n"
    "  the value and what is allowed. An unknown key is a warning that names the known one it resembles.\n"
    "- In the environment a key is written in capitals: `AIN_SEED_CONFIG_NODE`, `CLUSTER_NAME`. An empty\n"
    "  variable counts as not set.\n"
    "- Relative paths start at the installation directory: `IOTDB_AINODE_HOME`, or else the folder above\n"
    "  `lib/ainode`.\n"
    "- `ain_system_dir` and `ain_models_dir` left at their defaults mean `data/ainode`; where `data/AINode`\n"
    "  (the manual's spelling) alone exists, that is used; where both exist, the start is refused.\n"
    "- `ainode config` prints every key with its value and where the value came from; passwords are "
    "hidden.\n";

/* The text with '|' escaped, so that it stays in its cell. */
static char *cell(const char *text) {
  g_auto(GStrv) parts = g_strsplit(text, "|", -1);
  return g_strjoinv("\\|", parts);
}

static void append_row(GString *out, const AinKey *key) {
  g_autofree char *allowed = ain_value_allowed(key);
  g_autofree char *allowed_cell = cell(allowed);
  g_autofree char *doc = cell(key->doc);
  g_string_append_printf(out, "| `%s`", key->name);
  if (key->alias != NULL) {
    g_string_append_printf(out, ", also `%s`", key->alias);
  }
  g_string_append_printf(out, *key->initial != '\0' ? " | `%s`" : " | %s",
                         *key->initial != '\0' ? key->initial : "(empty)");
  g_string_append_printf(out, " | %s | %s | %s |\n", allowed_cell, key->since, doc);
}

char *ain_config_markdown(void) {
  g_autoptr(GString) out = g_string_new(MARKDOWN_HEAD);
  for (guint section = 0; section < AIN_SECTION_COUNT; section++) {
    g_string_append_printf(
        out, "\n## %s\n\n| key | default | allowed | since | meaning |\n|---|---|---|---|---|\n",
        ain_section_title(section));
    for (guint i = 0; i < ain_n_keys; i++) {
      if (ain_keys[i].section == section) {
        append_row(out, &ain_keys[i]);
      }
    }
  }
  return g_string_free(g_steal_pointer(&out), FALSE);
}
