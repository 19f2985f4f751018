#include "protocol/reader.h"

#define BINARY_VERSION 0x80010000U
#define COMPACT_ID 0x82
#define COMPACT_VERSION 1

/* Failures that name a value carry one %d. */
#define SHORT "the message ends in the middle of a value"

gboolean ain_reader_fail(AinReader *reader, const char *static_text, gint value) {
  if (reader->failure == NULL) {
    reader->failure = static_text;
    reader->failure_value = value;
  }
  return FALSE;
}

char *ain_reader_failure(const AinReader *reader) {
  const char *text = reader->failure != NULL ? reader->failure : "no failure";
  const char *mark = strstr(text, "%d");
  if (mark == NULL) {
    return g_strdup_printf("byte %" G_GSIZE_FORMAT ": %s", reader->at, text);
  }
  return g_strdup_printf("byte %" G_GSIZE_FORMAT ": %.*s%d%s", reader->at, (int)(mark - text), text,
                         reader->failure_value, mark + 2);
}

const char *ain_thrift_type_name(AinThriftType type) {
  static const char *const names[] = { "stop", NULL, "bool", "byte",   "double", NULL,  "i16", NULL,
                                       "i32",  NULL, "i64",  "string", "struct", "map", "set", "list" };
  const char *name = (guint)type < G_N_ELEMENTS(names) ? names[type] : NULL;
  return name != NULL ? name : "unknown";
}

gboolean ain_reader_protocol_of(guint8 first_byte, AinThriftProtocol *protocol) {
  if (first_byte != (BINARY_VERSION >> 24) && first_byte != COMPACT_ID) {
    return FALSE;
  }
  *protocol = first_byte == COMPACT_ID ? AIN_THRIFT_COMPACT : AIN_THRIFT_BINARY;
  return TRUE;
}

void ain_reader_init_value(AinReader *reader, AinThriftProtocol protocol, const guint8 *data, gsize size) {
  *reader = (AinReader){ .data = data, .size = size, .protocol = protocol, .parts_left = G_MAXUINT };
}

void ain_reader_init(AinReader *reader, const guint8 *data, gsize size) {
  ain_reader_init_value(reader, AIN_THRIFT_BINARY, data, size);
  if (size == 0) {
    ain_reader_fail(reader, "the message is empty", 0);
  } else if (!ain_reader_protocol_of(data[0], &reader->protocol)) {
    ain_reader_fail(reader, "the first byte is %d: neither the strict binary nor the compact protocol",
                    data[0]);
  }
}

/* --- raw bytes -------------------------------------------------------------------------------------------
 */

static const guint8 *take(AinReader *reader, gsize size) {
  if (reader->failure != NULL) {
    return NULL;
  }
  if (reader->size - reader->at < size) {
    ain_reader_fail(reader, SHORT, 0);
    return NULL;
  }
  const guint8 *start = reader->data + reader->at;
  reader->at += size;
  return start;
}

static gboolean take_u8(AinReader *reader, guint8 *value) {
  const guint8 *bytes = take(reader, 1);
  if (bytes == NULL) {
    return FALSE;
  }
  *value = bytes[0];
  return TRUE;
}

static gboolean take_be16(AinReader *reader, guint16 *value) {
  const guint8 *bytes = take(reader, sizeof *value);
  if (bytes == NULL) {
    return FALSE;
  }
  memcpy(value, bytes, sizeof *value);
  *value = GUINT16_FROM_BE(*value);
  return TRUE;
}

static gboolean take_be32(AinReader *reader, guint32 *value) {
  const guint8 *bytes = take(reader, sizeof *value);
  if (bytes == NULL) {
    return FALSE;
  }
  memcpy(value, bytes, sizeof *value);
  *value = GUINT32_FROM_BE(*value);
  return TRUE;
}

static gboolean take_be64(AinReader *reader, guint64 *value) {
  const guint8 *bytes = take(reader, sizeof *value);
  if (bytes == NULL) {
    return FALSE;
  }
  memcpy(value, bytes, sizeof *value);
  *value = GUINT64_FROM_BE(*value);
  return TRUE;
}

