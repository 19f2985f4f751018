/* The reply check: lets every real reply pass, and nothing that the generated reader could stumble over. */
#include "base/error.h"
#include "protocol/types.h"
#include "replies.h"

static AinSlice slice_of(const GByteArray *bytes) {
  return (AinSlice){ bytes->data, bytes->len };
}

/* The test's parameter: kind and protocol. */
#define PARAMETER(kind, compact) GINT_TO_POINTER((int)(kind)*2 + (compact))
#define KIND_OF(data) ((AinReplyKind)(GPOINTER_TO_INT(data) / 2))
#define COMPACT_OF(data) (GPOINTER_TO_INT(data) % 2 == 1)

static void test_full_reply(gconstpointer data) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GByteArray) bytes = test_reply_new(KIND_OF(data), COMPACT_OF(data));
  g_assert_true(test_reply_read(KIND_OF(data), slice_of(bytes), COMPACT_OF(data), &error));
  g_assert_no_error(error);
}

static void test_truncations(gconstpointer data) {
  g_autoptr(GByteArray) bytes = test_reply_new(KIND_OF(data), COMPACT_OF(data));
  for (guint size = 0; size < bytes->len; size++) {
    /* an exact copy, so that a sanitizer sees a read past its end */
    g_autofree guint8 *part = g_memdup2(bytes->data, MAX(size, 1));
    g_autoptr(GError) error = NULL;
    g_assert_false(ain_reply_check(KIND_OF(data), (AinSlice){ part, size }, COMPACT_OF(data), &error));
    g_assert_error(error, AIN_ERROR, AIN_ERROR_MALFORMED);
  }
  guint8 zero = 0;
  g_autoptr(GError) error = NULL;
  g_byte_array_append(bytes, &zero, 1);
  g_assert_false(ain_reply_check(KIND_OF(data), slice_of(bytes), COMPACT_OF(data), &error));
  g_assert_nonnull(strstr(error->message, "bytes follow the end"));
}

/* Every byte changed to telling values: what passes must be readable. */
static void test_mutations(gconstpointer data) {
  static const guint8 values[] = { 0x00, 0x01, 0x02, 0x0b, 0x0c, 0x0d, 0x0f, 0x10, 0x7f, 0x80, 0xf0, 0xff };
  g_autoptr(GByteArray) bytes = test_reply_new(KIND_OF(data), COMPACT_OF(data));
  guint passed = 0;
  for (guint at = 0; at < bytes->len; at++) {
    guint8 saved = bytes->data[at];
    for (guint i = 0; i < G_N_ELEMENTS(values) + 8; i++) {
      guint flipped = saved ^ 1U << (i < 8 ? i : 0);
      bytes->data[at] = i < 8 ? (guint8)flipped : values[i - 8];
      passed += test_reply_read(KIND_OF(data), slice_of(bytes), COMPACT_OF(data), NULL);
    }
    bytes->data[at] = saved;
  }
  g_assert_cmpuint(passed, >, bytes->len); /* bytes of texts and numbers may be anything */
}

static void test_wrong_protocol_or_method(gconstpointer data) {
  AinReplyKind kind = KIND_OF(data);
  g_autoptr(GByteArray) bytes = test_reply_new(kind, COMPACT_OF(data));
  g_autoptr(GError) error = NULL;
  g_assert_false(ain_reply_check(kind, slice_of(bytes), !COMPACT_OF(data), &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_MALFORMED);
  AinReplyKind other = (AinReplyKind)((kind + 1) % AIN_REPLY_KINDS);
  g_clear_error(&error);
  g_assert_false(ain_reply_check(other, slice_of(bytes), COMPACT_OF(data), &error));
  g_assert_nonnull(strstr(error->message, ain_reply_method(kind)));
}

static void test_exceptions(gconstpointer data) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GByteArray) unknown =
      test_reply_exception(KIND_OF(data), COMPACT_OF(data), 1, "Invalid method name: 'x'");
  g_assert_false(ain_reply_check(KIND_OF(data), slice_of(unknown), COMPACT_OF(data), &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED);
  g_assert_nonnull(strstr(error->message, "Invalid method name"));
  g_clear_error(&error);
  g_autoptr(GByteArray) internal = test_reply_exception(KIND_OF(data), COMPACT_OF(data), 6, "line\nbreak");
  g_assert_false(ain_reply_check(KIND_OF(data), slice_of(internal), COMPACT_OF(data), &error));
  g_assert_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE);
  g_assert_nonnull(strstr(error->message, "line break"));
  for (guint size = 0; size < internal->len; size++) {
    g_assert_false(
        ain_reply_check(KIND_OF(data), (AinSlice){ internal->data, size }, COMPACT_OF(data), NULL));
  }
}

