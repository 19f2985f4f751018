/* config.yaml of a user model: see model_config.h. */
#include "registry/model_config.h"

#include "base/error.h"
#include "registry/text.h"
#include "registry/yaml_value.h"
#include "tsblock/tsblock.h"

#include <string.h>
#include <yaml.h>

/* A config needs a dozen events and three levels; these only keep the parser's own costs bounded. */
#define MAX_EVENTS 100000
#define MAX_ANCHORS 64
#define MAX_DIRECTIVES 16
#define FOUND_BYTES 80

typedef struct {
  const char *name;
  const char *data;
  gsize size;
  yaml_document_t *document;
  GPtrArray *warnings;
  GError **error;
} Reader;

G_GNUC_PRINTF(3, 4)
static gboolean refuse(const Reader *reader, gsize line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *reason = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error(reader->error, AIN_ERROR, AIN_ERROR_INVALID_CONFIG, "%s, line %" G_GSIZE_FORMAT ": %s",
              reader->name, line, reason);
  return FALSE;
}

static gsize line_of(const yaml_node_t *node) {
  return node->start_mark.line + 1;
}

/* The value as a message shows it. Owned. */
static char *found(const Reader *reader, const yaml_node_t *node) {
  if (node->type == YAML_SCALAR_NODE && ain_yaml_resolve(node).kind == AIN_YAML_NULL) {
    return g_strdup("empty");
  }
  GString *text = g_string_new(NULL);
  ain_yaml_print(text, reader->document, node, FOUND_BYTES);
  return g_string_free(text, FALSE);
}

/* --- before the document is built ------------------------------------------------------------------------
 */

static gsize line_at(const Reader *reader, gsize offset) {
  gsize line = 1;
  for (gsize i = 0; i < MIN(offset, reader->size); i++) {
    line += reader->data[i] == '\n';
  }
  return line;
}

static gboolean check_bytes(const Reader *reader) {
  const char *data = reader->data;
  gsize size = reader->size;
  if (size > AIN_CONFIG_MAX_BYTES) {
    g_set_error(reader->error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "%s has %" G_GSIZE_FORMAT " bytes, more than the %u allowed", reader->name, size,
                AIN_CONFIG_MAX_BYTES);
    return FALSE;
  }
  const char *end = data;
  gboolean valid = g_utf8_validate_len(data, size, &end);
  guint directives = 0;
  for (const char *at = data; at < end; at++) {
    gboolean line_start = at == data || at[-1] == '\n' || at[-1] == '\r';
    directives += line_start && *at == '%';
  }
  if (!valid) {
    return refuse(reader, line_at(reader, (gsize)(end - data)),
                  "byte %" G_GSIZE_FORMAT " of the file is not UTF-8 text; save it as UTF-8",
                  (gsize)(end - data) + 1);
  }
  if (directives > MAX_DIRECTIVES) {
    return refuse(reader, 1, "the file has %u lines that start with '%%', more than the %d allowed",
                  directives, MAX_DIRECTIVES);
  }
  return TRUE;
}

static gboolean refuse_syntax(const Reader *reader, const yaml_parser_t *parser) {
  const char *problem = parser->problem != NULL ? parser->problem : "unreadable";
  if (parser->error == YAML_READER_ERROR) {
    return refuse(reader, line_at(reader, parser->problem_offset),
                  "byte %" G_GSIZE_FORMAT " of the file is not allowed in YAML: %s",
                  parser->problem_offset + 1, problem);
  }
  const yaml_mark_t *mark = &parser->problem_mark;
  return refuse(reader, mark->line + 1, "this is not valid YAML at column %" G_GSIZE_FORMAT ": %s%s%s",
                mark->column + 1, problem, parser->context != NULL ? ", " : "",
                parser->context != NULL ? parser->context : "");
}

typedef struct {
  guint events;
  guint depth;
  guint anchors;
  guint documents;
} Counts;

