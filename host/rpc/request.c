#include "rpc/request.h"

#include "base/error.h"

#include <stdlib.h>

#define FAMILIES_AC (AIN_FAMILY_A | AIN_FAMILY_C)
#define FAMILIES_DEF (AIN_FAMILY_D | AIN_FAMILY_E | AIN_FAMILY_F)
#define FAMILIES_GH (AIN_FAMILY_G | AIN_FAMILY_H)
#define FAMILIES_FGH (AIN_FAMILY_F | FAMILIES_GH)
#define FAMILIES_EFGH (AIN_FAMILY_E | FAMILIES_FGH)
#define FAMILIES_CDEF (AIN_FAMILY_C | FAMILIES_DEF)
#define FAMILIES_DEFGH (FAMILIES_DEF | FAMILIES_GH)
#define NEWEST AIN_FAMILY_H

typedef struct {
  AinSlice name;
  gint32 index;
} ColumnIndex;

typedef struct {
  AinReader *reader;
  AinRequestStore *store;
  AinRequest *request;
  AinFamily release;
  guint accepted; /* bits of the method's rules that a field was read by */
  AinSlice first; /* registerModel's two strings as they came */
  AinSlice second;
  AinSlice *names; /* columnNameList; owned */
  guint n_names;
  ColumnIndex *indexes; /* columnNameIndexMap; owned */
  guint n_indexes;
  GError **error;
} Decoder;

/* What a field may be. The same id stands once for each type that some release gives it. */
typedef struct Rule {
  gint16 id;
  AinThriftType type;
  AinFamilies families; /* that send the field with this type */
  AinFamilies required; /* that cannot leave it out */
  const char *name;
  gboolean (*read)(Decoder *decoder, const struct Rule *rule);
} Rule;

#define MAX_RULES 11 /* with the entry that ends them */

typedef struct {
  const char *name;
  AinFamilies families;
  gboolean has_argument;
  Rule rules[MAX_RULES]; /* ends with an entry without a name */
  gboolean (*finish)(Decoder *decoder);
} Method;

static const Method methods[AIN_METHOD_COUNT];

/* --- errors ----------------------------------------------------------------------------------------------
 */

#define ADVICE "; check what program sends to this port"

static gboolean refuse_size(Decoder *d, const Rule *rule, const char *what, gsize size, gsize limit) {
  g_set_error(d->error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
              "%s request refused: %s of %s has %" G_GSIZE_FORMAT ", at most %" G_GSIZE_FORMAT
              " are accepted",
              methods[d->request->method].name, what, rule->name, size, limit);
  return FALSE;
}

static gboolean refuse_missing(Decoder *d, const Rule *rule) {
  g_set_error(d->error, AIN_ERROR, AIN_ERROR_MALFORMED, "%s request refused: field %d (%s) is missing" ADVICE,
              methods[d->request->method].name, rule->id, rule->name);
  return FALSE;
}

static gboolean refuse_type(Decoder *d, const AinField *field) {
  g_autoptr(GString) wanted = g_string_new(NULL);
  const char *name = "";
  for (const Rule *rule = methods[d->request->method].rules; rule->name != NULL; rule++) {
    if (rule->id == field->id) {
      g_string_append_printf(wanted, "%s%s", wanted->len > 0 ? " or " : "", ain_thrift_type_name(rule->type));
      name = rule->name;
    }
  }
  g_set_error(d->error, AIN_ERROR, AIN_ERROR_MALFORMED,
              "%s request refused: field %d (%s) has type %s, not %s" ADVICE,
              methods[d->request->method].name, field->id, name, ain_thrift_type_name(field->type),
              wanted->str);
  return FALSE;
}

static gboolean refuse_text(Decoder *d, const Rule *rule, const char *what) {
  g_set_error(d->error, AIN_ERROR, AIN_ERROR_MALFORMED,
              "%s request refused: %s of %s is not UTF-8 text without NUL characters" ADVICE,
              methods[d->request->method].name, what, rule->name);
  return FALSE;
}