/* A varint of at most `bits` bits; longer ones are refused, not cut. */
static gboolean take_varint(AinReader *reader, guint bits, guint64 *value) {
  guint64 result = 0;
  for (guint shift = 0; shift < bits; shift += 7) {
    guint8 byte = 0;
    if (!take_u8(reader, &byte)) {
      return FALSE;
    }
    guint64 part = byte & 0x7F;
    if (bits - shift < 7 && part >> (bits - shift) != 0) {
      break;
    }
    result |= part << shift;
    if ((byte & 0x80) == 0) {
      *value = result;
      return TRUE;
    }
  }
  return ain_reader_fail(reader, "a variable-length integer has more bits than its type", 0);
}

static gboolean take_zigzag(AinReader *reader, guint bits, gint64 *value) {
  guint64 raw = 0;
  if (!take_varint(reader, bits, &raw)) {
    return FALSE;
  }
  *value = (gint64)(raw >> 1) ^ -(gint64)(raw & 1);
  return TRUE;
}

/* Sizes are signed 32-bit on the wire. */
static gboolean take_size(AinReader *reader, guint32 *size) {
  guint64 raw = 0;
  if (reader->protocol == AIN_THRIFT_COMPACT) {
    if (!take_varint(reader, 32, &raw)) {
      return FALSE;
    }
    *size = (guint32)raw;
  } else if (!take_be32(reader, size)) {
    return FALSE;
  }
  return *size <= G_MAXINT32 || ain_reader_fail(reader, "a length is negative (%d)", (gint)*size);
}

/* --- types -----------------------------------------------------------------------------------------------
 */

static gboolean type_known(guint8 type) {
  /* bits of the types in AinThriftType, STOP left out */
  return type < 16 && ((0xFD5CU >> type) & 1U) != 0;
}

static const guint8 compact_types[16] = {
  [1] = AIN_THRIFT_BOOL, [2] = AIN_THRIFT_BOOL, [3] = AIN_THRIFT_BYTE,   [4] = AIN_THRIFT_I16,
  [5] = AIN_THRIFT_I32,  [6] = AIN_THRIFT_I64,  [7] = AIN_THRIFT_DOUBLE, [8] = AIN_THRIFT_STRING,
  [9] = AIN_THRIFT_LIST, [10] = AIN_THRIFT_SET, [11] = AIN_THRIFT_MAP,   [12] = AIN_THRIFT_STRUCT,
};

static gboolean check_type(AinReader *reader, guint8 raw, AinThriftType *type) {
  guint8 known = reader->protocol == AIN_THRIFT_COMPACT ? compact_types[raw & 0x0F] : raw;
  if (known == AIN_THRIFT_STOP || !type_known(known)) {
    return ain_reader_fail(reader, "%d is no type of the Thrift protocol", raw);
  }
  *type = (AinThriftType)known;
  return TRUE;
}

/* The fewest bytes a value can take: what makes an absurd count visible before any work is done for it. */
static gsize least_size(AinThriftProtocol protocol, AinThriftType type) {
  static const guint8 binary[16] = {
    [AIN_THRIFT_BOOL] = 1, [AIN_THRIFT_BYTE] = 1, [AIN_THRIFT_DOUBLE] = 8, [AIN_THRIFT_I16] = 2,
    [AIN_THRIFT_I32] = 4,  [AIN_THRIFT_I64] = 8,  [AIN_THRIFT_STRING] = 4, [AIN_THRIFT_STRUCT] = 1,
    [AIN_THRIFT_MAP] = 6,  [AIN_THRIFT_SET] = 5,  [AIN_THRIFT_LIST] = 5,
  };
  if (protocol == AIN_THRIFT_COMPACT) {
    return type == AIN_THRIFT_DOUBLE ? 8 : 1;
  }
  return binary[type];
}

static gboolean exceed(AinReader *reader, const char *static_text, gint value) {
  reader->exceeded = reader->failure == NULL;
  return ain_reader_fail(reader, static_text, value);
}

static gboolean check_count(AinReader *reader, guint32 count, gsize least) {
  if ((reader->size - reader->at) / least < count) {
    return ain_reader_fail(reader, "a container claims %d elements, more than the bytes left can hold",
                           (gint)count);
  }
  if (count > reader->parts_left) {
    return exceed(reader, "more structs and elements than are accepted in one message", 0);
  }
  reader->parts_left -= count;
  return TRUE;
}

