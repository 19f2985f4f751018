#include "protocol/thrift_walk.h"

#include "base/error.h"

/* A reply of a ConfigNode nests 6 deep and names a handful of structs a node: these limits are far above
 * what is real and keep the generated reader's objects within some 50 MB. */
#define MAX_DEPTH 32
#define MAX_PARTS 65536
#define MAX_NAME 256

static void report(const AinThriftWalk *walk, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void report(const AinThriftWalk *walk, GError **error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error(error, AIN_ERROR, AIN_ERROR_MALFORMED,
              "%s (at byte %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT ")", text, walk->offset,
              walk->frame.size);
}
/* A macro, so that the compiler sees the FALSE on each path. */
#define malformed(...) (report(__VA_ARGS__), FALSE)

static gsize remaining(const AinThriftWalk *walk) {
  return walk->frame.size - walk->offset;
}

/* The next bytes, or NULL with an error. */
static const guint8 *take(AinThriftWalk *walk, gsize size, GError **error) {
  if (size > remaining(walk)) {
    report(walk, error, "the message ends early");
    return NULL;
  }
  const guint8 *data = walk->frame.data + walk->offset;
  walk->offset += size;
  return data;
}

static gboolean take_byte(AinThriftWalk *walk, guint8 *value, GError **error) {
  const guint8 *data = take(walk, 1, error);
  if (data == NULL) {
    return FALSE;
  }
  *value = *data;
  return TRUE;
}

static gboolean take_be32(AinThriftWalk *walk, guint32 *value, GError **error) {
  const guint8 *data = take(walk, 4, error);
  if (data == NULL) {
    return FALSE;
  }
  *value = (guint32)data[0] << 24 | (guint32)data[1] << 16 | (guint32)data[2] << 8 | data[3];
  return TRUE;
}

/* An unsigned varint of at most `bits` bits; longer ones wrap in generated readers and are refused. */
static gboolean take_varint(AinThriftWalk *walk, guint bits, guint64 *value, GError **error) {
  guint64 result = 0;
  for (guint shift = 0; shift < bits; shift += 7) {
    guint8 byte;
    if (!take_byte(walk, &byte, error)) {
      return FALSE;
    }
    guint64 part = byte & 0x7f;
    if (bits - shift < 7 && part >> (bits - shift) != 0) {
      break;
    }
    result |= part << shift;
    if ((byte & 0x80) == 0) {
      *value = result;
      return TRUE;
    }
  }
  return malformed(walk, error, "a number has more than %u bits", bits);
}

static gboolean take_zigzag32(AinThriftWalk *walk, gint32 *value, GError **error) {
  guint64 raw;
  if (!take_varint(walk, 32, &raw, error)) {
    return FALSE;
  }
  *value = (gint32)((guint32)(raw >> 1) ^ (0U - (guint32)(raw & 1)));
  return TRUE;
}

static gboolean take_length(AinThriftWalk *walk, gsize *length, GError **error) {
  guint32 value;
  if (walk->compact) {
    guint64 raw;
    if (!take_varint(walk, 32, &raw, error)) {
      return FALSE;
    }
    value = (guint32)raw;
  } else if (!take_be32(walk, &value, error)) {
    return FALSE;
  }
  /* Every byte of a string and every element of a container takes at least one byte of the frame. */
  if (value > remaining(walk)) {
    return malformed(walk, error, "a length of %" G_GINT32_FORMAT " does not fit into the message",
                     (gint32)value);
  }
  *length = value;
  return TRUE;
}

static AinThriftType type_of_compact(guint8 nibble) {
  static const guint8 types[16] = {
    0,
    AIN_THRIFT_BOOL,
    AIN_THRIFT_BOOL,
    AIN_THRIFT_BYTE,
    AIN_THRIFT_I16,
    AIN_THRIFT_I32,
    AIN_THRIFT_I64,
    AIN_THRIFT_DOUBLE,
    AIN_THRIFT_STRING,
    AIN_THRIFT_LIST,
    AIN_THRIFT_SET,
    AIN_THRIFT_MAP,
    AIN_THRIFT_STRUCT,
  };
  return (AinThriftType)types[nibble & 0x0f];
}