static gboolean refuse_columns(Decoder *d, const char *text) {
  g_set_error(d->error, AIN_ERROR, AIN_ERROR_MALFORMED, "%s request refused: %s" ADVICE,
              methods[d->request->method].name, text);
  return FALSE;
}

/* The reader's own failure as the request's error, unless a clearer one is set. */
static gboolean refuse_bytes(Decoder *d) {
  if (d->error != NULL && *d->error == NULL) {
    g_autofree char *text = ain_reader_failure(d->reader);
    g_set_error(d->error, AIN_ERROR, AIN_ERROR_MALFORMED, "%s request refused at %s" ADVICE,
                methods[d->request->method].name, text);
  }
  return FALSE;
}

/* --- values ----------------------------------------------------------------------------------------------
 */

static gboolean read_text(Decoder *d, const Rule *rule, const char *what, gsize limit, AinSlice *text) {
  if (!ain_reader_string(d->reader, text)) {
    return FALSE;
  }
  if (text->size > limit) {
    return refuse_size(d, rule, what, text->size, limit);
  }
  return g_utf8_validate_len((const char *)text->data, text->size, NULL) || refuse_text(d, rule, what);
}

static gboolean read_model_id(Decoder *d, const Rule *rule) {
  return read_text(d, rule, "the text", AIN_REQUEST_MAX_ID, &d->request->model_id);
}

static gboolean read_first(Decoder *d, const Rule *rule) {
  return read_text(d, rule, "the text", AIN_REQUEST_MAX_URI, &d->first);
}

static gboolean read_second(Decoder *d, const Rule *rule) {
  return read_text(d, rule, "the text", AIN_REQUEST_MAX_URI, &d->second);
}

static gboolean read_dataset(Decoder *d, const Rule *rule) {
  (void)rule;
  return ain_reader_string(d->reader, &d->request->dataset);
}

static gboolean read_output_length(Decoder *d, const Rule *rule) {
  (void)rule;
  return ain_reader_i32(d->reader, &d->request->output_length);
}

/* Texts of SQL; Apache DataNodes never send one. */
static gboolean read_covariates(Decoder *d, const Rule *rule) {
  AinSlice query;
  if (!read_text(d, rule, "the text", AIN_REQUEST_MAX_VALUE, &query)) {
    return FALSE;
  }
  d->request->has_covariates |= query.size > 0;
  return TRUE;
}

static gboolean read_timestamp(Decoder *d, const Rule *rule) {
  (void)rule;
  return ain_reader_i64(d->reader, &d->request->heartbeat_timestamp);
}

static gboolean read_sampling(Decoder *d, const Rule *rule) {
  (void)rule;
  return ain_reader_bool(d->reader, &d->request->need_sampling_load);
}

/* Fields that only tell who asks. */
static gboolean read_past(Decoder *d, const Rule *rule) {
  return ain_reader_skip(d->reader, rule->type);
}

static gboolean read_window(Decoder *d, const Rule *rule) {
  (void)rule;
  AinField field;
  guint found = 0;
  if (!ain_reader_struct(d->reader, &field)) {
    return FALSE;
  }
  while (ain_reader_next(d->reader, &field)) {
    gboolean known = field.id == 1 || field.id == 2;
    if (known && field.type != AIN_THRIFT_I32) {
      return ain_reader_fail(d->reader, "field %d of the window is not an i32", field.id);
    }
    gint32 *value = field.id == 1 ? &d->request->window_interval : &d->request->window_step;
    if (!(known ? ain_reader_i32(d->reader, value) : ain_reader_skip(d->reader, field.type))) {
      return FALSE;
    }
    found += known ? 1 : 0;
  }
  if (ain_reader_ok(d->reader) && found != 2) {
    return ain_reader_fail(d->reader, "the window lacks its interval or its step", 0);
  }
  d->request->has_window = TRUE;
  return ain_reader_ok(d->reader);
}