static gboolean check_anchor_and_tag(const Reader *reader, gsize line, const yaml_char_t *anchor,
                                     const yaml_char_t *tag, Counts *counts) {
  counts->anchors += anchor != NULL;
  if (counts->anchors > MAX_ANCHORS) {
    return refuse(reader, line, "there are more than %d anchors (&name)", MAX_ANCHORS);
  }
  if (tag != NULL) {
    g_autofree char *shown = ain_registry_show((const char *)tag, -1);
    return refuse(reader, line, "the tag \"%s\" is not allowed; write the plain value", shown);
  }
  return TRUE;
}

static gboolean check_event(const Reader *reader, const yaml_event_t *event, Counts *counts) {
  gsize line = event->start_mark.line + 1;
  counts->events++;
  counts->depth += event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
  counts->depth -= event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
  counts->documents += event->type == YAML_DOCUMENT_START_EVENT;
  if (counts->documents > 1) {
    return refuse(reader, line, "a second document starts here (---); one is allowed");
  }
  if (counts->depth > AIN_YAML_MAX_DEPTH) {
    return refuse(reader, line, "the nesting is deeper than the %d levels allowed", AIN_YAML_MAX_DEPTH);
  }
  if (counts->events > MAX_EVENTS) {
    return refuse(reader, line, "the file has more than %d values", MAX_EVENTS);
  }
  switch (event->type) {
  case YAML_SCALAR_EVENT:
    return check_anchor_and_tag(reader, line, event->data.scalar.anchor, event->data.scalar.tag, counts);
  case YAML_SEQUENCE_START_EVENT:
    return check_anchor_and_tag(reader, line, event->data.sequence_start.anchor,
                                event->data.sequence_start.tag, counts);
  case YAML_MAPPING_START_EVENT:
    return check_anchor_and_tag(reader, line, event->data.mapping_start.anchor, event->data.mapping_start.tag,
                                counts);
  default:
    return TRUE;
  }
}

/* Reads the events once without building anything: some costs of the document loader grow with the square of
 * what the file holds, so the file is bounded first. */
static gboolean check_events(const Reader *reader) {
  yaml_parser_t parser;
  if (yaml_parser_initialize(&parser) == 0) {
    return refuse(reader, 1, "there is not enough memory to read the file");
  }
  yaml_parser_set_input_string(&parser, (const guint8 *)reader->data, reader->size);
  Counts counts = { 0 };
  gboolean good = TRUE;
  gboolean ended = FALSE;
  while (good && !ended) {
    yaml_event_t event;
    if (yaml_parser_parse(&parser, &event) == 0) {
      good = refuse_syntax(reader, &parser);
      break;
    }
    good = check_event(reader, &event, &counts);
    ended = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
  }
  yaml_parser_delete(&parser);
  return good;
}

static gboolean load(const Reader *reader) {
  yaml_parser_t parser;
  if (yaml_parser_initialize(&parser) == 0) {
    return refuse(reader, 1, "there is not enough memory to read the file");
  }
  yaml_parser_set_input_string(&parser, (const guint8 *)reader->data, reader->size);
  gboolean loaded = yaml_parser_load(&parser, reader->document) != 0;
  if (!loaded) {
    refuse_syntax(reader, &parser);
  }
  yaml_parser_delete(&parser);
  return loaded;
}

/* --- keys ------------------------------------------------------------------------------------------------
 */

static gboolean check_key(const Reader *reader, const yaml_node_t *key, GHashTable *seen) {
  if (key->type != YAML_SCALAR_NODE) {
    return refuse(reader, line_of(key), "a list or mapping cannot be a key");
  }
  if (ain_yaml_resolve(key).kind == AIN_YAML_MERGE) {
    return refuse(reader, line_of(key), "the merge key << is not understood; write the keys out");
  }
  GString *text = g_string_new(NULL);
  ain_yaml_print(text, reader->document, key, AIN_CONFIG_MAX_BYTES);
  g_autofree char *name = g_string_free(text, FALSE);
  if (g_hash_table_contains(seen, name)) {
    g_autofree char *shown = ain_registry_show(name, -1);
    return refuse(reader, line_of(key), "the key %s is there twice in one mapping; keep one", shown);
  }
  g_hash_table_add(seen, g_steal_pointer(&name));
  return TRUE;
}

