/* The models that come with the node: ids, older ids, and how releases spell their types. Any thread. */
#pragma once
#include "registry/registry.h"

typedef struct {
  const char *id;
  const char *old_id; /* of 2.0.1 to 2.0.4, in any case */
  AinModelKind kind;
  const char *type; /* ModelType of 2.0.5 to 2.0.7; of the large models also for fine-tuned ones */
} AinBuiltin;

guint ain_builtin_count(void);
const AinBuiltin *ain_builtin_at(guint index);      /* in listing order */
const AinBuiltin *ain_builtin_find(const char *id); /* NULL when there is none of that id */
/* The id of today for an id of 2.0.1 to 2.0.4, else id itself. */
const char *ain_builtin_canonical(const char *id);
/* What SHOW MODELS prints as ModelType; static. later: 2.0.8 and newer. */
const char *ain_builtin_type(const char *id, AinModelKind kind, gboolean later);
/* The kind that a config.json with this model_type describes. */
gboolean ain_builtin_kind_of(const char *model_type, AinModelKind *kind);
/* A model of any shape, ready to be served but for its generation. */
AinModel *ain_builtin_model_new(const char *id, AinModelKind kind, const char *directory,
                                AinCategory category);