static gboolean read_options(Decoder *d, const Rule *rule) {
  guint32 count = 0;
  if (!ain_reader_map(d->reader, AIN_THRIFT_STRING, AIN_THRIFT_STRING, &count)) {
    return FALSE;
  }
  if (count > AIN_REQUEST_MAX_OPTIONS) {
    return refuse_size(d, rule, "the number of entries", count, AIN_REQUEST_MAX_OPTIONS);
  }
  AinPair *pairs = d->store->pairs;
  if (count > AIN_REQUEST_INLINE) {
    pairs = d->store->more_pairs = g_new0(AinPair, count);
  }
  for (guint32 i = 0; i < count; i++) {
    if (!read_text(d, rule, "a key", AIN_REQUEST_MAX_KEY, &pairs[i].key)
        || !read_text(d, rule, "a value", AIN_REQUEST_MAX_VALUE, &pairs[i].value)) {
      return FALSE;
    }
  }
  d->request->options = pairs;
  d->request->n_options = count;
  return TRUE;
}

static gboolean read_devices(Decoder *d, const Rule *rule) {
  guint32 count = 0;
  if (!ain_reader_list(d->reader, AIN_THRIFT_STRING, &count)) {
    return FALSE;
  }
  if (count > AIN_REQUEST_MAX_DEVICES) {
    return refuse_size(d, rule, "the number of entries", count, AIN_REQUEST_MAX_DEVICES);
  }
  AinSlice *devices = d->store->devices;
  if (count > AIN_REQUEST_INLINE) {
    devices = d->store->more_devices = g_new0(AinSlice, count);
  }
  for (guint32 i = 0; i < count; i++) {
    if (!read_text(d, rule, "an entry", AIN_REQUEST_MAX_DEVICE, &devices[i])) {
      return FALSE;
    }
  }
  d->request->devices = devices;
  d->request->n_devices = count;
  return TRUE;
}

