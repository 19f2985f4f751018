#include "rpc/writer.h"

#include <stdlib.h>

#define LENGTH_BYTES 4
#define FIRST_CAPACITY 512

void ain_writer_init(AinWriter *writer, AinThriftProtocol protocol, guint8 *data, gsize capacity) {
  *writer = (AinWriter){ .data = data, .capacity = capacity, .protocol = protocol };
  ain_writer_reserve(writer, LENGTH_BYTES);
  writer->size = LENGTH_BYTES;
}

void ain_writer_reserve(AinWriter *writer, gsize more) {
  if (more > AIN_WRITER_MAX || writer->size + more > AIN_WRITER_MAX) {
    writer->too_large = TRUE;
    return;
  }
  gsize needed = writer->size + more;
  if (needed <= writer->capacity) {
    return;
  }
  gsize capacity = MAX(needed, MAX(writer->capacity * 2, FIRST_CAPACITY));
  guint8 *moved = g_try_realloc(writer->data, capacity);
  if (moved == NULL) {
    writer->too_large = writer->starved = TRUE;
    return;
  }
  writer->data = moved;
  writer->capacity = capacity;
}

/* NULL once the message is too large or memory has run out; callers then simply write nothing. */
static guint8 *space(AinWriter *writer, gsize size) {
  ain_writer_reserve(writer, size);
  if (writer->too_large) {
    return NULL;
  }
  guint8 *start = writer->data + writer->size;
  writer->size += size;
  return start;
}

static void put(AinWriter *writer, const void *bytes, gsize size) {
  guint8 *start = space(writer, size);
  if (start != NULL && size > 0) {
    memcpy(start, bytes, size);
  }
}

static void put_u8(AinWriter *writer, guint value) {
  guint8 byte = (guint8)value;
  put(writer, &byte, 1);
}

static void put_be16(AinWriter *writer, guint16 value) {
  value = GUINT16_TO_BE(value);
  put(writer, &value, sizeof value);
}

static void put_be32(AinWriter *writer, guint32 value) {
  value = GUINT32_TO_BE(value);
  put(writer, &value, sizeof value);
}

static void put_be64(AinWriter *writer, guint64 value) {
  value = GUINT64_TO_BE(value);
  put(writer, &value, sizeof value);
}

static void put_varint(AinWriter *writer, guint64 value) {
  guint8 bytes[10];
  guint size = 0;
  while (value >= 0x80) {
    bytes[size++] = (guint8)(value | 0x80);
    value >>= 7;
  }
  bytes[size++] = (guint8)value;
  put(writer, bytes, size);
}

static guint64 zigzag(gint64 value) {
  return ((guint64)value << 1) ^ (guint64)(value >> 63);
}

static gboolean is_compact(const AinWriter *writer) {
  return writer->protocol == AIN_THRIFT_COMPACT;
}

static guint compact_type(AinThriftType type) {
  static const guint8 codes[16] = {
    [AIN_THRIFT_BOOL] = 1, [AIN_THRIFT_BYTE] = 3, [AIN_THRIFT_DOUBLE] = 7, [AIN_THRIFT_I16] = 4,
    [AIN_THRIFT_I32] = 5,  [AIN_THRIFT_I64] = 6,  [AIN_THRIFT_STRING] = 8, [AIN_THRIFT_STRUCT] = 12,
    [AIN_THRIFT_MAP] = 11, [AIN_THRIFT_SET] = 10, [AIN_THRIFT_LIST] = 9,
  };
  return codes[type];
}

gboolean ain_writer_finish(AinWriter *writer) {
  if (writer->too_large) {
    return FALSE;
  }
  guint32 length = GUINT32_TO_BE((guint32)(writer->size - LENGTH_BYTES));
  memcpy(writer->data, &length, sizeof length);
  return TRUE;
}

static void put_text(AinWriter *writer, const void *bytes, gsize size) {
  guint8 *place = ain_writer_string_space(writer, size);
  if (place != NULL && size > 0) {
    memcpy(place, bytes, size);
  }
}

