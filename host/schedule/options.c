#include "schedule/options.h"

#include "base/error.h"
#include "base/text.h"

#include <string.h>

/* Of all names and values together. */
#define OPTIONS_MAX_BYTES ((gsize)64 * 1024)
#define LENGTH_MAX_EARLY 5000
#define LENGTH_MAX 2880
#define SHOWN_MAX 64

static gboolean names_one(AinSlice key, const char *const *names) {
  for (; *names != NULL; names++) {
    if (strlen(*names) == key.size && g_ascii_strncasecmp(*names, (const char *)key.data, key.size) == 0) {
      return TRUE;
    }
  }
  return FALSE;
}

/* The node's own business, or another name of what is said elsewhere: not the model's. */
static gboolean is_ours(AinSlice key) {
  static const char *const names[] = { "acceleration", "ainode_family", "ainode_task", "nulls", NULL };
  return names_one(key, names);
}

gboolean ain_options_accelerate(const AinRequest *request) {
  static const char *const names[] = { "acceleration", NULL };
  static const char *const yes[] = { "true", NULL };
  for (guint i = 0; i < request->n_options; i++) {
    if (names_one(request->options[i].key, names)) {
      return names_one(request->options[i].value, yes);
    }
  }
  return FALSE;
}

static gboolean is_length(AinSlice key) {
  static const char *const names[] = { "predict_length", "output_length", "outputLength", NULL };
  return names_one(key, names);
}

/* The statistical models of 2.0.1 to 2.0.7 go up to 5000, all else to 2880. */
static gint32 longest(const AinModel *model, AinFamily family) {
  gboolean early = family < AIN_FAMILY_F || (family == AIN_FAMILY_F && model->kind == AIN_KIND_STATISTICAL);
  return early ? LENGTH_MAX_EARLY : LENGTH_MAX;
}

static gboolean refuse_length(const AinModel *model, AinFamily family, const char *given, GError **error) {
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
              "Attribute %s expect value between 1 and %d, got %s instead.",
              family >= AIN_FAMILY_G ? "output_length" : "predict_length", longest(model, family), given);
  return FALSE;
}

static gboolean read_length(const AinModel *model, AinFamily family, AinSlice value, gint32 *length,
                            GError **error) {
  g_autofree char *given = ain_slice_dup((AinSlice){ value.data, MIN(value.size, SHOWN_MAX) });
  g_autofree char *text = g_utf8_make_valid(given, -1);
  gint64 number = 0;
  if (value.size > SHOWN_MAX
      || !g_ascii_string_to_signed(g_strstrip(text), 10, 1, longest(model, family), &number, NULL)) {
    return refuse_length(model, family, text, error);
  }
  *length = (gint32)number;
  return TRUE;
}

gboolean ain_options_nulls(const AinRequest *request, AinNullPolicy *policy, GError **error) {
  static const char *const names[] = { "nulls", NULL };
  static const struct {
    const char *name;
    AinNullPolicy policy;
  } policies[] = { { "zero", AIN_NULLS_ZERO },
                   { "interpolate", AIN_NULLS_INTERPOLATE },
                   { "error", AIN_NULLS_ERROR } };
  for (guint i = 0; i < request->n_options; i++) {
    AinSlice value = request->options[i].value;
    gboolean known = !names_one(request->options[i].key, names);
    for (guint k = 0; !known && k < G_N_ELEMENTS(policies); k++) {
      const char *const one[] = { policies[k].name, NULL };
      known = names_one(value, one);
      *policy = known ? policies[k].policy : *policy;
    }
    if (!known) {
      g_autofree char *given = ain_slice_dup((AinSlice){ value.data, MIN(value.size, SHOWN_MAX) });
      g_autofree char *text = g_utf8_make_valid(given, -1);
      g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                  "Attribute nulls expect one of zero, interpolate, error, got %s instead.", text);
      return FALSE;
    }
  }
  return TRUE;
}

static void append_pair(GString *json, const char *key, gsize key_size, const char *value, gsize value_size) {
  g_string_append(json, json->len > 1 ? ", " : "");
  ain_text_append_json(json, key, key_size);
  g_string_append(json, ": ");
  ain_text_append_json(json, value, value_size);
}

gboolean ain_options_read(const AinModel *model, const AinCall *call, gint32 *length, char **text,
                          GError **error) {
  const AinRequest *request = ain_call_request(call);
  AinFamily family = ain_call_family(call);
  gboolean forecast = request->method == AIN_METHOD_FORECAST;
  g_autoptr(GString) json = g_string_new("{");
  gsize total = 0;
  *length = 0;
  for (guint i = 0; i < request->n_options; i++) {
    AinSlice key = request->options[i].key;
    AinSlice value = request->options[i].value;
    total += key.size + value.size;
    if (total > OPTIONS_MAX_BYTES) {
      g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                  "the options of the request have more than %" G_GSIZE_FORMAT " bytes", OPTIONS_MAX_BYTES);
      return FALSE;
    }
    if (is_length(key)) {
      /* FORECAST says it with OUTPUT_LENGTH, and the server counts the rows of the answer. */
      if (!forecast && !read_length(model, family, value, length, error)) {
        return FALSE;
      }
    } else if (!is_ours(key)) {
      append_pair(json, (const char *)key.data, key.size, (const char *)value.data, value.size);
    }
  }
  if (forecast) {
    if (request->output_length < 1 || request->output_length > longest(model, family)) {
      g_autofree char *given = g_strdup_printf("%d", request->output_length);
      return refuse_length(model, family, given, error);
    }
    *length = request->output_length;
  }
  if (request->method == AIN_METHOD_CLASSIFY) {
    append_pair(json, "ainode_task", strlen("ainode_task"), "classify", strlen("classify"));
  }
  char letter = "ACDEFGH"[g_bit_nth_lsf((gulong)family, -1)];
  append_pair(json, "ainode_family", strlen("ainode_family"), &letter, 1);
  g_string_append_c(json, '}');
  *text = g_string_free(g_steal_pointer(&json), FALSE);
  return TRUE;
}