static gboolean read_type_list(Decoder *d, const Rule *rule) {
  (void)rule;
  guint32 count = 0;
  AinSlice type; /* redundant: the TsBlock carries its types */
  if (!ain_reader_list(d->reader, AIN_THRIFT_STRING, &count)) {
    return FALSE;
  }
  for (guint32 i = 0; i < count; i++) {
    if (!ain_reader_string(d->reader, &type)) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean read_column_names(Decoder *d, const Rule *rule) {
  guint32 count = 0;
  if (!ain_reader_list(d->reader, AIN_THRIFT_STRING, &count)) {
    return FALSE;
  }
  if (count > AIN_REQUEST_MAX_COLUMNS) {
    return refuse_size(d, rule, "the number of entries", count, AIN_REQUEST_MAX_COLUMNS);
  }
  d->names = g_new0(AinSlice, count);
  d->n_names = count;
  for (guint32 i = 0; i < count; i++) {
    if (!ain_reader_string(d->reader, &d->names[i])) {
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean read_column_indexes(Decoder *d, const Rule *rule) {
  guint32 count = 0;
  if (!ain_reader_map(d->reader, AIN_THRIFT_STRING, AIN_THRIFT_I32, &count)) {
    return FALSE;
  }
  if (count > AIN_REQUEST_MAX_COLUMNS) {
    return refuse_size(d, rule, "the number of entries", count, AIN_REQUEST_MAX_COLUMNS);
  }
  d->indexes = g_new0(ColumnIndex, count);
  d->n_indexes = count;
  for (guint32 i = 0; i < count; i++) {
    if (!ain_reader_string(d->reader, &d->indexes[i].name)
        || !ain_reader_i32(d->reader, &d->indexes[i].index)) {
      return FALSE;
    }
  }
  return TRUE;
}

/* --- what needs the whole request ------------------------------------------------------------------------
 */

/* R3, the SQL rule for a model id. */
static gboolean looks_like_id(AinSlice text) {
  for (gsize i = 0; i < text.size; i++) {
    guint8 c = text.data[i];
    if (!g_ascii_isalnum(c) && c != '_' && c != '-') {
      return FALSE;
    }
  }
  return text.size >= 2 && text.size <= 64;
}

static gboolean looks_like_uri(AinSlice text) {
  return text.size > 0
         && (memchr(text.data, '/', text.size) != NULL || memchr(text.data, ':', text.size) != NULL);
}

static gboolean has_scheme(AinSlice text) {
  const guint8 *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
  if (colon == NULL || colon == text.data || !g_ascii_isalpha(text.data[0])) {
    return FALSE;
  }
  for (const guint8 *c = text.data; c < colon; c++) {
    if (!g_ascii_isalnum(*c) && *c != '+' && *c != '.' && *c != '-') {
      return FALSE;
    }
  }
  return TRUE;
}

/* R3: ids 1 and 2 changed places between 2.0.7 and 2.0.8 and both are strings: the content decides. */
static gboolean finish_register(Decoder *d) {
  static gboolean (*const is_uri[])(AinSlice) = { looks_like_uri, has_scheme };
  gboolean id_first = d->release >= AIN_FAMILY_G;
  gboolean certain = looks_like_id(d->first) != looks_like_id(d->second);
  if (certain) {
    id_first = looks_like_id(d->first);
  }
  for (guint i = 0; i < G_N_ELEMENTS(is_uri) && !certain; i++) {
    certain = is_uri[i](d->first) != is_uri[i](d->second);
    if (certain) {
      id_first = is_uri[i](d->second);
    }
  }
  if (certain) {
    d->request->families &= id_first ? FAMILIES_GH : ~(AinFamilies)FAMILIES_GH;
  }
  d->request->model_id = id_first ? d->first : d->second;
  d->request->uri = id_first ? d->second : d->first;
  if (d->request->model_id.size > AIN_REQUEST_MAX_ID) {
    const Rule model_id = { .name = "modelId" };
    return refuse_size(d, &model_id, "the text", d->request->model_id.size, AIN_REQUEST_MAX_ID);
  }
  return TRUE;
}

static int compare_names(AinSlice a, AinSlice b) {
  int order = (a.size > b.size) - (a.size < b.size);
  return order != 0 ? order : memcmp(a.data, b.data, a.size);
}

static int compare_indexes(const void *a, const void *b) {
  return compare_names(((const ColumnIndex *)a)->name, ((const ColumnIndex *)b)->name);
}

/* Families A and C: the model's columns by name, the block's columns as name -> index. */
static gboolean finish_inference(Decoder *d) {
  if ((d->request->families & ~(AinFamilies)FAMILIES_AC) != 0) {
    return TRUE;
  }
  if (d->n_indexes > 1) {
    qsort(d->indexes, d->n_indexes, sizeof *d->indexes, compare_indexes);
  }
  for (guint i = 1; i < d->n_indexes; i++) {
    if (compare_indexes(&d->indexes[i - 1], &d->indexes[i]) == 0) {
      return refuse_columns(d, "columnNameIndexMap names a column twice");
    }
  }
  guint *order = d->store->order;
  if (d->n_names > AIN_REQUEST_INLINE) {
    order = d->store->more_order = g_new0(guint, d->n_names);
  }
  for (guint i = 0; i < d->n_names; i++) {
    const ColumnIndex wanted = { .name = d->names[i] };
    const ColumnIndex *found =
        d->n_indexes == 0 ? NULL : bsearch(&wanted, d->indexes, d->n_indexes, sizeof wanted, compare_indexes);
    if (found == NULL) {
      return refuse_columns(d, "columnNameList has a column that columnNameIndexMap lacks");
    }
    if (found->index < 0 || found->index >= AIN_REQUEST_MAX_COLUMNS) {
      return refuse_columns(d, "columnNameIndexMap has an index that no column can have");
    }
    order[i] = (guint)found->index;
  }
  d->request->column_order = order;
  d->request->n_column_order = d->n_names;
  return TRUE;
}

/* R2: D, E and F always send their options; a forecast without any is CLASSIFY of G or H. */
static gboolean finish_forecast(Decoder *d) {
  if (d->request->options == NULL && (d->request->families & FAMILIES_GH) != 0) {
    d->request->families &= FAMILIES_GH;
  }
  return TRUE;
}

/* --- methods ---------------------------------------------------------------------------------------------
 */

#define ALL AIN_FAMILY_ALL
#define STR AIN_THRIFT_STRING
#define MODEL_ID                                                                                             \
  { 1, STR, ALL, ALL, "modelId", read_model_id }

static const Method methods[AIN_METHOD_COUNT] = {
  [AIN_METHOD_UNKNOWN] = { .name = "" },
  [AIN_METHOD_HEARTBEAT] = { "getAIHeartbeat",
                             ALL,
                             TRUE,
                             { { 1, AIN_THRIFT_I64, ALL, ALL, "heartbeatTimestamp", read_timestamp },
                               { 2, AIN_THRIFT_BOOL, ALL, ALL, "needSamplingLoad", read_sampling },
                               { 3, AIN_THRIFT_BOOL, FAMILIES_EFGH, 0, "activated", read_past } },
                             NULL },
  [AIN_METHOD_STOP] = { .name = "stopAINode", .families = FAMILIES_EFGH },
  [AIN_METHOD_REGISTER_MODEL] = { "registerModel",
                                  ALL,
                                  TRUE,
                                  { { 1, STR, ALL, ALL, "uri or modelId", read_first },
                                    { 2, STR, ALL, ALL, "modelId or uri", read_second } },
                                  finish_register },
  [AIN_METHOD_DELETE_MODEL] = { "deleteModel", ALL, TRUE, { MODEL_ID }, NULL },
  [AIN_METHOD_SHOW_MODELS] = { "showModels",
                               FAMILIES_EFGH,
                               TRUE,
                               { { 1, STR, ALL, 0, "modelId", read_model_id } },
                               NULL },
  [AIN_METHOD_SHOW_LOADED_MODELS] = { "showLoadedModels",
                                      FAMILIES_FGH,
                                      TRUE,
                                      { { 1, AIN_THRIFT_LIST, ALL, ALL, "deviceIdList", read_devices } },
                                      NULL },
  [AIN_METHOD_SHOW_DEVICES] = { .name = "showAIDevices", .families = FAMILIES_FGH },
  [AIN_METHOD_LOAD_MODEL] = { "loadModel",
                              FAMILIES_FGH,
                              TRUE,
                              { { 1, STR, ALL, ALL, "existingModelId", read_model_id },
                                { 2, AIN_THRIFT_LIST, ALL, ALL, "deviceIdList", read_devices } },
                              NULL },
  [AIN_METHOD_UNLOAD_MODEL] = { "unloadModel",
                                FAMILIES_FGH,
                                TRUE,
                                { MODEL_ID, { 2, AIN_THRIFT_LIST, ALL, ALL, "deviceIdList", read_devices } },
                                NULL },
  [AIN_METHOD_INFERENCE] = { "inference",
                             ALL,
                             TRUE,
                             { MODEL_ID,
                               { 2, STR, ALL, ALL, "dataset", read_dataset },
                               { 3, AIN_THRIFT_LIST, FAMILIES_AC, FAMILIES_AC, "typeList", read_type_list },
                               { 3, AIN_THRIFT_STRUCT, FAMILIES_DEF, 0, "windowParams", read_window },
                               { 3, AIN_THRIFT_MAP, FAMILIES_GH, 0, "inferenceAttributes", read_options },
                               { 4, AIN_THRIFT_LIST, FAMILIES_AC, FAMILIES_AC, "columnNameList",
                                 read_column_names },
                               { 4, AIN_THRIFT_MAP, FAMILIES_DEF, 0, "inferenceAttributes", read_options },
                               { 5, AIN_THRIFT_MAP, FAMILIES_AC, FAMILIES_AC, "columnNameIndexMap",
                                 read_column_indexes },
                               { 6, AIN_THRIFT_STRUCT, FAMILIES_AC, 0, "windowParams", read_window },
                               { 7, AIN_THRIFT_MAP, FAMILIES_AC, 0, "inferenceAttributes", read_options } },
                             finish_inference },
  [AIN_METHOD_FORECAST] = { "forecast",
                            FAMILIES_DEFGH,
                            TRUE,
                            { MODEL_ID,
                              { 2, STR, ALL, ALL, "inputData", read_dataset },
                              { 3, AIN_THRIFT_I32, ALL, ALL, "outputLength", read_output_length },
                              { 4, AIN_THRIFT_MAP, FAMILIES_DEF, 0, "options", read_options },
                              { 4, STR, FAMILIES_GH, 0, "historyCovs", read_covariates },
                              { 5, STR, FAMILIES_GH, 0, "futureCovs", read_covariates },
                              { 6, AIN_THRIFT_MAP, AIN_FAMILY_G, 0, "options", read_options },
                              { 6, AIN_THRIFT_BOOL, AIN_FAMILY_H, 0, "autoAdapt", read_past },
                              { 7, AIN_THRIFT_MAP, AIN_FAMILY_H, 0, "options", read_options } },
                            finish_forecast },
  /* Only the commercial fork calls it, which is like H otherwise. */
  [AIN_METHOD_CLASSIFY] = { "classify",
                            AIN_FAMILY_H,
                            TRUE,
                            { MODEL_ID,
                              { 2, STR, ALL, ALL, "inputData", read_dataset },
                              { 3, AIN_THRIFT_MAP, ALL, 0, "options", read_options } },
                            NULL },
  /* Answered with a refusal, so only what that answer needs is demanded. */
  [AIN_METHOD_CREATE_TRAINING] = { "createTrainingTask",
                                   FAMILIES_CDEF,
                                   TRUE,
                                   { { 2, STR, ALL, ALL, "modelId", read_model_id },
                                     { 6, STR, AIN_FAMILY_C | AIN_FAMILY_D, 0, "existingModelId",
                                       read_past } },
                                   NULL },
  [AIN_METHOD_CREATE_TUNING] = { "createTuningTask",
                                 FAMILIES_GH,
                                 TRUE,
                                 { { 2, STR, ALL, ALL, "modelId", read_model_id } },
                                 NULL },
};

AinMethod ain_rpc_method_of(AinSlice name) {
  for (guint i = AIN_METHOD_UNKNOWN + 1; i < AIN_METHOD_COUNT; i++) {
    if (ain_slice_equal(name, methods[i].name)) {
      return (AinMethod)i;
    }
  }
  return AIN_METHOD_UNKNOWN;
}

const char *ain_rpc_method_name(AinMethod method) {
  return (guint)method < AIN_METHOD_COUNT ? methods[method].name : "";
}

AinFamilies ain_rpc_method_families(AinMethod method) {
  return (guint)method < AIN_METHOD_COUNT ? methods[method].families : 0;
}

/* The rule that reads this field for a family still possible; NULL with *skip when nobody left knows it. */
static const Rule *find_rule(const Decoder *d, const AinField *field, gboolean *skip) {
  gboolean type_fits = FALSE;
  gboolean id_known = FALSE;
  AinFamilies owners = 0;
  for (const Rule *rule = methods[d->request->method].rules; rule->name != NULL; rule++) {
    if (rule->id != field->id) {
      continue;
    }
    id_known = TRUE;
    owners |= rule->families;
    if (rule->type == field->type) {
      type_fits = TRUE;
      if ((rule->families & d->request->families) != 0) {
        return rule;
      }
    }
  }
  /* A type that no release gives this id is a mistake, unless the newest one does not use the id at all: then
   * a later release may well have taken it. */
  *skip = !id_known || type_fits || (owners & NEWEST) == 0;
  return NULL;
}

static gboolean read_field(Decoder *d, const AinField *field) {
  gboolean skip = FALSE;
  const Rule *rule = find_rule(d, field, &skip);
  if (rule == NULL) {
    return skip ? ain_reader_skip(d->reader, field->type) : refuse_type(d, field);
  }
  d->request->families &= rule->families;
  d->accepted |= 1U << (guint)(rule - methods[d->request->method].rules);
  return rule->read(d, rule);
}

/* A field that is absent rules out the families that always send it. */
static gboolean check_required(Decoder *d) {
  const Rule *rules = methods[d->request->method].rules;
  for (guint i = 0; rules[i].name != NULL; i++) {
    if ((d->accepted & 1U << i) != 0) {
      continue;
    }
    AinFamilies left = d->request->families & ~rules[i].required;
    if (left == 0) {
      return refuse_missing(d, &rules[i]);
    }
    d->request->families = left;
  }
  return TRUE;
}

static gboolean read_argument(Decoder *d) {
  AinField field;
  if (!ain_reader_struct(d->reader, &field)) {
    return FALSE;
  }
  while (ain_reader_next(d->reader, &field)) {
    if (!read_field(d, &field)) {
      return FALSE;
    }
  }
  return ain_reader_ok(d->reader) && check_required(d);
}

/* The one argument has id -1, since the services are declared without ids; 1 is what an IDL with ids sends.
 */
static gboolean read_arguments(Decoder *d) {
  const Method *method = &methods[d->request->method];
  gboolean found = FALSE;
  AinField field;
  if (!ain_reader_struct(d->reader, &field)) {
    return FALSE;
  }
  while (ain_reader_next(d->reader, &field)) {
    gboolean argument = method->has_argument && (field.id == -1 || field.id == 1);
    if (argument && field.type != AIN_THRIFT_STRUCT) {
      return ain_reader_fail(d->reader, "the argument is not a struct", 0);
    }
    if (argument && found) {
      return ain_reader_fail(d->reader, "the argument is there twice", 0);
    }
    found |= argument;
    if (!(argument ? read_argument(d) : ain_reader_skip(d->reader, field.type))) {
      return FALSE;
    }
  }
  if (ain_reader_ok(d->reader) && method->has_argument && !found) {
    return ain_reader_fail(d->reader, "the argument is missing", 0);
  }
  return ain_reader_end(d->reader);
}

gboolean ain_rpc_decode(AinReader *reader, AinMethod method, AinFamily release, AinRequestStore *store,
                        GError **error) {
  g_autoptr(GError) reason = NULL;
  Decoder decoder = {
    .reader = reader, .store = store, .request = &store->request, .release = release, .error = &reason
  };
  store->request = (AinRequest){ .method = method, .families = methods[method].families };
  if (method == AIN_METHOD_HEARTBEAT) {
    /* An answer to a beat without a time must not look newer to the failure detector than any other. */
    store->request.heartbeat_timestamp = G_MININT64;
  }
  store->more_pairs = NULL;
  store->more_devices = NULL;
  store->more_order = NULL;
  gboolean done =
      read_arguments(&decoder) && (methods[method].finish == NULL || methods[method].finish(&decoder));
  if (!done) {
    refuse_bytes(&decoder);
    g_propagate_error(error, g_steal_pointer(&reason));
  }
  g_free(decoder.names);
  g_free(decoder.indexes);
  return done;
}

void ain_rpc_request_clear(AinRequestStore *store) {
  g_clear_pointer(&store->more_pairs, g_free);
  g_clear_pointer(&store->more_devices, g_free);
  g_clear_pointer(&store->more_order, g_free);
}
