#include "registry/pipeline_config.h"

#include "base/error.h"
#include "registry/builtin.h"
#include "registry/internal.h"
#include "registry/model_config.h"
#include "registry/text.h"
#include "registry/weights.h"

#include <jansson.h>
#include <string.h>

#define TYPE_MAX 200

/* What authors write; kept apart from what is printed elsewhere. */
static const char *const DTYPE_NAMES[AIN_DTYPE_COUNT] = {
  [AIN_DTYPE_BOOL] = "bool",       [AIN_DTYPE_INT32] = "int32",     [AIN_DTYPE_INT64] = "int64",
  [AIN_DTYPE_FLOAT32] = "float32", [AIN_DTYPE_FLOAT64] = "float64",
};

G_GNUC_PRINTF(3, 4)
static gboolean refuse(GError **error, const char *shown, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *reason = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_CONFIG, "%s: %s", shown, reason);
  return FALSE;
}

/* The text of a key, NULL where it is absent, null or empty; FALSE when it is something else. Borrowed. */
static gboolean read_text(const json_t *fields, const char *key, const char *shown, const char **text,
                          GError **error) {
  const json_t *value = json_object_get(fields, key);
  *text = NULL;
  if (value == NULL || json_is_null(value)) {
    return TRUE;
  }
  if (!json_is_string(value) || json_string_length(value) > TYPE_MAX
      || strlen(json_string_value(value)) != json_string_length(value)) {
    return refuse(error, shown, "%s is no text of at most %d characters", key, TYPE_MAX);
  }
  *text = json_string_value(value)[0] == '\0' ? NULL : json_string_value(value);
  return TRUE;
}

/* [rows, columns], both positive; 0, 0 where it is absent. */
static gboolean read_shape(const json_t *fields, const char *key, const char *shown, gint32 shape[2],
                           GError **error) {
  const json_t *value = json_object_get(fields, key);
  shape[0] = shape[1] = 0;
  if (value == NULL || json_is_null(value)) {
    return TRUE;
  }
  for (gsize i = 0; i < 2; i++) {
    const json_t *size = json_array_get(value, i);
    if (json_array_size(value) != 2 || !json_is_integer(size) || json_integer_value(size) < 1
        || json_integer_value(size) > AIN_CONFIG_MAX_ELEMENTS) {
      return refuse(error, shown, "%s is not [rows, columns], two whole numbers from 1 on", key);
    }
    shape[i] = (gint32)json_integer_value(size);
  }
  if ((gint64)shape[0] * shape[1] > AIN_CONFIG_MAX_ELEMENTS) {
    return refuse(error, shown, "%s asks for more than %u values", key, AIN_CONFIG_MAX_ELEMENTS);
  }
  return TRUE;
}

/* Element type of the input: as asked for, else float32 as in the official releases; arrays, which have no
 * weights of float32 to meet, are float64. */
static gboolean read_dtype(const json_t *fields, const char *shown, AinDType *dtype, GError **error) {
  const char *type = NULL;
  const char *framework = NULL;
  const char *weights = NULL;
  if (!read_text(fields, "input_type", shown, &type, error)
      || !read_text(fields, "framework", shown, &framework, error)
      || !read_text(fields, "torch_dtype", shown, &weights, error)) {
    return FALSE;
  }
  if (framework != NULL && strcmp(framework, "torch") != 0 && strcmp(framework, "numpy") != 0) {
    g_autofree char *given = ain_registry_show(framework, -1);
    return refuse(error, shown, "framework is %s; torch and numpy are known", given);
  }
  gboolean wide = g_strcmp0(framework, "numpy") == 0 || g_strcmp0(weights, "float64") == 0;
  *dtype = wide ? AIN_DTYPE_FLOAT64 : AIN_DTYPE_FLOAT32;
  for (guint i = 0; type != NULL && i < AIN_DTYPE_COUNT; i++) {
    if (strcmp(DTYPE_NAMES[i], type) == 0) {
      *dtype = (AinDType)i;
      return TRUE;
    }
  }
  if (type != NULL) {
    g_autofree char *given = ain_registry_show(type, -1);
    return refuse(error, shown, "input_type is %s; bool, int32, int64, float32 and float64 are known", given);
  }
  return TRUE;
}