static gboolean check_keys(const Reader *reader) {
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  const yaml_document_t *document = reader->document;
  for (const yaml_node_t *node = document->nodes.start; node < document->nodes.top; node++) {
    if (node->type != YAML_MAPPING_NODE) {
      continue;
    }
    g_hash_table_remove_all(seen);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
         pair++) {
      if (!check_key(reader, yaml_document_get_node(reader->document, pair->key), seen)) {
        return FALSE;
      }
    }
  }
  return TRUE;
}

static gboolean is_text(const yaml_node_t *node, const char *text) {
  return node->type == YAML_SCALAR_NODE && node->data.scalar.length == strlen(text)
         && memcmp(node->data.scalar.value, text, node->data.scalar.length) == 0;
}

/* The value of key, or NULL. Borrowed. */
static yaml_node_t *get(const Reader *reader, const yaml_node_t *mapping, const char *key) {
  for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
       pair < mapping->data.mapping.pairs.top; pair++) {
    if (is_text(yaml_document_get_node(reader->document, pair->key), key)) {
      return yaml_document_get_node(reader->document, pair->value);
    }
  }
  return NULL;
}

/* A file full of unknown keys is still one line in the log. */
static void warn_unknown(const Reader *reader, const yaml_node_t *mapping, const char *const *known,
                         const char *place) {
  for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
       pair < mapping->data.mapping.pairs.top; pair++) {
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    gboolean is_known = FALSE;
    for (const char *const *name = known; *name != NULL; name++) {
      is_known |= is_text(key, *name);
    }
    if (!is_known) {
      g_autofree char *shown = found(reader, key);
      g_autofree char *allowed = g_strjoinv(", ", (char **)known);
      g_ptr_array_add(reader->warnings,
                      g_strdup_printf("%s, line %" G_GSIZE_FORMAT
                                      ": the key %s%s is not known and has no effect; known are %s",
                                      reader->name, line_of(key), shown, place, allowed));
      return;
    }
  }
}

/* --- values ----------------------------------------------------------------------------------------------
 */

static gsize length_of(const yaml_node_t *sequence) {
  return (gsize)(sequence->data.sequence.items.top - sequence->data.sequence.items.start);
}

static const yaml_node_t *element(const Reader *reader, const yaml_node_t *sequence, gsize index) {
  return yaml_document_get_node(reader->document, sequence->data.sequence.items.start[index]);
}

static gboolean read_extent(const Reader *reader, const char *key, const yaml_node_t *list, gsize index,
                            gint64 allowed, gint32 *extent) {
  const yaml_node_t *node = element(reader, list, index);
  AinYamlScalar scalar = { .kind = AIN_YAML_TEXT };
  if (node->type == YAML_SCALAR_NODE) {
    scalar = ain_yaml_resolve(node);
  }
  /* A bool is a number in Python, so `true` has always counted as 1. */
  gboolean whole = (scalar.kind == AIN_YAML_INT && scalar.fits) || scalar.kind == AIN_YAML_BOOL;
  if (whole && scalar.integer >= 1 && scalar.integer <= allowed) {
    *extent = (gint32)scalar.integer;
    return TRUE;
  }
  g_autofree char *value = found(reader, node);
  return refuse(reader, line_of(node),
                "%s (element %" G_GSIZE_FORMAT
                ") of %s is %s; it has to be a positive whole number of at most "
                "%" G_GINT64_FORMAT,
                index == 0 ? "the number of rows" : "the number of columns", index + 1, key, value, allowed);
}