/* One level deeper, into a struct or a container. */
static gboolean descend(AinReader *reader) {
  if (reader->depth >= AIN_READER_MAX_DEPTH) {
    return exceed(reader, "values are nested deeper than %d levels", AIN_READER_MAX_DEPTH);
  }
  if (reader->parts_left == 0) {
    return exceed(reader, "more structs and elements than are accepted in one message", 0);
  }
  reader->parts_left--;
  reader->depth++;
  return TRUE;
}

/* --- message ---------------------------------------------------------------------------------------------
 */

static gboolean binary_message(AinReader *reader, AinMessage *message, guint8 *type) {
  guint32 word = 0;
  guint32 seqid = 0;
  if (!take_be32(reader, &word)) {
    return FALSE;
  }
  if ((word & 0xFFFFFF00U) != BINARY_VERSION) {
    return ain_reader_fail(reader, "the message does not start as the strict binary protocol, version 1", 0);
  }
  *type = (guint8)(word & 0xFF);
  if (!ain_reader_string(reader, &message->name) || !take_be32(reader, &seqid)) {
    return FALSE;
  }
  message->seqid = (gint32)seqid;
  return TRUE;
}

static gboolean compact_message(AinReader *reader, AinMessage *message, guint8 *type) {
  guint8 id = 0;
  guint8 version = 0;
  guint64 seqid = 0;
  if (!take_u8(reader, &id) || !take_u8(reader, &version) || !take_varint(reader, 32, &seqid)) {
    return FALSE;
  }
  if (id != COMPACT_ID || (version & 0x1F) != COMPACT_VERSION) {
    return ain_reader_fail(reader, "the message is not of the compact protocol, version 1", 0);
  }
  *type = version >> 5;
  message->seqid = (gint32)(guint32)seqid;
  return ain_reader_string(reader, &message->name);
}

gboolean ain_reader_message(AinReader *reader, AinMessage *message) {
  guint8 type = 0;
  gboolean read = reader->protocol == AIN_THRIFT_COMPACT ? compact_message(reader, message, &type)
                                                         : binary_message(reader, message, &type);
  if (!read) {
    return FALSE;
  }
  if (type < AIN_MESSAGE_CALL || type > AIN_MESSAGE_ONEWAY) {
    return ain_reader_fail(reader, "%d is no message type", type);
  }
  if (message->name.size == 0 || message->name.size > AIN_READER_MAX_NAME) {
    return ain_reader_fail(reader, "a method name of %d bytes is not accepted", (gint)message->name.size);
  }
  message->type = (AinMessageType)type;
  return TRUE;
}

gboolean ain_reader_end(AinReader *reader) {
  if (reader->failure != NULL) {
    return FALSE;
  }
  return reader->at == reader->size || ain_reader_fail(reader, "bytes follow the end of the message", 0);
}

/* --- structs ---------------------------------------------------------------------------------------------
 */

gboolean ain_reader_struct(AinReader *reader, AinField *field) {
  *field = (AinField){ 0 };
  return reader->failure == NULL && descend(reader);
}

static gboolean compact_field_id(AinReader *reader, guint8 header, AinField *field) {
  guint8 delta = header >> 4;
  gint64 id = 0;
  if (delta != 0) {
    id = (gint64)field->id + delta;
    if (id > G_MAXINT16) {
      return ain_reader_fail(reader, "a field id is beyond 32767", 0);
    }
  } else if (!take_zigzag(reader, 16, &id)) {
    return FALSE;
  }
  field->id = (gint16)id;
  if (field->type == AIN_THRIFT_BOOL) {
    reader->pending_bool = header & 0x0F;
  }
  return TRUE;
}

static gboolean note_field(AinReader *reader, AinField *field) {
  if (field->id < -1 || field->id > 62) {
    return TRUE; /* no struct of IoTDB goes there: unknown to everyone, skipped */
  }
  guint64 bit = (guint64)1 << (field->id + 1);
  if ((field->seen & bit) != 0) {
    return ain_reader_fail(reader, "field %d stands twice in one struct", field->id);
  }
  field->seen |= bit;
  return TRUE;
}