static gboolean type_from_wire(AinThriftWalk *walk, guint8 byte, AinThriftType *type, GError **error) {
  static const guint32 known = 1U << AIN_THRIFT_BOOL | 1U << AIN_THRIFT_BYTE | 1U << AIN_THRIFT_DOUBLE
                               | 1U << AIN_THRIFT_I16 | 1U << AIN_THRIFT_I32 | 1U << AIN_THRIFT_I64
                               | 1U << AIN_THRIFT_STRING | 1U << AIN_THRIFT_STRUCT | 1U << AIN_THRIFT_MAP
                               | 1U << AIN_THRIFT_SET | 1U << AIN_THRIFT_LIST;
  AinThriftType found = walk->compact ? type_of_compact(byte) : (AinThriftType)byte;
  if (found > AIN_THRIFT_LIST || (known & 1U << found) == 0) {
    return malformed(walk, error, "unknown type %u", byte);
  }
  *type = found;
  return TRUE;
}

gboolean ain_thrift_walk_string(AinThriftWalk *walk, AinSlice *value, GError **error) {
  gsize length;
  if (!take_length(walk, &length, error)) {
    return FALSE;
  }
  const guint8 *data = take(walk, length, error);
  *value = (AinSlice){ data, length };
  return data != NULL;
}

gboolean ain_thrift_walk_i32(AinThriftWalk *walk, gint32 *value, GError **error) {
  if (walk->compact) {
    return take_zigzag32(walk, value, error);
  }
  guint32 raw;
  if (!take_be32(walk, &raw, error)) {
    return FALSE;
  }
  *value = (gint32)raw;
  return TRUE;
}

static gboolean begin_binary(AinThriftWalk *walk, AinThriftMessage *message, GError **error) {
  guint32 version;
  if (!take_be32(walk, &version, error)) {
    return FALSE;
  }
  /* c_glib looks at the upper half and the last byte alone; the third is 0 in what any writer sends. */
  if ((version & 0xffffff00U) != 0x80010000U) {
    return malformed(walk, error, "unknown protocol version 0x%08x", version);
  }
  message->type = (AinThriftMessageType)(version & 0xff);
  return ain_thrift_walk_string(walk, &message->name, error)
         && ain_thrift_walk_i32(walk, &message->seqid, error);
}

static gboolean begin_compact(AinThriftWalk *walk, AinThriftMessage *message, GError **error) {
  guint8 protocol;
  guint8 version;
  guint64 seqid;
  if (!take_byte(walk, &protocol, error) || !take_byte(walk, &version, error)) {
    return FALSE;
  }
  if ((version & 0x1f) != 1) {
    return malformed(walk, error, "unknown compact protocol version %u", version & 0x1f);
  }
  message->type = (AinThriftMessageType)(version >> 5);
  if (!take_varint(walk, 32, &seqid, error) || !ain_thrift_walk_string(walk, &message->name, error)) {
    return FALSE;
  }
  message->seqid = (gint32)seqid;
  return TRUE;
}

gboolean ain_thrift_walk_begin(AinThriftWalk *walk, AinSlice frame, AinThriftMessage *message,
                               GError **error) {
  *walk = (AinThriftWalk){ .frame = frame };
  guint8 first = frame.size > 0 ? frame.data[0] : 0;
  if (first != 0x80 && first != 0x82) {
    return malformed(walk, error, "neither the binary nor the compact protocol");
  }
  walk->compact = first == 0x82;
  if (!(walk->compact ? begin_compact(walk, message, error) : begin_binary(walk, message, error))) {
    return FALSE;
  }
  if (message->name.size > MAX_NAME) {
    return malformed(walk, error, "a method name of %" G_GSIZE_FORMAT " bytes", message->name.size);
  }
  return TRUE;
}

gboolean ain_thrift_walk_end(const AinThriftWalk *walk, GError **error) {
  return remaining(walk) == 0 || malformed(walk, error, "bytes after the end of the message");
}

static gboolean read_field_id(AinThriftWalk *walk, gint16 *id, GError **error) {
  if (!walk->compact) {
    const guint8 *data = take(walk, 2, error);
    if (data == NULL) {
      return FALSE;
    }
    *id = (gint16)(data[0] << 8 | data[1]);
    return TRUE;
  }
  gint32 value;
  if (!take_zigzag32(walk, &value, error)) {
    return FALSE;
  }
  if (value < G_MININT16 || value > G_MAXINT16) {
    return malformed(walk, error, "a field id of %" G_GINT32_FORMAT, value);
  }
  *id = (gint16)value;
  return TRUE;
}