static gboolean read_shape(const Reader *reader, const yaml_node_t *configs, const char *key, gint32 *shape) {
  const yaml_node_t *node = get(reader, configs, key);
  if (node == NULL) {
    return refuse(reader, line_of(configs),
                  "the key %s is missing under configs; add it as a list of two positive whole numbers "
                  "[rows, columns]",
                  key);
  }
  if (node->type != YAML_SEQUENCE_NODE || length_of(node) != 2) {
    g_autofree char *value = found(reader, node);
    return refuse(reader, line_of(node),
                  "%s is %s; it has to be a list of two positive whole numbers [rows, columns]", key, value);
  }
  if (!read_extent(reader, key, node, 0, AIN_TSBLOCK_MAX_ROWS, &shape[0])
      || !read_extent(reader, key, node, 1, AIN_TSBLOCK_MAX_COLUMNS, &shape[1])) {
    return FALSE;
  }
  if ((gint64)shape[0] * shape[1] > AIN_CONFIG_MAX_ELEMENTS) {
    return refuse(reader, line_of(node), "%s is [%d, %d]; rows times columns may be at most %u", key,
                  shape[0], shape[1], AIN_CONFIG_MAX_ELEMENTS);
  }
  return TRUE;
}

static gboolean read_type(const Reader *reader, const char *key, const yaml_node_t *list, gsize index,
                          guint8 *type) {
  static const struct {
    const char *name;
    guint8 type;
  } types[] = {
    { "bool", AIN_TS_BOOLEAN },  { "int32", AIN_TS_INT32 },    { "int64", AIN_TS_INT64 },
    { "float32", AIN_TS_FLOAT }, { "float64", AIN_TS_DOUBLE }, { "text", AIN_TS_TEXT },
  };
  const yaml_node_t *node = element(reader, list, index);
  for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
    if (is_text(node, types[i].name)) {
      *type = types[i].type;
      return TRUE;
    }
  }
  g_autofree char *value = found(reader, node);
  return refuse(reader, line_of(node),
                "element %" G_GSIZE_FORMAT
                " of %s is %s; allowed are bool, int32, int64, float32, float64 and text",
                index + 1, key, value);
}

/* Owned types of all columns, or NULL. */
static guint8 *read_types(const Reader *reader, const yaml_node_t *configs, const char *key,
                          const char *shape_key, gint32 n_columns) {
  const yaml_node_t *node = get(reader, configs, key);
  g_autofree guint8 *types = (guint8 *)g_strnfill((gsize)n_columns, AIN_TS_FLOAT);
  if (node == NULL) {
    return g_steal_pointer(&types);
  }
  if (node->type != YAML_SEQUENCE_NODE || length_of(node) != (gsize)n_columns) {
    g_autofree char *value = found(reader, node);
    refuse(reader, line_of(node),
           "%s is %s; it has to be a list with one type for each column, and %s has %d column%s", key, value,
           shape_key, n_columns, n_columns == 1 ? "" : "s");
    return NULL;
  }
  for (gsize i = 0; i < (gsize)n_columns; i++) {
    if (!read_type(reader, key, node, i, &types[i])) {
      return NULL;
    }
  }
  return g_steal_pointer(&types);
}

