/* Reader and writer against each other in both protocols, and the reader against bytes that lie. */
#include "protocol/reader.h"
#include "rpc/writer.h"

#include <float.h>
#include <math.h>

static const AinThriftProtocol protocols[] = { AIN_THRIFT_BINARY, AIN_THRIFT_COMPACT };

static const gint64 numbers[] = { 0,          1,     -1,     63,         64,        -64,
                                  -65,        127,   128,    16383,      16384,     G_MAXINT32,
                                  G_MININT32, 65535, -32768, G_MAXINT64, G_MININT64 };

static const double doubles[] = { 0.0, -0.0, 1.5, -DBL_MAX, DBL_MIN };

static AinSlice slice_of(const char *text) {
  return (AinSlice){ (const guint8 *)text, strlen(text) };
}

static void write_numbers(AinWriter *w) {
  for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
    /* ids with steps of 1, of 15, beyond 15 and backwards, as compact codes them differently */
    gint16 id = (gint16)(i % 2 == 0 ? 10 + 20 * i : 2 * i - 1);
    ain_writer_field(w, AIN_THRIFT_I64, id);
    ain_writer_i64(w, numbers[i]);
  }
}

static void read_numbers(AinReader *r, AinField *field) {
  for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
    gint64 value = 0;
    g_assert_true(ain_reader_next(r, field));
    g_assert_cmpint(field->type, ==, AIN_THRIFT_I64);
    g_assert_cmpint(field->id, ==, (gint)(i % 2 == 0 ? 10 + 20 * i : 2 * i - 1));
    g_assert_true(ain_reader_i64(r, &value));
    g_assert_cmpint(value, ==, numbers[i]);
  }
}

static void write_containers(AinWriter *w, guint32 count) {
  ain_writer_field(w, AIN_THRIFT_LIST, 500);
  ain_writer_list(w, AIN_THRIFT_I32, count);
  for (guint32 i = 0; i < count; i++) {
    ain_writer_i32(w, (gint32)numbers[i % 13]);
  }
  ain_writer_field(w, AIN_THRIFT_MAP, 501);
  ain_writer_map(w, AIN_THRIFT_STRING, AIN_THRIFT_BYTE, count);
  for (guint32 i = 0; i < count; i++) {
    ain_writer_string(w, "key");
    ain_writer_byte(w, (gint8)i);
  }
}

static void read_containers(AinReader *r, AinField *field, guint32 expected) {
  guint32 count = 0;
  gint32 number = 0;
  gint8 byte = 0;
  AinSlice key;
  g_assert_true(ain_reader_next(r, field));
  g_assert_true(ain_reader_list(r, AIN_THRIFT_I32, &count));
  g_assert_cmpuint(count, ==, expected);
  for (guint32 i = 0; i < count; i++) {
    g_assert_true(ain_reader_i32(r, &number));
    g_assert_cmpint(number, ==, numbers[i % 13]);
  }
  g_assert_true(ain_reader_next(r, field));
  g_assert_true(ain_reader_map(r, AIN_THRIFT_STRING, AIN_THRIFT_BYTE, &count));
  g_assert_cmpuint(count, ==, expected);
  for (guint32 i = 0; i < count; i++) {
    g_assert_true(ain_reader_string(r, &key));
    g_assert_true(ain_slice_equal(key, "key"));
    g_assert_true(ain_reader_byte(r, &byte));
    g_assert_cmpint(byte, ==, (gint8)i);
  }
}

static void write_message(AinWriter *w, guint32 count) {
  ain_writer_message(w, slice_of("aMethod"), AIN_MESSAGE_REPLY, -7);
  ain_writer_struct_begin(w);
  ain_writer_bool_field(w, 1, TRUE);
  ain_writer_bool_field(w, 2, FALSE);
  ain_writer_field(w, AIN_THRIFT_STRUCT, -1);
  ain_writer_struct_begin(w);
  write_numbers(w);
  write_containers(w, count);
  ain_writer_struct_end(w);
  for (gsize i = 0; i < G_N_ELEMENTS(doubles); i++) {
    ain_writer_field(w, AIN_THRIFT_DOUBLE, (gint16)(10 + i));
    ain_writer_double(w, doubles[i]);
  }
  ain_writer_struct_end(w);
  g_assert_true(ain_writer_finish(w));
}