/* --- the tables against the generated writers: every field header of a full binary reply, found by this walk
 * that trusts the bytes, is given another type; the check must name the field, so it must know it. */

static guint32 be32(const guint8 *data) {
  return (guint32)data[0] << 24 | (guint32)data[1] << 16 | (guint32)data[2] << 8 | data[3];
}

static const guint8 *walk_value(guint8 type, const guint8 *at, const guint8 *start, GArray *headers);

static const guint8 *walk_elements(const guint8 *types, guint n_types, guint32 count, const guint8 *at,
                                   const guint8 *start, GArray *headers) {
  for (guint32 i = 0; i < count; i++) {
    for (guint k = 0; k < n_types; k++) {
      at = walk_value(types[k], at, start, headers);
    }
  }
  return at;
}

static const guint8 *walk_value(guint8 type, const guint8 *at, const guint8 *start, GArray *headers) {
  switch (type) {
  case AIN_THRIFT_BOOL:
    return at + 1;
  case AIN_THRIFT_I32:
    return at + 4;
  case AIN_THRIFT_I64:
    return at + 8;
  case AIN_THRIFT_STRING:
    return at + 4 + be32(at);
  case AIN_THRIFT_LIST:
    return walk_elements(at, 1, be32(at + 1), at + 5, start, headers);
  case AIN_THRIFT_MAP:
    return walk_elements(at, 2, be32(at + 2), at + 6, start, headers);
  case AIN_THRIFT_STRUCT:
    while (*at != AIN_THRIFT_STOP) {
      gsize offset = (gsize)(at - start);
      g_array_append_val(headers, offset);
      at = walk_value(*at, at + 3, start, headers);
    }
    return at + 1;
  default:
    g_assert_not_reached();
  }
}

static GArray *find_headers(AinReplyKind kind, const GByteArray *bytes) {
  GArray *headers = g_array_new(FALSE, FALSE, sizeof(gsize));
  const guint8 *body = bytes->data + 8 + strlen(ain_reply_method(kind)) + 4;
  const guint8 *end = walk_value(AIN_THRIFT_STRUCT, body, bytes->data, headers);
  g_assert_true(end == bytes->data + bytes->len);
  return headers;
}

static void test_every_field_is_known(gconstpointer data) {
  g_autoptr(GByteArray) bytes = test_reply_new(KIND_OF(data), FALSE);
  g_autoptr(GArray) headers = find_headers(KIND_OF(data), bytes);
  g_assert_cmpuint(headers->len, >, 8);
  for (guint i = 0; i < headers->len; i++) {
    guint8 *type = &bytes->data[g_array_index(headers, gsize, i)];
    guint8 saved = *type;
    g_autoptr(GError) error = NULL;
    *type = AIN_THRIFT_DOUBLE; /* no field of these structures has it */
    g_assert_false(ain_reply_check(KIND_OF(data), slice_of(bytes), FALSE, &error));
    g_assert_nonnull(strstr(error->message, "has type 4 instead of"));
    *type = saved;
  }
}

/* A field twice, and a field gone: its bytes are found by the offsets of its neighbours. */
static void test_every_field_once(gconstpointer data) {
  g_autoptr(GByteArray) bytes = test_reply_new(KIND_OF(data), FALSE);
  g_autoptr(GArray) headers = find_headers(KIND_OF(data), bytes);
  g_autoptr(GArray) scratch = g_array_new(FALSE, FALSE, sizeof(gsize));
  guint missing = 0;
  for (guint i = 0; i < headers->len; i++) {
    gsize from = g_array_index(headers, gsize, i);
    const guint8 *at = bytes->data + from;
    gsize to = (gsize)(walk_value(*at, at + 3, bytes->data, scratch) - bytes->data);
    g_autoptr(GError) error = NULL;
    GByteArray *twice = g_byte_array_append(g_byte_array_new(), bytes->data, (guint)to);
    g_byte_array_append(twice, bytes->data + from, (guint)(bytes->len - from));
    g_assert_false(ain_reply_check(KIND_OF(data), slice_of(twice), FALSE, &error));
    g_assert_nonnull(strstr(error->message, "stands twice"));
    g_byte_array_unref(twice);
    GByteArray *without = g_byte_array_append(g_byte_array_new(), bytes->data, (guint)from);
    g_byte_array_append(without, bytes->data + to, (guint)(bytes->len - to));
    missing += !test_reply_read(KIND_OF(data), slice_of(without), FALSE, NULL);
    g_byte_array_unref(without);
  }
  g_assert_cmpuint(missing, >, headers->len / 4); /* the required ones; without the others it is readable */
}