static gboolean is_identifier(const char *text, gsize size) {
  for (gsize i = 0; i < size; i++) {
    if (!g_ascii_isalpha(text[i]) && text[i] != '_' && !((guchar)text[i] & 0x80U)
        && (i == 0 || !g_ascii_isdigit(text[i]))) {
      return FALSE;
    }
  }
  return size > 0;
}

/* <file>.<Class>; the file may lie in folders: <folder>.<file>.<Class>. */
static gboolean check_class(const AinSource *source, const char *key, const char *name, const char *shown,
                            GError **error) {
  g_auto(GStrv) parts = g_strsplit(name, ".", -1);
  guint count = g_strv_length(parts);
  g_autofree char *given = ain_registry_show(name, -1);
  gboolean sound = count >= 2;
  for (guint i = 0; i < count; i++) {
    sound = sound && is_identifier(parts[i], strlen(parts[i]));
  }
  if (!sound) {
    return refuse(error, shown, "%s is \"%s\"; <file>.<Class> was expected, as in pipeline_mine.MyPipeline",
                  key, given);
  }
  g_clear_pointer(&parts[count - 1], g_free);
  g_autofree char *stem = g_strjoinv("/", parts);
  g_autofree char *file = g_strconcat(stem, ".py", NULL);
  g_autofree char *package = g_strconcat(stem, "/__init__.py", NULL);
  return ain_source_has(source, file) || ain_source_has(source, package)
         || refuse(error, shown, "%s is \"%s\", but %s is not among its files", key, given, file);
}

static gboolean fill(AinModel *model, const AinSource *source, const json_t *fields, const char *shown,
                     GError **error) {
  const char *mixin = NULL;
  if (!read_text(fields, "hub_mixin_cls", shown, &mixin, error)
      || (mixin != NULL && !check_class(source, "hub_mixin_cls", mixin, shown, error))
      || !read_shape(fields, "input_shape", shown, model->input_shape, error)
      || !read_shape(fields, "output_shape", shown, model->output_shape, error)) {
    return FALSE;
  }
  return model->kind != AIN_KIND_PIPELINE || read_dtype(fields, shown, &model->dtype, error);
}

static AinModel *make_model(const char *id, const AinSource *source, const json_t *fields, const char *shown,
                            GError **error) {
  const char *pipeline = NULL;
  const char *type = NULL;
  AinModelKind kind = AIN_KIND_PIPELINE;
  if (!read_text(fields, "pipeline_cls", shown, &pipeline, error)
      || !read_text(fields, "model_type", shown, &type, error)) {
    return NULL;
  }
  if (pipeline == NULL && (type == NULL || !ain_builtin_kind_of(type, &kind))) {
    refuse(
        error, shown,
        "it has no pipeline_cls, which names the class to run as <file>.<Class>; without one model_type must "
        "be timer or sundial, which this AINode runs itself");
    return NULL;
  }
  if (pipeline != NULL && !check_class(source, "pipeline_cls", pipeline, shown, error)) {
    return NULL;
  }
  if (pipeline == NULL && !ain_source_has(source, AIN_WEIGHTS_FILE)) {
    refuse(error, shown, AIN_WEIGHTS_FILE " is not beside it");
    return NULL;
  }
  g_autoptr(AinModel) model = ain_builtin_model_new(id, kind, source->directory, AIN_CATEGORY_USER);
  model->proven = FALSE;
  model->max_batch = pipeline != NULL ? 1 : model->max_batch;
  model->type = g_strdup(type);
  return fill(model, source, fields, shown, error) ? g_steal_pointer(&model) : NULL;
}

AinModel *ain_pipeline_model_new(const char *id, const AinSource *source, const char *shown, GError **error) {
  gsize size = 0;
  const char *text = g_bytes_get_data(source->config_bytes, &size);
  json_error_t problem;
  json_t *fields = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
  AinModel *model = NULL;
  if (fields == NULL) {
    g_autofree char *said = ain_registry_show(problem.text, -1);
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID_CONFIG, "%s, line %d: it is no JSON text (%s)", shown,
                problem.line, said);
  } else if (!json_is_object(fields)) {
    refuse(error, shown, "it is no JSON object");
  } else {
    model = make_model(id, source, fields, shown, error);
  }
  json_decref(fields);
  return model;
}
