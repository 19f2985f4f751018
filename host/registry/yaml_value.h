/* Values of a YAML document as PyYAML's safe_load understands them (YAML 1.1), and as Python prints them: the
 * attributes of a model are shown as the text of a Python mapping. Any thread. */
#pragma once
#include <glib.h>
#include <yaml.h>

typedef enum {
  AIN_YAML_NULL,
  AIN_YAML_BOOL,
  AIN_YAML_INT,
  AIN_YAML_FLOAT,
  AIN_YAML_DATE,
  AIN_YAML_TEXT,
  AIN_YAML_MERGE, /* "<<" */
} AinYamlKind;

typedef struct {
  AinYamlKind kind;
  gboolean fits;  /* INT: integer holds it */
  gint64 integer; /* INT, BOOL */
  double number;  /* FLOAT */
} AinYamlScalar;

/* node must be a scalar node. */
AinYamlScalar ain_yaml_resolve(const yaml_node_t *node);

/* Appends the Python form of node, at most about max_size bytes; what is beyond, or nested deeper than
 * AIN_YAML_MAX_DEPTH, is "...". Returns FALSE when something was cut. */
#define AIN_YAML_MAX_DEPTH 32
gboolean ain_yaml_print(GString *out, yaml_document_t *document, const yaml_node_t *node, gsize max_size);