gboolean ain_thrift_walk_field(AinThriftWalk *walk, AinThriftType *type, gint16 *id, GError **error) {
  guint8 header;
  if (!take_byte(walk, &header, error)) {
    return FALSE;
  }
  *type = AIN_THRIFT_STOP;
  *id = 0;
  /* c_glib's compact reader stops on any zero type nibble; only a zero byte is legal. */
  if (header == 0) {
    return TRUE;
  }
  guint8 delta = walk->compact ? header >> 4 : 0;
  if (!type_from_wire(walk, walk->compact ? header & 0x0f : header, type, error)) {
    return FALSE;
  }
  if (delta == 0) {
    if (!read_field_id(walk, id, error)) {
      return FALSE;
    }
  } else if (walk->last_field > G_MAXINT16 - delta) {
    return malformed(walk, error, "a field id over %d", G_MAXINT16);
  } else {
    *id = (gint16)(walk->last_field + delta);
  }
  walk->last_field = *id;
  walk->pending_bool = walk->compact && *type == AIN_THRIFT_BOOL;
  return TRUE;
}

/* Each part becomes at least one heap object of the generated reader, however few bytes it has. */
static gboolean count_parts(AinThriftWalk *walk, gsize parts, GError **error) {
  if (parts > MAX_PARTS - walk->parts) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE, "the message has more than %d parts", MAX_PARTS);
    return FALSE;
  }
  walk->parts += (guint)parts;
  return TRUE;
}

static gboolean enter(AinThriftWalk *walk, GError **error) {
  if (walk->depth >= MAX_DEPTH) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE, "the message nests deeper than %d", MAX_DEPTH);
    return FALSE;
  }
  walk->depth++;
  return count_parts(walk, 1, error);
}

static gboolean check_value(AinThriftWalk *walk, AinThriftType type, const AinThriftShape *shape,
                            GError **error);

/* The types of an empty map are not on the wire in the compact protocol: STOP. */
static gboolean read_container(AinThriftWalk *walk, gboolean is_map, AinThriftType *key,
                               AinThriftType *element, gsize *count, GError **error) {
  guint8 first;
  guint8 second;
  *key = *element = AIN_THRIFT_STOP;
  if (walk->compact && is_map) {
    if (!take_length(walk, count, error)) {
      return FALSE;
    }
    return *count == 0
           || (take_byte(walk, &first, error) && type_from_wire(walk, first >> 4, key, error)
               && type_from_wire(walk, first & 0x0f, element, error));
  }
  if (walk->compact) {
    if (!take_byte(walk, &first, error) || !type_from_wire(walk, first & 0x0f, element, error)) {
      return FALSE;
    }
    *count = first >> 4;
    return *count < 15 || take_length(walk, count, error);
  }
  if (is_map && (!take_byte(walk, &second, error) || !type_from_wire(walk, second, key, error))) {
    return FALSE;
  }
  return take_byte(walk, &first, error) && type_from_wire(walk, first, element, error)
         && take_length(walk, count, error);
}

static gboolean check_container(AinThriftWalk *walk, AinThriftType type, const AinThriftShape *shape,
                                GError **error) {
  gboolean is_map = type == AIN_THRIFT_MAP;
  AinThriftType key;
  AinThriftType element;
  gsize count;
  if (!enter(walk, error) || !read_container(walk, is_map, &key, &element, &count, error)
      || !count_parts(walk, count, error)) {
    return FALSE;
  }
  const AinThriftShape *key_shape = shape != NULL ? shape->key : NULL;
  const AinThriftShape *element_shape = shape != NULL ? shape->element : NULL;
  gboolean typeless = walk->compact && is_map && count == 0;
  if (!typeless
      && ((element_shape != NULL && element != element_shape->type)
          || (key_shape != NULL && key != key_shape->type))) {
    return malformed(walk, error, "a container has elements of type %u", (guint)element);
  }
  for (gsize i = 0; i < count; i++) {
    if ((is_map && !check_value(walk, key, key_shape, error))
        || !check_value(walk, element, element_shape, error)) {
      return FALSE;
    }
  }
  walk->depth--;
  return TRUE;
}

static const AinThriftField *find_field(const AinThriftStruct *expected, gint16 id, guint *index) {
  for (guint i = 0; i < expected->n_fields; i++) {
    if (expected->fields[i].id == id) {
      *index = i;
      return &expected->fields[i];
    }
  }
  return NULL;
}