/* --- single bodies */

static GByteArray *with_body(const guint8 *body, gsize size) {
  static const guint8 head[] =
      "\x80\x01\x00\x02\x00\x00\x00\x0cremoveAINode\x00\x00\x00\x00"; /* NUL ends the literal */
  GByteArray *bytes = g_byte_array_append(g_byte_array_new(), head, sizeof head - 1);
  return g_byte_array_append(bytes, body, (guint)size);
}

static void refuse(const guint8 *body, gsize size, int code, const char *says) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GByteArray) bytes = with_body(body, size);
  g_assert_false(ain_reply_check(AIN_REPLY_REMOVE, slice_of(bytes), FALSE, &error));
  g_assert_error(error, AIN_ERROR, code);
  if (strstr(error->message, says) == NULL) {
    g_error("\"%s\" does not say \"%s\"", error->message, says);
  }
}
#define REFUSE(body, says) refuse((const guint8 *)(body), sizeof(body) - 1, AIN_ERROR_MALFORMED, says)
#define OPEN "\x0c\x00\x00"
#define CODE "\x08\x00\x01\x00\x00\x00\xc8"

static void test_hostile_bodies(void) {
  REFUSE("", "ends in the middle of a value");
  REFUSE("\x00", "success of the result is missing");
  REFUSE(OPEN "\x00\x00", "code of TSStatus is missing");
  REFUSE(OPEN CODE CODE "\x00\x00", "stands twice");
  REFUSE(OPEN CODE "\x0b\x00\x02\xff\xff\xff\xfb", "a length is negative (-5)");
  REFUSE(OPEN CODE "\x0b\x00\x02\x7f\xff\xff\xff", "ends in the middle of a value");
  REFUSE(OPEN CODE "\x0b\x00\x02\x00\x00\x00\x03"
                   "a\0b"
                   "\x00\x00",
         "NUL");
  REFUSE(OPEN CODE "\x0f\x00\x03\x0b\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00",
         "elements of the wrong type (11)");
  REFUSE(OPEN CODE "\x0f\x00\x03\x63\x00\x00\x00\x00\x00\x00", "99 is no type");
  REFUSE(OPEN CODE "\x0f\x00\x03\x0c\xff\xff\xff\xff", "a length is negative (-1)");
  REFUSE(OPEN CODE "\x01\x00\x09\x00\x00", "1 is no type");
  REFUSE(OPEN CODE "\x10\x00\x09\x00\x00", "16 is no type");
  REFUSE(OPEN CODE "\x0d\x00\x09\x63\x0b\x00\x00\x00\x00\x00\x00", "99 is no type");
  REFUSE(OPEN CODE "\x00\x00\x00", "bytes follow the end");
}

static void test_bounds(void) {
  g_autoptr(GByteArray) deep = g_byte_array_append(g_byte_array_new(), (const guint8 *)OPEN CODE, 10);
  for (guint i = 0; i < 100000; i++) {
    g_byte_array_append(deep, (const guint8 *)"\x0c\x00\x63", 3);
  }
  refuse(deep->data, deep->len, AIN_ERROR_TOO_LARGE, "nested deeper");

  static const guint8 list_head[] = OPEN CODE "\x0f\x00\x63\x03\x00\x20\x00\x00"; /* 2 M bytes */
  g_autoptr(GByteArray) many = g_byte_array_append(g_byte_array_new(), list_head, sizeof list_head - 1);
  g_byte_array_set_size(many, many->len + (1U << 21));
  refuse(many->data, many->len, AIN_ERROR_TOO_LARGE, "more structs and elements");
}

/* Unknown fields of any type are skipped, by the check and by the generated reader alike. */
static void test_unknown_fields_are_skipped(void) {
  static const guint8 body[] = OPEN "\x02\x00\x20\x01"
                                    "\x03\x00\x21\x05"
                                    "\x04\x00\x22"
                                    "12345678"
                                    "\x06\x00\x23\x00\x01"
                                    "\x0a\x00\x24"
                                    "12345678"
                                    "\x0b\x00\x25\x00\x00\x00\x02hi"
                                    "\x0c\x00\x26\x08\x00\x01\x00\x00\x00\x01\x00"
                                    "\x0d\x00\x27\x08\x0b\x00\x00\x00\x01\x00\x00\x00\x07\x00\x00\x00\x01x"
                                    "\x0e\x00\x28\x02\x00\x00\x00\x02\x00\x01"
                                    "\x0f\x00\x29\x06\x00\x00\x00\x01\x00\x09" CODE "\x00\x00";
  g_autoptr(GError) error = NULL;
  g_autoptr(GByteArray) bytes = with_body(body, sizeof body - 1);
  g_assert_true(test_reply_read(AIN_REPLY_REMOVE, slice_of(bytes), FALSE, &error));
  g_assert_no_error(error);
}