static void read_bools(AinReader *r, AinField *field) {
  gboolean flag = FALSE;
  g_assert_true(ain_reader_next(r, field));
  g_assert_true(ain_reader_bool(r, &flag));
  g_assert_true(flag);
  g_assert_true(ain_reader_next(r, field));
  g_assert_true(ain_reader_bool(r, &flag));
  g_assert_false(flag);
}

static void read_message(const AinWriter *w, guint32 count) {
  AinReader r;
  AinMessage message;
  AinField outer;
  AinField inner;
  guint32 length = 0;
  memcpy(&length, w->data, sizeof length);
  g_assert_cmpuint(GUINT32_FROM_BE(length), ==, w->size - 4);
  ain_reader_init(&r, w->data + 4, w->size - 4);
  g_assert_true(ain_reader_message(&r, &message));
  g_assert_true(ain_slice_equal(message.name, "aMethod"));
  g_assert_cmpint(message.type, ==, AIN_MESSAGE_REPLY);
  g_assert_cmpint(message.seqid, ==, -7);
  g_assert_true(ain_reader_struct(&r, &outer));
  read_bools(&r, &outer);
  g_assert_true(ain_reader_next(&r, &outer));
  g_assert_cmpint(outer.id, ==, -1);
  g_assert_true(ain_reader_struct(&r, &inner));
  read_numbers(&r, &inner);
  read_containers(&r, &inner, count);
  g_assert_false(ain_reader_next(&r, &inner));
  for (gsize i = 0; i < G_N_ELEMENTS(doubles); i++) {
    double value = 1;
    g_assert_true(ain_reader_next(&r, &outer));
    g_assert_true(ain_reader_double(&r, &value));
    g_assert_cmpmem(&value, sizeof value, &doubles[i], sizeof value);
  }
  g_assert_false(ain_reader_next(&r, &outer));
  g_assert_true(ain_reader_end(&r));
  g_assert_cmpuint(r.depth, ==, 0);
}

/* The same bytes, stepped over instead of read. */
static void skip_message(const AinWriter *w) {
  AinReader r;
  AinMessage message;
  ain_reader_init(&r, w->data + 4, w->size - 4);
  g_assert_true(ain_reader_message(&r, &message));
  g_assert_true(ain_reader_skip(&r, AIN_THRIFT_STRUCT));
  g_assert_true(ain_reader_end(&r));
}

static void test_round_trip(void) {
  static const guint32 counts[] = { 0, 1, 14, 15, 16, 300, 20000 };
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    for (gsize c = 0; c < G_N_ELEMENTS(counts); c++) {
      AinWriter w;
      ain_writer_init(&w, protocols[p], NULL, 0);
      write_message(&w, counts[c]);
      read_message(&w, counts[c]);
      skip_message(&w);
      g_free(w.data);
    }
  }
}

static void test_writer_grows_and_ends(void) {
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    AinWriter w;
    ain_writer_init(&w, protocols[p], g_malloc(5), 5);
    guint8 *place = ain_writer_string_space(&w, 100000);
    memset(place, 'x', 100000);
    g_assert_true(ain_writer_finish(&w));
    g_assert_null(ain_writer_string_space(&w, AIN_WRITER_MAX));
    ain_writer_i32(&w, 1); /* ignored from here on */
    g_assert_false(ain_writer_finish(&w));
    g_assert_cmpuint(w.capacity, <, 300000);
    g_free(w.data);
  }
}

static void expect_failure(const AinReader *r, const char *part) {
  g_assert_false(ain_reader_ok(r));
  g_autofree char *text = ain_reader_failure(r);
  if (strstr(text, part) == NULL) {
    g_error("'%s' does not speak of '%s'", text, part);
  }
}

/* Skips bytes as a struct and expects a refusal that names `part`. */
static void refuse(AinThriftProtocol protocol, const guint8 *bytes, gsize size, const char *part) {
  g_autofree guint8 *copy = g_memdup2(bytes, size);
  AinReader r;
  ain_reader_init_value(&r, protocol, copy, size);
  g_assert_false(ain_reader_skip(&r, AIN_THRIFT_STRUCT));
  expect_failure(&r, part);
}

#define REFUSE(protocol, part, ...)                                                                          \
  do {                                                                                                       \
    const guint8 bytes[] = { __VA_ARGS__ };                                                                  \
    refuse(protocol, bytes, sizeof bytes, part);                                                             \
  } while (0)