void ain_writer_message(AinWriter *writer, AinSlice name, AinMessageType type, gint32 seqid) {
  if (is_compact(writer)) {
    put_u8(writer, 0x82);
    put_u8(writer, 1U | (guint)type << 5);
    put_varint(writer, (guint32)seqid);
    put_text(writer, name.data, name.size);
    return;
  }
  put_be32(writer, 0x80010000U | (guint32)type);
  put_text(writer, name.data, name.size);
  put_be32(writer, (guint32)seqid);
}

void ain_writer_struct_begin(AinWriter *writer) {
  g_assert(writer->depth < AIN_WRITER_DEPTH); /* a mistake of this program, whatever the peer sent */
  writer->last_id[writer->depth++] = 0;
}

void ain_writer_struct_end(AinWriter *writer) {
  g_assert(writer->depth > 0);
  writer->depth--;
  put_u8(writer, AIN_THRIFT_STOP);
}

static void compact_field(AinWriter *writer, guint code, gint16 id) {
  gint16 *last = &writer->last_id[writer->depth - 1];
  gint delta = id - *last;
  *last = id;
  if (delta >= 1 && delta <= 15) {
    put_u8(writer, (guint)delta << 4 | code);
    return;
  }
  put_u8(writer, code);
  put_varint(writer, zigzag(id));
}

void ain_writer_field(AinWriter *writer, AinThriftType type, gint16 id) {
  if (is_compact(writer)) {
    compact_field(writer, compact_type(type), id);
    return;
  }
  put_u8(writer, type);
  put_be16(writer, (guint16)id);
}

void ain_writer_bool_field(AinWriter *writer, gint16 id, gboolean value) {
  if (is_compact(writer)) {
    compact_field(writer, value ? 1 : 2, id);
    return;
  }
  ain_writer_field(writer, AIN_THRIFT_BOOL, id);
  put_u8(writer, value ? 1 : 0);
}

void ain_writer_byte(AinWriter *writer, gint8 value) {
  put_u8(writer, (guint8)value);
}

void ain_writer_i32(AinWriter *writer, gint32 value) {
  if (is_compact(writer)) {
    put_varint(writer, (guint32)zigzag(value));
    return;
  }
  put_be32(writer, (guint32)value);
}

void ain_writer_i64(AinWriter *writer, gint64 value) {
  if (is_compact(writer)) {
    put_varint(writer, zigzag(value));
    return;
  }
  put_be64(writer, (guint64)value);
}

void ain_writer_double(AinWriter *writer, double value) {
  guint64 raw = 0;
  memcpy(&raw, &value, sizeof raw);
  if (is_compact(writer)) {
    raw = GUINT64_TO_LE(raw);
    put(writer, &raw, sizeof raw);
    return;
  }
  put_be64(writer, raw);
}

guint8 *ain_writer_string_space(AinWriter *writer, gsize size) {
  if (size > AIN_WRITER_MAX) {
    writer->too_large = TRUE;
    return NULL;
  }
  if (is_compact(writer)) {
    put_varint(writer, size);
  } else {
    put_be32(writer, (guint32)size);
  }
  return space(writer, size);
}

void ain_writer_string(AinWriter *writer, const char *text) {
  put_text(writer, text, strlen(text));
}

void ain_writer_list(AinWriter *writer, AinThriftType element, guint32 count) {
  if (!is_compact(writer)) {
    put_u8(writer, element);
    put_be32(writer, count);
  } else if (count < 15) {
    put_u8(writer, count << 4 | compact_type(element));
  } else {
    put_u8(writer, 0xF0 | compact_type(element));
    put_varint(writer, count);
  }
}

void ain_writer_map(AinWriter *writer, AinThriftType key, AinThriftType value, guint32 count) {
  if (!is_compact(writer)) {
    put_u8(writer, key);
    put_u8(writer, value);
    put_be32(writer, count);
    return;
  }
  put_varint(writer, count);
  if (count != 0) {
    put_u8(writer, compact_type(key) << 4 | compact_type(value));
  }
}