gboolean ain_reader_next(AinReader *reader, AinField *field) {
  guint8 header = 0;
  if (reader->pending_bool != 0) {
    return ain_reader_fail(reader, "a field was not read", 0); /* a caller's mistake, not the peer's */
  }
  if (!take_u8(reader, &header)) {
    return FALSE;
  }
  if (header == AIN_THRIFT_STOP) {
    reader->depth--;
    return FALSE;
  }
  if (!check_type(reader, header, &field->type)) {
    return FALSE;
  }
  guint16 id = 0;
  if (reader->protocol == AIN_THRIFT_COMPACT) {
    return compact_field_id(reader, header, field) && note_field(reader, field);
  }
  if (!take_be16(reader, &id)) {
    return FALSE;
  }
  field->id = (gint16)id;
  return note_field(reader, field);
}

/* --- values ----------------------------------------------------------------------------------------------
 */

gboolean ain_reader_bool(AinReader *reader, gboolean *value) {
  guint8 raw = reader->pending_bool;
  if (raw != 0) {
    reader->pending_bool = 0;
    *value = raw == 1;
    return ain_reader_ok(reader);
  }
  if (!take_u8(reader, &raw)) {
    return FALSE;
  }
  /* Binary: 0 or 1. Compact elements: 1 or 2, and 0 from some writers. */
  if (raw > (reader->protocol == AIN_THRIFT_COMPACT ? 2 : 1)) {
    return ain_reader_fail(reader, "%d is no bool", raw);
  }
  *value = raw == 1;
  return TRUE;
}

gboolean ain_reader_byte(AinReader *reader, gint8 *value) {
  guint8 raw = 0;
  if (!take_u8(reader, &raw)) {
    return FALSE;
  }
  *value = (gint8)raw;
  return TRUE;
}

gboolean ain_reader_i32(AinReader *reader, gint32 *value) {
  gint64 wide = 0;
  guint32 raw = 0;
  if (reader->protocol == AIN_THRIFT_COMPACT) {
    if (!take_zigzag(reader, 32, &wide)) {
      return FALSE;
    }
    *value = (gint32)wide;
    return TRUE;
  }
  if (!take_be32(reader, &raw)) {
    return FALSE;
  }
  *value = (gint32)raw;
  return TRUE;
}

gboolean ain_reader_i64(AinReader *reader, gint64 *value) {
  guint64 raw = 0;
  if (reader->protocol == AIN_THRIFT_COMPACT) {
    return take_zigzag(reader, 64, value);
  }
  if (!take_be64(reader, &raw)) {
    return FALSE;
  }
  *value = (gint64)raw;
  return TRUE;
}

gboolean ain_reader_double(AinReader *reader, double *value) {
  const guint8 *bytes = take(reader, sizeof(guint64));
  if (bytes == NULL) {
    return FALSE;
  }
  guint64 raw = 0;
  memcpy(&raw, bytes, sizeof raw);
  /* Compact sends doubles in little-endian order, binary in big-endian. */
  raw = reader->protocol == AIN_THRIFT_COMPACT ? GUINT64_FROM_LE(raw) : GUINT64_FROM_BE(raw);
  memcpy(value, &raw, sizeof raw);
  return TRUE;
}

gboolean ain_reader_string(AinReader *reader, AinSlice *value) {
  guint32 size = 0;
  if (!take_size(reader, &size)) {
    return FALSE;
  }
  const guint8 *bytes = take(reader, size);
  if (bytes == NULL) {
    return FALSE;
  }
  *value = (AinSlice){ bytes, size };
  return TRUE;
}

/* --- containers ------------------------------------------------------------------------------------------
 */

static gboolean list_header(AinReader *reader, AinThriftType *element, guint32 *count) {
  guint8 header = 0;
  if (!take_u8(reader, &header)) {
    return FALSE;
  }
  *count = header >> 4;
  gboolean long_form = reader->protocol == AIN_THRIFT_BINARY || *count == 15;
  if (long_form && !take_size(reader, count)) {
    return FALSE;
  }
  if (*count == 0 && (long_form && reader->protocol == AIN_THRIFT_BINARY ? header : header & 0x0F) == 0) {
    return TRUE; /* some writers leave the type of an empty list at 0 */
  }
  return check_type(reader, header, element)
         && check_count(reader, *count, least_size(reader->protocol, *element));
}