static void test_binary_lies(void) {
  AinThriftProtocol p = AIN_THRIFT_BINARY;
  REFUSE(p, "ends in the middle", 8, 0, 1, 0, 0, 0);
  REFUSE(p, "length is negative", 11, 0, 1, 0xFF, 0xFF, 0xFF, 0xFB, 1, 2, 3, 0);
  REFUSE(p, "ends in the middle", 11, 0, 1, 0x7F, 0xFF, 0xFF, 0xFF, 1, 2, 3, 0);
  REFUSE(p, "claims 2147483647 elements", 15, 0, 1, 8, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0);
  REFUSE(p, "length is negative", 15, 0, 1, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0);
  REFUSE(p, "claims 5 elements", 13, 0, 1, 11, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  REFUSE(p, "no type", 1, 0, 1, 0);
  REFUSE(p, "no type", 16, 0, 1, 0);
  REFUSE(p, "no type", 15, 0, 1, 0, 0, 0, 0, 1, 0, 0);
  REFUSE(p, "no bool", 2, 0, 1, 2, 0);
  REFUSE(p, "stands twice", 3, 0, 1, 9, 3, 0, 1, 9, 0);
  REFUSE(p, "stands twice", 3, 0xFF, 0xFF, 9, 8, 0xFF, 0xFF, 0, 0, 0, 0, 0);
}

static void test_compact_lies(void) {
  AinThriftProtocol p = AIN_THRIFT_COMPACT;
  REFUSE(p, "ends in the middle", 0x15);
  REFUSE(p, "more bits", 0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0);
  REFUSE(p, "more bits", 0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0);
  REFUSE(p, "more bits", 0x14, 0xFF, 0xFF, 0x07, 0);
  REFUSE(p, "more bits", 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02, 0);
  REFUSE(p, "length is negative", 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0);
  REFUSE(p, "ends in the middle", 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0);
  REFUSE(p, "claims", 0x19, 0xF5, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0);
  REFUSE(p, "claims", 0x1B, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0x88, 0);
  REFUSE(p, "no type", 0x1D, 0);
  REFUSE(p, "no type", 0x10, 0);
  REFUSE(p, "no type", 0x19, 0x1F, 0);
  REFUSE(p, "no bool", 0x19, 0x11, 9, 0);
  REFUSE(p, "stands twice", 0x13, 9, 0x03, 0x02, 9, 0);
  REFUSE(p, "more bits", 0x03, 0xFF, 0xFF, 0xFF, 0x01, 9, 0);
}

/* Ids may run past 32767 by their differences only. */
static void test_compact_id_overflow(void) {
  REFUSE(AIN_THRIFT_COMPACT, "beyond 32767", 0x03, 0xFE, 0xFF, 0x03, 9, 0x13, 9, 0);
}

static void test_depth(void) {
  gsize levels = 300000;
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    /* structs in structs, then lists in lists */
    static const guint8 open_struct[2][3] = { { 12, 0, 1 }, { 0x1C } };
    static const guint8 open_list[2][5] = { { 15, 0, 0, 0, 1 }, { 0x19 } };
    const gsize struct_size = p == 0 ? 3 : 1;
    const gsize list_size = p == 0 ? 5 : 1;
    g_autofree guint8 *structs = g_malloc0(levels * struct_size + 8);
    g_autofree guint8 *lists = g_malloc0(levels * list_size + 8);
    for (gsize i = 0; i < levels; i++) {
      memcpy(structs + i * struct_size, open_struct[p], struct_size);
      memcpy(lists + i * list_size, open_list[p], list_size);
    }
    refuse(protocols[p], structs, levels * struct_size, "nested deeper");
    AinReader r;
    ain_reader_init_value(&r, protocols[p], lists, levels * list_size);
    g_assert_false(ain_reader_skip(&r, AIN_THRIFT_LIST));
    expect_failure(&r, "nested deeper");
  }
}

/* 16 MiB of the smallest elements are stepped over in linear time. */
static void test_skip_is_linear(void) {
  enum { COUNT = 16 << 20 };
  static guint8 bytes[COUNT + 16];
  static const guint8 head[] = { AIN_THRIFT_LIST, 0, 1, AIN_THRIFT_BYTE, 1, 0, 0, 0 };
  memcpy(bytes, head, sizeof head);
  AinReader r;
  ain_reader_init_value(&r, AIN_THRIFT_BINARY, bytes, COUNT + sizeof head + 1);
  gint64 start = g_get_monotonic_time();
  g_assert_true(ain_reader_skip(&r, AIN_THRIFT_STRUCT));
  g_assert_cmpint(g_get_monotonic_time() - start, <, (gint64)20 * G_USEC_PER_SEC);
  g_assert_true(ain_reader_end(&r));
}