static void test_compact_oddities(void) {
  static const guint8 head[] = "\x82\x41\x00\x0cremoveAINode";
  static const struct {
    const char *body;
    gsize size;
    gboolean passes;
  } cases[] = {
#define CASE(text, passes) { text, sizeof(text) - 1, passes }
    CASE("\x0c\x00\x15\x90\x03\x00\x00", TRUE),                                  /* code 200 */
    CASE("\x0c\x00\x15\x90\x03\x41\x00\x00", TRUE),                              /* needRetry in its header */
    CASE("\x0c\x00\x15\x90\x03\x41\x01\x0a\x00\x00", FALSE),                     /* id 5 again */
    CASE("\x0c\x00\x05\x02\x90\x03\x00\x00", TRUE),                              /* long form of id 1 */
    CASE("\x0c\x00\x15\xff\xff\xff\xff\x7f\x00\x00", FALSE),                     /* 35 bits */
    CASE("\x0c\x00\x15\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00", FALSE), /* endless varint */
    CASE("\x0c\x00\x10\x00\x00", FALSE),                                         /* STOP with a delta */
    CASE("\x0c\x00\x15\x90\x03\xfb\x00\x00\x00", TRUE),                          /* unknown empty map */
    CASE("\x0c\x00\x15\x90\x03\x29\xf8\xff\xff\xff\xff\x0f", FALSE),             /* list of 4 G */
    CASE("\x0c\x00\x15\x90\x03\x29\x18\x00\x00\x00", FALSE),     /* list<string> for list<struct> */
    CASE("\x0c\x00\x15\x90\x03\x29\x08\x00\x00", TRUE),          /* an empty one holds none */
    CASE("\x0c\x00\x15\x90\x03\x29\x0d\x00\x00", FALSE),         /* empty, of no type there is */
    CASE("\x0c\x00\x05\xfe\xff\x03\x00\x15\x02\x00\x00", FALSE), /* id over 32767 */
    CASE("\x0c\x00\x1d\x00\x00", FALSE),                         /* type 13 */
#undef CASE
  };
  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) bytes = g_byte_array_append(g_byte_array_new(), head, sizeof head - 1);
    g_byte_array_append(bytes, (const guint8 *)cases[i].body, (guint)cases[i].size);
    gboolean passed = test_reply_read(AIN_REPLY_REMOVE, slice_of(bytes), TRUE, &error);
    if (passed != cases[i].passes) {
      g_error("case %u: %s", i, error != NULL ? error->message : "passed");
    }
  }
}

static void test_printable(void) {
  g_autofree char *plain = ain_reply_printable("a\r\n\x1b[31mb\xff", 9);
  g_assert_cmpstr(plain, ==, "a [31mb");
  g_autofree char *filler = g_strnfill(3000, 'x');
  g_autofree char *cut = ain_reply_printable(filler, 3000);
  g_assert_cmpuint(strlen(cut), ==, 503);
}

typedef void (*ParameterTest)(gconstpointer data);

static void add_for_all(const char *name, ParameterTest test, gboolean binary_only) {
  for (int kind = 0; kind < AIN_REPLY_KINDS; kind++) {
    for (int compact = 0; compact < (binary_only ? 1 : 2); compact++) {
      g_autofree char *path =
          g_strdup_printf("/cluster/reply/%s/%s/%s", name, ain_reply_method((AinReplyKind)kind),
                          compact ? "compact" : "binary");
      g_test_add_data_func(path, PARAMETER(kind, compact), test);
    }
  }
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  ain_protocol_register_types();
  add_for_all("full", test_full_reply, FALSE);
  add_for_all("truncations", test_truncations, FALSE);
  add_for_all("mutations", test_mutations, FALSE);
  add_for_all("wrong", test_wrong_protocol_or_method, FALSE);
  add_for_all("exceptions", test_exceptions, FALSE);
  add_for_all("known", test_every_field_is_known, TRUE);
  add_for_all("once", test_every_field_once, TRUE);
  g_test_add_func("/cluster/reply/hostile", test_hostile_bodies);
  g_test_add_func("/cluster/reply/bounds", test_bounds);
  g_test_add_func("/cluster/reply/unknown", test_unknown_fields_are_skipped);
  g_test_add_func("/cluster/reply/compact", test_compact_oddities);
  g_test_add_func("/cluster/reply/printable", test_printable);
  return g_test_run();
}