/* str() of Python: a text stands for itself, everything else is printed. Owned. */
static char *read_attributes(const Reader *reader, const yaml_node_t *node) {
  GString *text = g_string_new(NULL);
  gboolean whole = TRUE;
  if (node->type == YAML_SCALAR_NODE && ain_yaml_resolve(node).kind == AIN_YAML_TEXT) {
    whole = node->data.scalar.length <= AIN_CONFIG_MAX_ATTRIBUTES;
    g_autofree char *valid =
        g_utf8_make_valid((const char *)node->data.scalar.value,
                          (gssize)MIN(node->data.scalar.length, AIN_CONFIG_MAX_ATTRIBUTES));
    g_string_append(text, valid);
    g_string_append(text, whole ? "" : "...");
  } else {
    whole = ain_yaml_print(text, reader->document, node, AIN_CONFIG_MAX_ATTRIBUTES);
  }
  if (!whole) {
    g_ptr_array_add(
        reader->warnings,
        g_strdup_printf("%s, line %" G_GSIZE_FORMAT
                        ": the attributes are longer than %u bytes or nested too deeply; the text "
                        "shown for them is cut",
                        reader->name, line_of(node), AIN_CONFIG_MAX_ATTRIBUTES));
  }
  return g_string_free(text, FALSE);
}

static const yaml_node_t *read_configs(const Reader *reader, const yaml_node_t *root) {
  static const char *const known[] = { "configs", "attributes", NULL };
  static const char *const known_configs[] = { "input_shape", "output_shape", "input_type", "output_type",
                                               NULL };
  if (root == NULL) {
    refuse(reader, 1, "the file is empty; it has to be a mapping with the key configs");
    return NULL;
  }
  if (root->type != YAML_MAPPING_NODE) {
    g_autofree char *value = found(reader, root);
    refuse(reader, line_of(root), "the file is %s; it has to be a mapping with the key configs", value);
    return NULL;
  }
  const yaml_node_t *configs = get(reader, root, "configs");
  if (configs == NULL) {
    refuse(reader, line_of(root),
           "the key configs is missing; add it as a mapping with input_shape and output_shape");
    return NULL;
  }
  if (configs->type != YAML_MAPPING_NODE) {
    g_autofree char *value = found(reader, configs);
    refuse(reader, line_of(configs),
           "configs is %s; it has to be a mapping with input_shape and output_shape", value);
    return NULL;
  }
  warn_unknown(reader, root, known, "");
  warn_unknown(reader, configs, known_configs, " under configs");
  return configs;
}

static gboolean read_document(const Reader *reader, AinModelConfig *config) {
  const yaml_node_t *root = yaml_document_get_root_node(reader->document);
  const yaml_node_t *configs = read_configs(reader, root);
  if (configs == NULL || !check_keys(reader)
      || !read_shape(reader, configs, "input_shape", config->input_shape)
      || !read_shape(reader, configs, "output_shape", config->output_shape)) {
    return FALSE;
  }
  config->input_types = read_types(reader, configs, "input_type", "input_shape", config->input_shape[1]);
  if (config->input_types == NULL) {
    return FALSE;
  }
  config->output_types = read_types(reader, configs, "output_type", "output_shape", config->output_shape[1]);
  if (config->output_types == NULL) {
    return FALSE;
  }
  const yaml_node_t *attributes = get(reader, root, "attributes");
  config->attributes = attributes == NULL ? NULL : read_attributes(reader, attributes);
  return TRUE;
}

gboolean ain_model_config_parse(AinModelConfig *config, const char *name, const void *data, gsize size,
                                GError **error) {
  memset(config, 0, sizeof *config);
  yaml_document_t document;
  Reader reader = {
    .name = name, .data = size == 0 ? "" : data, .size = size, .document = &document, .error = error
  };
  if (!check_bytes(&reader) || !check_events(&reader) || !load(&reader)) {
    return FALSE;
  }
  config->warnings = g_ptr_array_new_with_free_func(g_free);
  reader.warnings = config->warnings;
  gboolean good = read_document(&reader, config);
  yaml_document_delete(&document);
  if (!good) {
    ain_model_config_clear(config);
  }
  return good;
}

void ain_model_config_clear(AinModelConfig *config) {
  g_clear_pointer(&config->input_types, g_free);
  g_clear_pointer(&config->output_types, g_free);
  g_clear_pointer(&config->attributes, g_free);
  g_clear_pointer(&config->warnings, g_ptr_array_unref);
}
