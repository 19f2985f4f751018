/* A bounded cursor over one Thrift message, binary (strict) or compact: requests are decoded with it in
 * place, and replies of peers are checked with it before anything else looks at them.
 *
 * The reader owns nothing and allocates nothing; slices it hands out borrow from the input. The first failure
 * sticks: every later call returns FALSE at once, and ain_reader_failure() says what was wrong at which byte.
 * Work is linear in the input: a count is checked against the bytes that are left before it is believed,
 * nesting ends at AIN_READER_MAX_DEPTH, and a struct may not carry a field twice. Who makes an object of each
 * part sets parts_left after the init. One thread at a time. */
#pragma once
#include "base/slice.h"

#include <glib.h>

#define AIN_READER_MAX_DEPTH 32
#define AIN_READER_MAX_NAME 256 /* bytes of a method name */

typedef enum { AIN_THRIFT_BINARY, AIN_THRIFT_COMPACT } AinThriftProtocol;

/* Thrift's own numbers, as the binary protocol sends them; the compact ones are translated. */
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
const char *ain_thrift_type_name(AinThriftType type); /* "i32", "struct", ...; static */

typedef enum {
  AIN_MESSAGE_CALL = 1,
  AIN_MESSAGE_REPLY = 2,
  AIN_MESSAGE_EXCEPTION = 3,
  AIN_MESSAGE_ONEWAY = 4,
} AinMessageType;

typedef struct {
  AinSlice name; /* borrowed */
  AinMessageType type;
  gint32 seqid;
} AinMessage;

typedef struct {
  const guint8 *data;
  gsize size;
  gsize at; /* next byte */
  AinThriftProtocol protocol;
  guint depth;
  guint8 pending_bool; /* compact keeps a bool field's value in its header: 0 none, 1 true, 2 false */
  guint parts_left;    /* structs, containers and elements of containers that may still come */
  const char *failure; /* static text, NULL while all is well */
  gint failure_value;  /* field id, type or byte the text talks about */
  gboolean exceeded;   /* the failure is one of depth or number, not of form */
} AinReader;

/* The place inside one struct; starts as { 0 } and is set by ain_reader_struct(). */
typedef struct {
  gint16 id;
  AinThriftType type;
  guint64 seen; /* ids -1..62 met so far */
} AinField;

/* The protocol that a message with this first byte uses; FALSE when it is neither. */
gboolean ain_reader_protocol_of(guint8 first_byte, AinThriftProtocol *protocol);

/* For a whole message: the protocol comes from its first byte (a bad one is the first failure). */
void ain_reader_init(AinReader *reader, const guint8 *data, gsize size);
/* For a value without a message around it. */
void ain_reader_init_value(AinReader *reader, AinThriftProtocol protocol, const guint8 *data, gsize size);

gboolean ain_reader_message(AinReader *reader, AinMessage *message);
/* After the outer struct: nothing may follow. */
gboolean ain_reader_end(AinReader *reader);

/* Enters a struct; then ain_reader_next() until it returns FALSE, each time reading or skipping the value.
 * FALSE from ain_reader_next() means the struct's end, or a failure: ask ain_reader_ok() after the loop. */
gboolean ain_reader_struct(AinReader *reader, AinField *field);
gboolean ain_reader_next(AinReader *reader, AinField *field);

gboolean ain_reader_bool(AinReader *reader, gboolean *value);
gboolean ain_reader_byte(AinReader *reader, gint8 *value);
gboolean ain_reader_i32(AinReader *reader, gint32 *value);
gboolean ain_reader_i64(AinReader *reader, gint64 *value);
gboolean ain_reader_double(AinReader *reader, double *value);
gboolean ain_reader_string(AinReader *reader, AinSlice *value); /* also binary; data is never NULL */

/* Headers of containers; elements follow, `count` of them (map: pairs). The count never exceeds what the
 * bytes left can hold. An empty container may name any element type. Sets are read as lists. */
gboolean ain_reader_list(AinReader *reader, AinThriftType element, guint32 *count);
gboolean ain_reader_map(AinReader *reader, AinThriftType key, AinThriftType value, guint32 *count);

/* Steps over a value of any well-formed shape. */
gboolean ain_reader_skip(AinReader *reader, AinThriftType type);

static inline gboolean ain_reader_ok(const AinReader *reader) {
  return reader->failure == NULL;
}
/* Records a failure of the caller's own rules (static text); keeps an earlier one. Always returns FALSE. */
gboolean ain_reader_fail(AinReader *reader, const char *static_text, gint value);
/* "byte 17: a string is longer than the bytes that are left"; owned. Only after a failure. */
char *ain_reader_failure(const AinReader *reader);
