/* Writes one framed Thrift message, binary or compact, into a buffer that grows.
 *
 * The caller owns the buffer; four bytes for the frame's length are kept in front and filled in by
 * ain_writer_finish(). A capacity that was estimated right means no growth and no copy; payloads are written
 * in place through ain_writer_string_space(). Running over AIN_WRITER_MAX, or out of memory, is remembered
 * and makes finish fail. One thread at a time. */
#pragma once
#include "protocol/reader.h"

#define AIN_WRITER_MAX 536870912U /* IoTDB's limit of a frame; larger ones no peer would read */
#define AIN_WRITER_DEPTH 8        /* nesting of structs in anything this host sends */

typedef struct {
  guint8 *data; /* malloc'ed; may move while writing */
  gsize capacity;
  gsize size;
  AinThriftProtocol protocol;
  guint depth;
  gint16 last_id[AIN_WRITER_DEPTH]; /* compact sends field ids as differences */
  gboolean too_large;               /* or: */
  gboolean starved;                 /* there was no memory to grow; too_large is set as well */
} AinWriter;

/* data may be NULL (capacity 0) or a buffer that malloc() gave; the writer takes it over. */
void ain_writer_init(AinWriter *writer, AinThriftProtocol protocol, guint8 *data, gsize capacity);
/* Makes room for `more` bytes at once; optional. */
void ain_writer_reserve(AinWriter *writer, gsize more);
/* FALSE when the message became too large or memory ran out: then the content is useless. */
gboolean ain_writer_finish(AinWriter *writer);

void ain_writer_message(AinWriter *writer, AinSlice name, AinMessageType type, gint32 seqid);

/* A struct stands between begin and end; every field is a header and one value. */
void ain_writer_struct_begin(AinWriter *writer);
void ain_writer_struct_end(AinWriter *writer);
void ain_writer_field(AinWriter *writer, AinThriftType type, gint16 id);
void ain_writer_bool_field(AinWriter *writer, gint16 id, gboolean value); /* header and value in one */

void ain_writer_byte(AinWriter *writer, gint8 value);
void ain_writer_i32(AinWriter *writer, gint32 value);
void ain_writer_i64(AinWriter *writer, gint64 value);
void ain_writer_double(AinWriter *writer, double value);
void ain_writer_string(AinWriter *writer, const char *text);
/* Writes the length and hands out the place of the bytes, to be filled before the next call here. NULL only
 * when finish will fail. */
guint8 *ain_writer_string_space(AinWriter *writer, gsize size);

void ain_writer_list(AinWriter *writer, AinThriftType element, guint32 count);
void ain_writer_map(AinWriter *writer, AinThriftType key, AinThriftType value, guint32 count);
