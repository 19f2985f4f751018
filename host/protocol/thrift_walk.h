/* Walks a Thrift message, binary or compact, against the structure it must have, before generated code may
 * read it: c_glib's readers crash on repeated fields, negative lengths, wrong element types and deep nesting.
 *
 * A walk borrows the frame, allocates nothing, keeps no state beyond its struct. Any thread. Whatever passes
 * ain_thrift_walk_struct() has: every length inside the frame, no field twice, every known field of its
 * stated type (elements, keys and values too), every required field, texts without NUL, bounded depth and
 * count. Errors: MALFORMED; TOO_LARGE (depth, count). */
#pragma once
#include "base/slice.h"

#include <glib.h>

typedef enum {
  AIN_THRIFT_STOP = 0,
  AIN_THRIFT_BOOL = 2,
  AIN_THRIFT_BYTE = 3,
  AIN_THRIFT_DOUBLE = 4,
  AIN_THRIFT_I16 = 6,
  AIN_THRIFT_I32 = 8,
  AIN_THRIFT_I64 = 10,
  AIN_THRIFT_STRING = 11,
  AIN_THRIFT_STRUCT = 12,
  AIN_THRIFT_MAP = 13,
  AIN_THRIFT_SET = 14,
  AIN_THRIFT_LIST = 15,
} AinThriftType;

typedef enum {
  AIN_THRIFT_CALL = 1,
  AIN_THRIFT_REPLY = 2,
  AIN_THRIFT_EXCEPTION = 3,
  AIN_THRIFT_ONEWAY = 4,
} AinThriftMessageType;

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

typedef struct {
  AinSlice frame;
  gsize offset;
  gboolean compact;
  guint depth;
  guint parts;         /* structs, containers and elements of containers so far */
  gint16 last_field;   /* compact: base of the next field's delta */
  guint8 pending_bool; /* compact: a bool field's value sits in its header */
} AinThriftWalk;

typedef struct {
  AinThriftMessageType type;
  AinSlice name;
  gint32 seqid;
} AinThriftMessage;

/* Starts at the frame's first byte, which tells the protocol (0x80 strict binary, 0x82 compact), and reads
 * the message header. */
gboolean ain_thrift_walk_begin(AinThriftWalk *walk, AinSlice frame, AinThriftMessage *message,
                               GError **error);
/* Checks one struct that starts here. */
gboolean ain_thrift_walk_struct(AinThriftWalk *walk, const AinThriftStruct *expected, GError **error);
/* The frame must end here. */
gboolean ain_thrift_walk_end(const AinThriftWalk *walk, GError **error);

/* --- single steps, for readers of small structs */
/* Next field header; *type is STOP at the end of the struct. */
gboolean ain_thrift_walk_field(AinThriftWalk *walk, AinThriftType *type, gint16 *id, GError **error);
gboolean ain_thrift_walk_i32(AinThriftWalk *walk, gint32 *value, GError **error);
gboolean ain_thrift_walk_string(AinThriftWalk *walk, AinSlice *value, GError **error);
gboolean ain_thrift_walk_skip(AinThriftWalk *walk, AinThriftType type, GError **error);
