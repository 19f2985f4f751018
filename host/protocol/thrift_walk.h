/* Checks a struct's bytes against the form that the IDL gives it, before generated code may read them:
 * c_glib's readers crash on repeated fields, negative lengths, wrong element types and deep nesting.
 *
 * Whatever passes has, beside what the reader checks (protocol/reader.h): every known field of its stated
 * type (elements, keys and values too), every required field, texts without NUL. Stateless; any thread. */
#pragma once
#include "protocol/reader.h"

#include <glib.h>

/* Each part becomes at least one object of the generated reader, however few bytes it has: a reply of a
 * ConfigNode names a handful of structs a node. This many keep the objects within some 50 MB. */
#define AIN_THRIFT_MAX_PARTS 65536

typedef struct AinThriftShape AinThriftShape;
typedef struct AinThriftStruct AinThriftStruct;

/* What a value must look like. */
struct AinThriftShape {
  AinThriftType type;
  gboolean is_binary;              /* STRING: any bytes; otherwise a text, which may not hold NUL */
  const AinThriftShape *key;       /* MAP */
  const AinThriftShape *element;   /* LIST, SET; MAP: the values */
  const AinThriftStruct *contents; /* STRUCT */
};

typedef struct {
  gint16 id;
  gboolean required;
  const char *name;
  const AinThriftShape *shape;
} AinThriftField;

/* At most 32 fields; others are unknown: skipped, with the same bounds. */
struct AinThriftStruct {
  const char *name;
  const AinThriftField *fields;
  guint n_fields;
};

/* Checks one struct that starts at the reader's place. Errors: MALFORMED; TOO_LARGE (depth, parts_left). */
gboolean ain_thrift_walk_struct(AinReader *reader, const AinThriftStruct *expected, GError **error);

/* Sets the reader's failure as an error, TOO_LARGE or MALFORMED. Always returns FALSE. */
gboolean ain_thrift_walk_fail(const AinReader *reader, GError **error);