gboolean ain_reader_list(AinReader *reader, AinThriftType element, guint32 *count) {
  AinThriftType found = element;
  if (!list_header(reader, &found, count)) {
    return FALSE;
  }
  return *count == 0 || found == element
         || ain_reader_fail(reader, "a list has elements of the wrong type (%d)", found);
}

static gboolean map_header(AinReader *reader, AinThriftType *key, AinThriftType *value, guint32 *count) {
  guint8 first = 0;
  guint8 second = 0;
  if (reader->protocol == AIN_THRIFT_COMPACT) {
    if (!take_size(reader, count) || (*count != 0 && !take_u8(reader, &second))) {
      return FALSE;
    }
    first = second >> 4;
  } else if (!take_u8(reader, &first) || !take_u8(reader, &second) || !take_size(reader, count)) {
    return FALSE;
  }
  if (*count == 0 && first == 0 && second == 0) {
    return TRUE;
  }
  return check_type(reader, first, key) && check_type(reader, second, value)
         && check_count(reader, *count,
                        least_size(reader->protocol, *key) + least_size(reader->protocol, *value));
}

gboolean ain_reader_map(AinReader *reader, AinThriftType key, AinThriftType value, guint32 *count) {
  AinThriftType found_key = key;
  AinThriftType found_value = value;
  if (!map_header(reader, &found_key, &found_value, count)) {
    return FALSE;
  }
  if (*count != 0 && (found_key != key || found_value != value)) {
    return ain_reader_fail(reader, "a map has keys or values of the wrong type (%d)",
                           found_key != key ? (gint)found_key : (gint)found_value);
  }
  return TRUE;
}

static gboolean skip_struct(AinReader *reader) {
  AinField field;
  if (!ain_reader_struct(reader, &field)) {
    return FALSE;
  }
  while (ain_reader_next(reader, &field)) {
    if (!ain_reader_skip(reader, field.type)) {
      return FALSE;
    }
  }
  return ain_reader_ok(reader);
}

static gboolean skip_container(AinReader *reader, AinThriftType type) {
  AinThriftType first = AIN_THRIFT_BYTE;
  AinThriftType second = AIN_THRIFT_BYTE;
  guint32 count = 0;
  gboolean is_map = type == AIN_THRIFT_MAP;
  if (!descend(reader)
      || !(is_map ? map_header(reader, &first, &second, &count) : list_header(reader, &first, &count))) {
    return FALSE;
  }
  for (guint32 i = 0; i < count; i++) {
    if (!ain_reader_skip(reader, first) || (is_map && !ain_reader_skip(reader, second))) {
      return FALSE;
    }
  }
  reader->depth--;
  return TRUE;
}

gboolean ain_reader_skip(AinReader *reader, AinThriftType type) {
  gboolean compact = reader->protocol == AIN_THRIFT_COMPACT;
  gboolean flag = FALSE;
  gint64 wide = 0;
  AinSlice slice;
  switch (type) {
  case AIN_THRIFT_BOOL:
    return ain_reader_bool(reader, &flag);
  case AIN_THRIFT_BYTE:
    return take(reader, 1) != NULL;
  case AIN_THRIFT_DOUBLE:
    return take(reader, 8) != NULL;
  case AIN_THRIFT_I16:
    return compact ? take_zigzag(reader, 16, &wide) : take(reader, 2) != NULL;
  case AIN_THRIFT_I32:
    return compact ? take_zigzag(reader, 32, &wide) : take(reader, 4) != NULL;
  case AIN_THRIFT_I64:
    return compact ? take_zigzag(reader, 64, &wide) : take(reader, 8) != NULL;
  case AIN_THRIFT_STRING:
    return ain_reader_string(reader, &slice);
  case AIN_THRIFT_STRUCT:
    return skip_struct(reader);
  case AIN_THRIFT_MAP:
  case AIN_THRIFT_SET:
  case AIN_THRIFT_LIST:
    return skip_container(reader, type);
  case AIN_THRIFT_STOP:
    break;
  }
  return ain_reader_fail(reader, "%d is no type of the Thrift protocol", type);
}