static void test_containers_of_another_type(void) {
  const guint8 list_of_i64[] = { AIN_THRIFT_I64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1 };
  const guint8 map[] = { AIN_THRIFT_STRING, AIN_THRIFT_I32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1 };
  guint32 count = 0;
  AinReader r;
  ain_reader_init_value(&r, AIN_THRIFT_BINARY, list_of_i64, sizeof list_of_i64);
  g_assert_false(ain_reader_list(&r, AIN_THRIFT_I32, &count));
  expect_failure(&r, "wrong type");
  ain_reader_init_value(&r, AIN_THRIFT_BINARY, map, sizeof map);
  g_assert_false(ain_reader_map(&r, AIN_THRIFT_STRING, AIN_THRIFT_STRING, &count));
  expect_failure(&r, "wrong type");
  const guint8 empty[] = { 0, 0, 0, 0, 0 };
  ain_reader_init_value(&r, AIN_THRIFT_BINARY, empty, sizeof empty);
  g_assert_true(ain_reader_list(&r, AIN_THRIFT_I32, &count));
  g_assert_cmpuint(count, ==, 0);
}

static void refuse_message(const void *bytes, gsize size, const char *part) {
  g_autofree guint8 *copy = g_memdup2(bytes, size);
  AinReader r;
  AinMessage message;
  ain_reader_init(&r, copy, size);
  g_assert_false(ain_reader_message(&r, &message));
  expect_failure(&r, part);
}

static void test_message_headers(void) {
  refuse_message("", 0, "empty");
  refuse_message("GET /", 5, "first byte is 71");
  refuse_message("\x80\x02\x00\x01\x00\x00\x00\x01x\x00\x00\x00\x01", 13, "strict binary");
  refuse_message("\x80\x01\x00\x05\x00\x00\x00\x01x\x00\x00\x00\x01", 13, "no message type");
  refuse_message("\x80\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01", 12, "name of 0 bytes");
  refuse_message("\x80\x01\x00\x01\xFF\xFF\xFF\xFFx\x00\x00\x00\x01", 13, "negative");
  refuse_message("\x82\x22\x01\x01x", 5, "compact protocol");
  refuse_message("\x82\x01\x01\x01x", 5, "no message type");
  static const guint8 long_name[400] = { 0x82, 0x21, 0x01, 0xAC, 0x02 }; /* 300 bytes follow */
  refuse_message(long_name, sizeof long_name, "name of 300 bytes");
}

static void test_failure_sticks(void) {
  const guint8 bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
  AinReader r;
  gint32 number = 0;
  AinSlice text;
  AinField field;
  ain_reader_init_value(&r, AIN_THRIFT_BINARY, bytes, sizeof bytes);
  g_assert_false(ain_reader_fail(&r, "my own rule, %d", 42));
  g_assert_false(ain_reader_i32(&r, &number));
  g_assert_false(ain_reader_string(&r, &text));
  g_assert_false(ain_reader_struct(&r, &field));
  g_assert_false(ain_reader_next(&r, &field));
  g_assert_false(ain_reader_end(&r));
  expect_failure(&r, "byte 0: my own rule, 42");
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/rpc/reader/round-trip", test_round_trip);
  g_test_add_func("/rpc/reader/writer-grows", test_writer_grows_and_ends);
  g_test_add_func("/rpc/reader/binary-lies", test_binary_lies);
  g_test_add_func("/rpc/reader/compact-lies", test_compact_lies);
  g_test_add_func("/rpc/reader/compact-ids", test_compact_id_overflow);
  g_test_add_func("/rpc/reader/depth", test_depth);
  g_test_add_func("/rpc/reader/linear", test_skip_is_linear);
  g_test_add_func("/rpc/reader/container-types", test_containers_of_another_type);
  g_test_add_func("/rpc/reader/message", test_message_headers);
  g_test_add_func("/rpc/reader/sticks", test_failure_sticks);
  return g_test_run();
}
