#include "runtime/load_text.h"

#include "base/text.h"

#include <string.h>

static void append_read_paths(GString *text, const char *paths) {
  g_auto(GStrv) parts = g_strsplit(paths != NULL ? paths : "", ":", -1);
  gboolean first = TRUE;
  g_string_append(text, ", \"read_paths\": [");
  for (char **part = parts; *part != NULL; part++) {
    if (**part != '\0') {
      g_string_append(text, first ? "" : ", ");
      ain_text_append_json(text, *part, strlen(*part));
      first = FALSE;
    }
  }
  g_string_append_c(text, ']');
}

gboolean ain_load_is_listed(const char *names, const char *name) {
  g_auto(GStrv) listed = g_strsplit(names != NULL ? names : "", ",", -1);
  for (char **one = listed; *one != NULL; one++) {
    if (g_str_equal(g_strstrip(*one), name)) {
      return TRUE;
    }
  }
  return FALSE;
}

char *ain_load_text(const AinWorkerSpec *spec, const char *read_paths, gboolean shut_in) {
  GString *text = g_string_new("{\"name\": ");
  ain_text_append_json(text, spec->name, strlen(spec->name));
  g_string_append(text, ", \"kind\": ");
  ain_text_append_json(text, spec->kind, strlen(spec->kind));
  g_string_append(text, ", \"directory\": ");
  ain_text_append_json(text, spec->directory, strlen(spec->directory));
  g_string_append_printf(
      text,
      ", \"dtype\": \"%s\", \"input_shape\": [%d, %d], \"output_shape\": [%d, %d], \"prove\": %s"
      ", \"template\": %s, \"memory_bytes\": %" G_GINT64_FORMAT
      ", \"threads\": %u, \"official_numbers\": %s, \"sandbox\": %s",
      ain_dtype_name(spec->dtype), spec->input_shape[0], spec->input_shape[1], spec->output_shape[0],
      spec->output_shape[1], spec->prove ? "true" : "false", spec->is_template != NULL ? "true" : "false",
      spec->memory_bytes, spec->threads, spec->official_numbers ? "true" : "false",
      shut_in ? "true" : "false");
  g_string_append(text, ", \"device\": ");
  ain_text_append_json(text, spec->device, strlen(spec->device));
  append_read_paths(text, read_paths);
  g_string_append_c(text, '}');
  return g_string_free(text, FALSE);
}