static gboolean check_field(AinThriftWalk *walk, const AinThriftStruct *expected, AinThriftType type,
                            gint16 id, guint32 *seen, GError **error) {
  guint index = 0;
  const AinThriftField *field = expected != NULL ? find_field(expected, id, &index) : NULL;
  if (expected == NULL || field == NULL) {
    return check_value(walk, type, NULL, error);
  }
  if ((*seen & 1U << index) != 0) {
    return malformed(walk, error, "field %s of %s comes twice", field->name, expected->name);
  }
  if (type != field->shape->type) {
    return malformed(walk, error, "field %s of %s has type %u instead of %u", field->name, expected->name,
                     (guint)type, (guint)field->shape->type);
  }
  *seen |= 1U << index;
  return check_value(walk, type, field->shape, error);
}

gboolean ain_thrift_walk_struct(AinThriftWalk *walk, const AinThriftStruct *expected, GError **error) {
  guint32 seen = 0;
  gint16 outer_field = walk->last_field;
  if (!enter(walk, error)) {
    return FALSE;
  }
  walk->last_field = 0;
  for (;;) {
    AinThriftType type;
    gint16 id;
    if (!ain_thrift_walk_field(walk, &type, &id, error)) {
      return FALSE;
    }
    if (type == AIN_THRIFT_STOP) {
      break;
    }
    if (!check_field(walk, expected, type, id, &seen, error)) {
      return FALSE;
    }
  }
  for (guint i = 0; expected != NULL && i < expected->n_fields; i++) {
    if (expected->fields[i].required && (seen & 1U << i) == 0) {
      return malformed(walk, error, "field %s of %s is missing", expected->fields[i].name, expected->name);
    }
  }
  walk->last_field = outer_field;
  walk->depth--;
  return TRUE;
}

static gboolean check_string(AinThriftWalk *walk, const AinThriftShape *shape, GError **error) {
  AinSlice text;
  if (!ain_thrift_walk_string(walk, &text, error)) {
    return FALSE;
  }
  /* The generated reader keeps texts NUL-terminated without a length. */
  if (shape != NULL && !shape->is_binary && text.size > 0 && memchr(text.data, 0, text.size) != NULL) {
    return malformed(walk, error, "a text with a NUL character");
  }
  return TRUE;
}

static gboolean check_integer(AinThriftWalk *walk, gsize size, GError **error) {
  guint64 value;
  if (!walk->compact) {
    return take(walk, size, error) != NULL;
  }
  if (!take_varint(walk, size == 8 ? 64 : 32, &value, error)) {
    return FALSE;
  }
  if (size == 2 && value > G_MAXUINT16) {
    return malformed(walk, error, "a 16-bit number is too large");
  }
  return TRUE;
}

static gboolean check_bool(AinThriftWalk *walk, GError **error) {
  guint8 value;
  if (walk->pending_bool) {
    walk->pending_bool = FALSE;
    return TRUE;
  }
  return take_byte(walk, &value, error);
}

static gboolean check_value(AinThriftWalk *walk, AinThriftType type, const AinThriftShape *shape,
                            GError **error) {
  switch (type) {
  case AIN_THRIFT_BOOL:
    return check_bool(walk, error);
  case AIN_THRIFT_BYTE:
    return take(walk, 1, error) != NULL;
  case AIN_THRIFT_I16:
    return check_integer(walk, 2, error);
  case AIN_THRIFT_I32:
    return check_integer(walk, 4, error);
  case AIN_THRIFT_I64:
    return check_integer(walk, 8, error);
  case AIN_THRIFT_DOUBLE:
    return take(walk, 8, error) != NULL;
  case AIN_THRIFT_STRING:
    return check_string(walk, shape, error);
  case AIN_THRIFT_STRUCT:
    return ain_thrift_walk_struct(walk, shape != NULL ? shape->contents : NULL, error);
  case AIN_THRIFT_MAP:
  case AIN_THRIFT_SET:
  case AIN_THRIFT_LIST:
    return check_container(walk, type, shape, error);
  case AIN_THRIFT_STOP:
  default:
    return malformed(walk, error, "unknown type %u", (guint)type);
  }
}

gboolean ain_thrift_walk_skip(AinThriftWalk *walk, AinThriftType type, GError **error) {
  return check_value(walk, type, NULL, error);
}
