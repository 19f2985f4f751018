/* What the operator reads, and what programs read. */
#include "ain-version.h"
#include "doctor/check.h"
#include "doctor/doctor.h"

#include <jansson.h>
#include <string.h>

#define WIDTH 100
#define INDENT 30 /* of the evidence: mark, verdict and name stand before it */
#define SCHEMA_VERSION 1

static const struct {
  const char *shown;
  const char *key;
  const char *colour;
} verdicts[AIN_VERDICT_COUNT] = {
  [AIN_VERDICT_OK] = { "ok", "ok", "\033[32m" },
  [AIN_VERDICT_WARNING] = { "warning", "warning", "\033[33m" },
  [AIN_VERDICT_ERROR] = { "ERROR", "error", "\033[31m" },
  [AIN_VERDICT_UNCHECKED] = { "not checked", "not checked", "\033[36m" },
};

static void count(const GPtrArray *findings, guint counts[AIN_VERDICT_COUNT]) {
  memset(counts, 0, sizeof(guint) * AIN_VERDICT_COUNT);
  for (guint i = 0; i < findings->len; i++) {
    counts[((const AinFinding *)g_ptr_array_index(findings, i))->verdict]++;
  }
}

/* --- text ------------------------------------------------------------------------------------------------
 */

/* Appends text broken at spaces, further lines indented; the first begins at `column`. */
static void append_wrapped(GString *out, const char *text, guint column, guint indent) {
  g_auto(GStrv) words = g_strsplit(text, " ", -1);
  gboolean first = TRUE;
  for (char **word = words; *word != NULL; word++) {
    guint size = (guint)g_utf8_strlen(*word, -1);
    if (!first && column + 1 + size > WIDTH) {
      g_string_append_printf(out, "\n%*s", (int)indent, "");
      column = indent;
    } else if (!first) {
      g_string_append_c(out, ' ');
      column++;
    }
    g_string_append(out, *word);
    column += size;
    first = FALSE;
  }
  g_string_append_c(out, '\n');
}

/* A command that fits stands on one line, so that it can be copied. */
static void append_mend(GString *out, const char *mend) {
  static const char head[] = "to mend: ";
  guint room = WIDTH - INDENT - (guint)strlen(head);
  guint indent = INDENT;
  if (g_utf8_strlen(mend, -1) > room) {
    indent = 4;
  }
  g_string_append_printf(out, "%*s%s", (int)indent, "", head);
  append_wrapped(out, mend, indent + (guint)strlen(head), indent + (guint)strlen(head));
}

static void append_finding(GString *out, const AinFinding *finding, gboolean colour) {
  const char *on = colour ? verdicts[finding->verdict].colour : "";
  const char *off = colour ? "\033[0m" : "";
  g_string_append_printf(out, "  %s%-11s%s %-14s  ", on, verdicts[finding->verdict].shown, off,
                         finding->check);
  append_wrapped(out, finding->evidence, INDENT, INDENT);
  if (finding->mend != NULL) {
    append_mend(out, finding->mend);
  }
}

static void append_verdict(GString *out, const GPtrArray *findings) {
  guint counts[AIN_VERDICT_COUNT];
  count(findings, counts);
  AinExit code = ain_doctor_exit_code(findings);
  g_string_append_printf(out, "\n%u checked, %u errors, %u warnings, %u not checked: ", findings->len,
                         counts[AIN_VERDICT_ERROR], counts[AIN_VERDICT_WARNING],
                         counts[AIN_VERDICT_UNCHECKED]);
  if (counts[AIN_VERDICT_ERROR] > 0) {
    g_string_append_printf(out, "not fit (exit code %d)\n", (int)code);
  } else if (counts[AIN_VERDICT_WARNING] > 0) {
    g_string_append_printf(out, "fit, with warnings (exit code %d)\n", (int)code);
  } else {
    g_string_append(out, "fit\n");
  }
}

char *ain_doctor_text(const AinDoctorRequest *request, const GPtrArray *findings, gboolean colour) {
  GString *out = g_string_new(NULL);
  g_autofree char *home = ain_doctor_printable(request->home);
  g_string_append_printf(out, "AINode %s in %s\n", AIN_VERSION, home);
  if (request->quick) {
    g_string_append(out, "A quick look: no Python, no network.\n");
  }
  const char *group = "";
  for (guint i = 0; i < findings->len; i++) {
    const AinFinding *finding = g_ptr_array_index(findings, i);
    if (strcmp(finding->group, group) != 0) {
      group = finding->group;
      g_string_append_printf(out, "\n%s\n", group);
    }
    append_finding(out, finding, colour);
  }
  append_verdict(out, findings);
  return g_string_free(out, FALSE);
}

char *ain_doctor_complaints(const GPtrArray *findings, const char *said) {
  GString *out = g_string_new(NULL);
  for (guint i = 0; i < findings->len; i++) {
    const AinFinding *finding = g_ptr_array_index(findings, i);
    if (finding->verdict == AIN_VERDICT_ERROR && strcmp(finding->evidence, said) != 0) {
      append_finding(out, finding, FALSE);
    }
  }
  return g_string_free(out, out->len == 0);
}

/* --- JSON ------------------------------------------------------------------------------------------------
 */

static json_t *text_or_null(const char *text) {
  return text == NULL ? json_null() : json_string(text);
}

static json_t *finding_json(const AinFinding *finding) {
  return json_pack("{s:s, s:s, s:s, s:o, s:o}", "group", finding->group, "check", finding->check, "verdict",
                   verdicts[finding->verdict].key, "evidence", text_or_null(finding->evidence), "mend",
                   text_or_null(finding->mend));
}

char *ain_doctor_json(const AinDoctorRequest *request, const GPtrArray *findings) {
  guint counts[AIN_VERDICT_COUNT];
  count(findings, counts);
  AinVerdict worst = counts[AIN_VERDICT_ERROR] > 0     ? AIN_VERDICT_ERROR
                     : counts[AIN_VERDICT_WARNING] > 0 ? AIN_VERDICT_WARNING
                                                       : AIN_VERDICT_OK;
  json_t *list = json_array();
  for (guint i = 0; i < findings->len; i++) {
    json_array_append_new(list, finding_json(g_ptr_array_index(findings, i)));
  }
  g_autoptr(GDateTime) now = g_date_time_new_now_utc();
  g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");
  g_autofree char *home = g_utf8_make_valid(request->home, -1);
  json_t *counted = json_object();
  for (int verdict = 0; verdict < AIN_VERDICT_COUNT; verdict++) {
    json_object_set_new(counted, verdicts[verdict].key, json_integer((json_int_t)counts[verdict]));
  }
  json_t *root = json_pack("{s:i, s:s, s:s, s:s, s:b, s:s, s:i, s:o, s:o}", "schema", SCHEMA_VERSION,
                           "ainode", AIN_VERSION, "time", time, "home", home, "quick", request->quick,
                           "verdict", verdicts[worst].key, "exit_code", (int)ain_doctor_exit_code(findings),
                           "counts", counted, "findings", list);
  char *dumped = json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII);
  char *text = g_strconcat(dumped, "\n", NULL);
  free(dumped);
  json_decref(root);
  return text;
}
