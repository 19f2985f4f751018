/* Requests built field by field: each missing, doubled, of every other type; the clashes between releases;
 * limits; columns by name. All of it in both protocols. */
#include "rpc/request.h"
#include "rpc/writer.h"

#include "base/error.h"

#define GH (AIN_FAMILY_G | AIN_FAMILY_H)
#define DEF (AIN_FAMILY_D | AIN_FAMILY_E | AIN_FAMILY_F)
#define AC (AIN_FAMILY_A | AIN_FAMILY_C)

static const AinThriftProtocol protocols[] = { AIN_THRIFT_BINARY, AIN_THRIFT_COMPACT };

/* --- building --------------------------------------------------------------------------------------------
 */

typedef enum {
  TEXT,
  BOOL,
  BYTE,
  DOUBLE,
  I32,
  I64,
  EMPTY_STRUCT,
  WINDOW,
  TEXTS,
  TEXT_MAP,
  NUMBER_MAP,
  EMPTY_MAP,
  EMPTY_LIST,
} Kind;

static const AinThriftType type_of[] = {
  [TEXT] = AIN_THRIFT_STRING,         [BOOL] = AIN_THRIFT_BOOL,      [BYTE] = AIN_THRIFT_BYTE,
  [DOUBLE] = AIN_THRIFT_DOUBLE,       [I32] = AIN_THRIFT_I32,        [I64] = AIN_THRIFT_I64,
  [EMPTY_STRUCT] = AIN_THRIFT_STRUCT, [WINDOW] = AIN_THRIFT_STRUCT,  [TEXTS] = AIN_THRIFT_LIST,
  [TEXT_MAP] = AIN_THRIFT_MAP,        [NUMBER_MAP] = AIN_THRIFT_MAP, [EMPTY_MAP] = AIN_THRIFT_MAP,
  [EMPTY_LIST] = AIN_THRIFT_LIST,
};

static void write_window(AinWriter *w) {
  ain_writer_struct_begin(w);
  ain_writer_field(w, AIN_THRIFT_I32, 1);
  ain_writer_i32(w, 5);
  ain_writer_field(w, AIN_THRIFT_I32, 2);
  ain_writer_i32(w, 2);
  ain_writer_struct_end(w);
}

static void write_container(AinWriter *w, Kind kind, guint32 count) {
  if (kind == TEXTS || kind == EMPTY_LIST) {
    ain_writer_list(w, AIN_THRIFT_STRING, count);
  } else {
    ain_writer_map(w, AIN_THRIFT_STRING, kind == NUMBER_MAP ? AIN_THRIFT_I32 : AIN_THRIFT_STRING, count);
  }
  for (guint32 i = 0; i < count; i++) {
    g_autofree char *name = g_strdup_printf("n%u", i);
    ain_writer_string(w, name);
    if (kind == NUMBER_MAP) {
      ain_writer_i32(w, (gint32)(count - 1 - i));
    } else if (kind == TEXT_MAP) {
      ain_writer_string(w, "v");
    }
  }
}

static void write_value(AinWriter *w, Kind kind, guint32 count) {
  switch (kind) {
  case TEXT:
    ain_writer_string(w, "my_model");
    break;
  case BYTE:
    ain_writer_byte(w, 1);
    break;
  case DOUBLE:
    ain_writer_double(w, 1.5);
    break;
  case I32:
    ain_writer_i32(w, 96);
    break;
  case I64:
    ain_writer_i64(w, 123456789012345);
    break;
  case EMPTY_STRUCT:
    ain_writer_struct_begin(w);
    ain_writer_struct_end(w);
    break;
  case WINDOW:
    write_window(w);
    break;
  case BOOL:
  case EMPTY_LIST:
  case EMPTY_MAP:
    write_container(w, kind, 0);
    break;
  default:
    write_container(w, kind, count);
  }
}

static void write_field(AinWriter *w, gint16 id, Kind kind, guint32 count) {
  if (kind == BOOL) {
    ain_writer_bool_field(w, id, TRUE);
    return;
  }
  ain_writer_field(w, type_of[kind], id);
  write_value(w, kind, count);
}

static void write_text(AinWriter *w, gint16 id, const char *text) {
  ain_writer_field(w, AIN_THRIFT_STRING, id);
  ain_writer_string(w, text);
}

static void open_call(AinWriter *w, AinThriftProtocol protocol, AinMethod method, gint16 argument_id) {
  const char *name = ain_rpc_method_name(method);
  ain_writer_init(w, protocol, NULL, 0);
  ain_writer_message(w, (AinSlice){ (const guint8 *)name, strlen(name) }, AIN_MESSAGE_CALL, 3);
  ain_writer_struct_begin(w);
  ain_writer_field(w, AIN_THRIFT_STRUCT, argument_id);
  ain_writer_struct_begin(w);
}

typedef struct {
  AinWriter writer;
  AinRequestStore store;
  GError *error;
  gboolean good;
} Outcome;

static void decode(Outcome *o, AinFamily release) {
  AinReader reader;
  AinMessage message;
  g_assert_true(ain_writer_finish(&o->writer));
  ain_reader_init(&reader, o->writer.data + 4, o->writer.size - 4);
  g_assert_true(ain_reader_message(&reader, &message));
  o->error = NULL;
  o->good = ain_rpc_decode(&reader, ain_rpc_method_of(message.name), release, &o->store, &o->error);
  g_assert_true(o->good == (o->error == NULL));
  g_assert_cmphex(o->store.request.families, !=, 0);
}

static void close_call(Outcome *o) {
  ain_writer_struct_end(&o->writer);
  ain_writer_struct_end(&o->writer);
  decode(o, AIN_FAMILY_E);
}

static void clear(Outcome *o) {
  ain_rpc_request_clear(&o->store);
  g_clear_error(&o->error);
  g_free(o->writer.data);
}

static void expect_error(const Outcome *o, gint code, const char *part) {
  g_assert_error(o->error, AIN_ERROR, code);
  if (strstr(o->error->message, part) == NULL) {
    g_error("'%s' does not say '%s'", o->error->message, part);
  }
}

/* --- every field missing, doubled, of another type -------------------------------------------------------
 */

typedef enum {
  REFUSED, /* a wrong type is named */
  MISSING, /* a wrong type is as good as none */
  SKIPPED, /* the newest release does not use the id: taken for a field of a later one */
} Wrong;

typedef struct {
  gint16 id;
  Kind kind;
  gboolean required;
  Wrong wrong;
  guint other_types; /* bits of AinThriftType that another release gives the id */
} Field;

typedef struct {
  AinMethod method;
  AinFamilies families;
  Field fields[8]; /* ends with id 0 */
} Shape;

#define BIT(type) (1U << AIN_THRIFT_##type)

static const Shape shapes[] = {
  { AIN_METHOD_HEARTBEAT,
    AIN_FAMILY_E | AIN_FAMILY_F | GH,
    { { 1, I64, TRUE, REFUSED, 0 }, { 2, BOOL, TRUE, REFUSED, 0 }, { 3, BOOL, FALSE, REFUSED, 0 } } },
  { AIN_METHOD_DELETE_MODEL, AIN_FAMILY_ALL, { { 1, TEXT, TRUE, REFUSED, 0 } } },
  { AIN_METHOD_REGISTER_MODEL,
    AIN_FAMILY_ALL,
    { { 1, TEXT, TRUE, REFUSED, 0 }, { 2, TEXT, TRUE, REFUSED, 0 } } },
  { AIN_METHOD_SHOW_MODELS, AIN_FAMILY_E | AIN_FAMILY_F | GH, { { 1, TEXT, FALSE, REFUSED, 0 } } },
  { AIN_METHOD_SHOW_LOADED_MODELS, AIN_FAMILY_F | GH, { { 1, TEXTS, TRUE, REFUSED, 0 } } },
  { AIN_METHOD_LOAD_MODEL,
    AIN_FAMILY_F | GH,
    { { 1, TEXT, TRUE, REFUSED, 0 }, { 2, TEXTS, TRUE, REFUSED, 0 } } },
  { AIN_METHOD_UNLOAD_MODEL,
    AIN_FAMILY_F | GH,
    { { 1, TEXT, TRUE, REFUSED, 0 }, { 2, TEXTS, TRUE, REFUSED, 0 } } },
  { AIN_METHOD_INFERENCE,
    AC,
    { { 1, TEXT, TRUE, REFUSED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, TEXTS, TRUE, REFUSED, BIT(STRUCT) | BIT(MAP) },
      { 4, TEXTS, TRUE, MISSING, 0 },
      { 5, NUMBER_MAP, TRUE, MISSING, 0 },
      { 6, WINDOW, FALSE, SKIPPED, 0 },
      { 7, TEXT_MAP, FALSE, SKIPPED, 0 } } },
  { AIN_METHOD_INFERENCE,
    DEF,
    { { 1, TEXT, TRUE, REFUSED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, WINDOW, FALSE, REFUSED, BIT(LIST) | BIT(MAP) },
      { 4, TEXT_MAP, FALSE, SKIPPED, 0 } } },
  { AIN_METHOD_INFERENCE,
    GH,
    { { 1, TEXT, TRUE, REFUSED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, TEXT_MAP, FALSE, REFUSED, BIT(LIST) | BIT(STRUCT) } } },
  { AIN_METHOD_FORECAST,
    DEF,
    { { 1, TEXT, TRUE, REFUSED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, I32, TRUE, REFUSED, 0 },
      { 4, TEXT_MAP, FALSE, REFUSED, BIT(STRING) } } },
  { AIN_METHOD_FORECAST,
    AIN_FAMILY_G,
    { { 1, TEXT, TRUE, REFUSED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, I32, TRUE, REFUSED, 0 },
      { 4, TEXT, FALSE, REFUSED, BIT(MAP) },
      { 5, TEXT, FALSE, REFUSED, 0 },
      { 6, TEXT_MAP, FALSE, REFUSED, BIT(BOOL) } } },
  { AIN_METHOD_FORECAST,
    AIN_FAMILY_H,
    { { 1, TEXT, TRUE, REFUSED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, I32, TRUE, REFUSED, 0 },
      { 4, TEXT, FALSE, REFUSED, BIT(MAP) },
      { 5, TEXT, FALSE, REFUSED, 0 },
      { 6, BOOL, FALSE, REFUSED, BIT(MAP) },
      { 7, TEXT_MAP, FALSE, REFUSED, 0 } } },
  { AIN_METHOD_CLASSIFY,
    AIN_FAMILY_H,
    { { 1, TEXT, TRUE, REFUSED, 0 }, { 2, TEXT, TRUE, REFUSED, 0 }, { 3, TEXT_MAP, FALSE, REFUSED, 0 } } },
  { AIN_METHOD_CREATE_TRAINING,
    AIN_FAMILY_C | AIN_FAMILY_D,
    { { 1, TEXT, FALSE, SKIPPED, 0 },
      { 2, TEXT, TRUE, REFUSED, 0 },
      { 3, TEXT, FALSE, SKIPPED, 0 },
      { 6, TEXT, FALSE, SKIPPED, 0 } } },
  { AIN_METHOD_CREATE_TUNING, GH, { { 2, TEXT, TRUE, REFUSED, 0 } } },
};

/* Field `left_out` is not written, `doubled` twice, `retyped` as `kind`; -1 for none. */
static void build(Outcome *o, AinThriftProtocol protocol, const Shape *shape, gint left_out, gint doubled,
                  gint retyped, Kind kind) {
  open_call(&o->writer, protocol, shape->method, -1);
  for (gint i = 0; shape->fields[i].id != 0; i++) {
    const Field *field = &shape->fields[i];
    if (i != left_out) {
      write_field(&o->writer, field->id, i == retyped ? kind : field->kind, 2);
    }
    if (i == doubled) {
      write_field(&o->writer, field->id, field->kind, 2);
    }
  }
  close_call(o);
}

static void check_missing(const Shape *shape, AinThriftProtocol protocol, gint i) {
  Outcome o;
  g_autofree char *part = g_strdup_printf("field %d (", shape->fields[i].id);
  build(&o, protocol, shape, i, -1, -1, TEXT);
  if (shape->fields[i].required) {
    expect_error(&o, AIN_ERROR_MALFORMED, part);
    expect_error(&o, AIN_ERROR_MALFORMED, "is missing");
  } else {
    g_assert_no_error(o.error);
  }
  clear(&o);
}

static void check_doubled(const Shape *shape, AinThriftProtocol protocol, gint i) {
  Outcome o;
  build(&o, protocol, shape, -1, i, -1, TEXT);
  expect_error(&o, AIN_ERROR_MALFORMED, "stands twice");
  clear(&o);
}

static void check_types(const Shape *shape, AinThriftProtocol protocol, gint i) {
  static const Kind kinds[] = { TEXT, BOOL, BYTE, DOUBLE, I32, I64, EMPTY_STRUCT, EMPTY_MAP, EMPTY_LIST };
  const Field *field = &shape->fields[i];
  for (gsize k = 0; k < G_N_ELEMENTS(kinds); k++) {
    AinThriftType type = type_of[kinds[k]];
    Outcome o;
    if (type == type_of[field->kind]) {
      continue;
    }
    build(&o, protocol, shape, -1, -1, i, kinds[k]);
    if ((field->other_types & 1U << type) != 0) {
      g_assert_true(o.good || o.error->code == AIN_ERROR_MALFORMED);
    } else if (field->wrong == SKIPPED) {
      g_assert_no_error(o.error);
    } else {
      expect_error(&o, AIN_ERROR_MALFORMED, field->wrong == REFUSED ? "has type" : "is missing");
    }
    clear(&o);
  }
}

static void test_every_field(void) {
  for (gsize s = 0; s < G_N_ELEMENTS(shapes); s++) {
    for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
      Outcome o;
      build(&o, protocols[p], &shapes[s], -1, -1, -1, TEXT);
      g_assert_no_error(o.error);
      g_assert_cmphex(o.store.request.families, ==, shapes[s].families);
      clear(&o);
      for (gint i = 0; shapes[s].fields[i].id != 0; i++) {
        check_missing(&shapes[s], protocols[p], i);
        check_doubled(&shapes[s], protocols[p], i);
        check_types(&shapes[s], protocols[p], i);
      }
    }
  }
}

/* --- the argument itself ---------------------------------------------------------------------------------
 */

static void test_argument_ids(void) {
  static const gint16 ids[] = { -1, 1 };
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    for (gsize i = 0; i < G_N_ELEMENTS(ids); i++) {
      Outcome o;
      open_call(&o.writer, protocols[p], AIN_METHOD_DELETE_MODEL, ids[i]);
      write_text(&o.writer, 1, "m1");
      close_call(&o);
      g_assert_no_error(o.error);
      g_assert_true(ain_slice_equal(o.store.request.model_id, "m1"));
      clear(&o);
    }
    Outcome other;
    open_call(&other.writer, protocols[p], AIN_METHOD_DELETE_MODEL, 2);
    write_text(&other.writer, 1, "m1");
    close_call(&other);
    expect_error(&other, AIN_ERROR_MALFORMED, "the argument is missing");
    clear(&other);
  }
}

static void test_argument_twice_or_no_struct(void) {
  Outcome o;
  open_call(&o.writer, AIN_THRIFT_BINARY, AIN_METHOD_DELETE_MODEL, -1);
  write_text(&o.writer, 1, "m1");
  ain_writer_struct_end(&o.writer);
  ain_writer_field(&o.writer, AIN_THRIFT_STRUCT, 1);
  ain_writer_struct_begin(&o.writer);
  write_text(&o.writer, 1, "m2");
  close_call(&o);
  expect_error(&o, AIN_ERROR_MALFORMED, "twice");
  clear(&o);

  static const guint8 text_argument[] = { 0x80, 1,   0,    1,    0,   0,   0,   11,  'd', 'e', 'l',
                                          'e',  't', 'e',  'M',  'o', 'd', 'e', 'l', 0,   0,   0,
                                          1,    11,  0xFF, 0xFF, 0,   0,   0,   1,   'x', 0 };
  AinReader reader;
  AinMessage message;
  ain_reader_init(&reader, text_argument, sizeof text_argument);
  g_assert_true(ain_reader_message(&reader, &message));
  o.error = NULL;
  g_assert_false(ain_rpc_decode(&reader, AIN_METHOD_DELETE_MODEL, AIN_FAMILY_E, &o.store, &o.error));
  expect_error(&o, AIN_ERROR_MALFORMED, "not a struct");
  ain_rpc_request_clear(&o.store);
  g_clear_error(&o.error);
}

/* Methods without an argument take whatever struct comes; unknown fields are stepped over everywhere. */
static void test_unknown_fields(void) {
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    Outcome o;
    open_call(&o.writer, protocols[p], AIN_METHOD_STOP, 7);
    write_field(&o.writer, 9, TEXT_MAP, 20);
    close_call(&o);
    g_assert_no_error(o.error);
    clear(&o);
    open_call(&o.writer, protocols[p], AIN_METHOD_FORECAST, -1);
    write_field(&o.writer, 100, WINDOW, 0);
    write_text(&o.writer, 1, "m1");
    write_field(&o.writer, 2, TEXT, 0);
    write_field(&o.writer, 8, TEXTS, 30);
    write_field(&o.writer, 3, I32, 0);
    write_field(&o.writer, -5, BOOL, 0);
    close_call(&o);
    g_assert_no_error(o.error);
    g_assert_cmpint(o.store.request.output_length, ==, 96);
    g_assert_cmphex(o.store.request.families, ==, GH); /* no options at all: R2 */
    clear(&o);
  }
}

static void test_method_names(void) {
  for (guint i = 0; i < AIN_METHOD_COUNT; i++) {
    const char *name = ain_rpc_method_name((AinMethod)i);
    AinSlice slice = { (const guint8 *)name, strlen(name) };
    g_assert_cmpint(ain_rpc_method_of(slice), ==, (AinMethod)i);
    g_assert_true((ain_rpc_method_families((AinMethod)i) != 0) == (i != AIN_METHOD_UNKNOWN));
  }
  g_assert_cmpint(ain_rpc_method_of((AinSlice){ (const guint8 *)"inferenc", 8 }), ==, AIN_METHOD_UNKNOWN);
}

/* --- clashes ---------------------------------------------------------------------------------------------
 */

typedef struct {
  const char *first;
  const char *second;
  AinFamily release;
  gboolean id_first;
  AinFamilies families;
} Registering;

static void test_register_order(void) {
  const AinFamilies old = AC | DEF;
  const Registering cases[] = {
    { "file:///data/m1", "m1", AIN_FAMILY_H, FALSE, old },
    { "m1", "file:///data/m1", AIN_FAMILY_A, TRUE, GH },
    { "/data/m1", "m1", AIN_FAMILY_H, FALSE, old },
    { "m1", "https://h/resolve/main/", AIN_FAMILY_E, TRUE, GH },
    { "m1", "m2", AIN_FAMILY_E, FALSE, AIN_FAMILY_ALL }, /* both look like ids: the release decides */
    { "m1", "m2", AIN_FAMILY_G, TRUE, AIN_FAMILY_ALL },
    { "../x", "file:///data/x", AIN_FAMILY_A, TRUE, GH }, /* a bad id stays the id */
    { "file:///data/x", "../x", AIN_FAMILY_H, FALSE, old },
    { "file:///data/x", "", AIN_FAMILY_H, FALSE, old },
    { "x", "file:///data/x", AIN_FAMILY_A, TRUE, GH },
    { "/a/b", "/c/d", AIN_FAMILY_H, TRUE, AIN_FAMILY_ALL },
    { "a b", "c d", AIN_FAMILY_A, FALSE, AIN_FAMILY_ALL },
    { "", "", AIN_FAMILY_H, TRUE, AIN_FAMILY_ALL },
  };
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    const Registering *c = &cases[i];
    Outcome o;
    open_call(&o.writer, protocols[i % 2], AIN_METHOD_REGISTER_MODEL, -1);
    write_text(&o.writer, 1, c->first);
    write_text(&o.writer, 2, c->second);
    ain_writer_struct_end(&o.writer);
    ain_writer_struct_end(&o.writer);
    decode(&o, c->release);
    g_assert_no_error(o.error);
    g_assert_true(ain_slice_equal(o.store.request.model_id, c->id_first ? c->first : c->second));
    g_assert_true(ain_slice_equal(o.store.request.uri, c->id_first ? c->second : c->first));
    g_assert_cmphex(o.store.request.families, ==, c->families);
    clear(&o);
  }
}

/* The order of the fields on the wire makes no difference to who is recognised. */
static void test_fields_backwards(void) {
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    Outcome o;
    open_call(&o.writer, protocols[p], AIN_METHOD_INFERENCE, -1);
    write_field(&o.writer, 7, TEXT_MAP, 1);
    write_field(&o.writer, 6, WINDOW, 0);
    write_field(&o.writer, 5, NUMBER_MAP, 3);
    write_field(&o.writer, 4, TEXTS, 3);
    write_field(&o.writer, 3, TEXTS, 3);
    write_field(&o.writer, 2, TEXT, 0);
    write_field(&o.writer, 1, TEXT, 0);
    close_call(&o);
    g_assert_no_error(o.error);
    g_assert_cmphex(o.store.request.families, ==, AC);
    g_assert_cmpuint(o.store.request.n_options, ==, 1);
    g_assert_cmpint(o.store.request.window_interval, ==, 5);
    g_assert_cmpint(o.store.request.window_step, ==, 2);
    clear(&o);
  }
}

/* A list where A has it and a map where D has it: nobody sends that; A lacks its names then. */
static void test_mixed_families(void) {
  Outcome o;
  open_call(&o.writer, AIN_THRIFT_COMPACT, AIN_METHOD_INFERENCE, -1);
  write_field(&o.writer, 1, TEXT, 0);
  write_field(&o.writer, 2, TEXT, 0);
  write_field(&o.writer, 3, TEXTS, 1);
  write_field(&o.writer, 4, TEXT_MAP, 1);
  close_call(&o);
  expect_error(&o, AIN_ERROR_MALFORMED, "columnNameList");
  clear(&o);
}

static void test_window_lacks_a_part(void) {
  Outcome o;
  open_call(&o.writer, AIN_THRIFT_BINARY, AIN_METHOD_INFERENCE, -1);
  write_field(&o.writer, 1, TEXT, 0);
  write_field(&o.writer, 2, TEXT, 0);
  write_field(&o.writer, 3, EMPTY_STRUCT, 0);
  close_call(&o);
  expect_error(&o, AIN_ERROR_MALFORMED, "window lacks");
  clear(&o);
}

/* --- columns of A and C ----------------------------------------------------------------------------------
 */

static void inference_with_columns(Outcome *o, AinThriftProtocol protocol, guint32 names, guint32 indexes) {
  open_call(&o->writer, protocol, AIN_METHOD_INFERENCE, -1);
  write_field(&o->writer, 1, TEXT, 0);
  write_field(&o->writer, 2, TEXT, 0);
  write_field(&o->writer, 3, TEXTS, names);
  write_field(&o->writer, 4, TEXTS, names);
  write_field(&o->writer, 5, NUMBER_MAP, indexes);
  close_call(o);
}

static void test_column_order(void) {
  static const guint32 counts[] = { 0, 1, 2, 8, 9, 4096 };
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    for (gsize c = 0; c < G_N_ELEMENTS(counts); c++) {
      Outcome o;
      inference_with_columns(&o, protocols[p], counts[c], counts[c]);
      g_assert_no_error(o.error);
      g_assert_nonnull(o.store.request.column_order);
      g_assert_cmpuint(o.store.request.n_column_order, ==, counts[c]);
      for (guint i = 0; i < counts[c]; i++) {
        g_assert_cmpuint(o.store.request.column_order[i], ==, counts[c] - 1 - i);
      }
      clear(&o);
    }
    Outcome o;
    inference_with_columns(&o, protocols[p], 3, 2);
    expect_error(&o, AIN_ERROR_MALFORMED, "columnNameIndexMap lacks");
    clear(&o);
    inference_with_columns(&o, protocols[p], 4097, 1);
    expect_error(&o, AIN_ERROR_TOO_LARGE, "4097");
    clear(&o);
    inference_with_columns(&o, protocols[p], 1, 4097);
    expect_error(&o, AIN_ERROR_TOO_LARGE, "4097");
    clear(&o);
  }
}

static void inference_with_pair(Outcome *o, const char *second_name, gint32 index) {
  open_call(&o->writer, AIN_THRIFT_BINARY, AIN_METHOD_INFERENCE, -1);
  write_field(&o->writer, 1, TEXT, 0);
  write_field(&o->writer, 2, TEXT, 0);
  write_field(&o->writer, 3, TEXTS, 1);
  write_field(&o->writer, 4, TEXTS, 1);
  ain_writer_field(&o->writer, AIN_THRIFT_MAP, 5);
  ain_writer_map(&o->writer, AIN_THRIFT_STRING, AIN_THRIFT_I32, 2);
  ain_writer_string(&o->writer, "n0");
  ain_writer_i32(&o->writer, index);
  ain_writer_string(&o->writer, second_name);
  ain_writer_i32(&o->writer, 0);
  close_call(o);
}

static void test_column_indexes_are_checked(void) {
  Outcome o;
  inference_with_pair(&o, "other", 17);
  g_assert_no_error(o.error);
  g_assert_cmpuint(o.store.request.column_order[0], ==, 17);
  clear(&o);
  inference_with_pair(&o, "n0", 1);
  expect_error(&o, AIN_ERROR_MALFORMED, "twice");
  clear(&o);
  inference_with_pair(&o, "other", -1);
  expect_error(&o, AIN_ERROR_MALFORMED, "no column can have");
  clear(&o);
  inference_with_pair(&o, "other", 4096);
  expect_error(&o, AIN_ERROR_MALFORMED, "no column can have");
  clear(&o);
}

/* --- limits ----------------------------------------------------------------------------------------------
 */

static void forecast_with_options(Outcome *o, AinThriftProtocol protocol, guint32 count) {
  open_call(&o->writer, protocol, AIN_METHOD_FORECAST, -1);
  write_field(&o->writer, 1, TEXT, 0);
  write_field(&o->writer, 2, TEXT, 0);
  write_field(&o->writer, 3, I32, 0);
  write_field(&o->writer, 7, TEXT_MAP, count);
  close_call(o);
}

static void test_number_of_options(void) {
  static const guint32 counts[] = { 0, 1, 8, 9, 1024 };
  for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
    Outcome o;
    for (gsize c = 0; c < G_N_ELEMENTS(counts); c++) {
      forecast_with_options(&o, protocols[p], counts[c]);
      g_assert_no_error(o.error);
      g_assert_cmpuint(o.store.request.n_options, ==, counts[c]);
      for (guint i = 0; i < counts[c]; i++) {
        g_autofree char *key = g_strdup_printf("n%u", i);
        g_assert_true(ain_slice_equal(o.store.request.options[i].key, key));
        g_assert_true(ain_slice_equal(o.store.request.options[i].value, "v"));
      }
      clear(&o);
    }
    forecast_with_options(&o, protocols[p], 1025);
    expect_error(&o, AIN_ERROR_TOO_LARGE, "number of entries of options has 1025");
    clear(&o);
  }
}

static void test_number_of_devices(void) {
  static const guint32 counts[] = { 0, 8, 9, 1024 };
  for (gsize c = 0; c < G_N_ELEMENTS(counts); c++) {
    Outcome o;
    open_call(&o.writer, protocols[c % 2], AIN_METHOD_SHOW_LOADED_MODELS, -1);
    write_field(&o.writer, 1, TEXTS, counts[c]);
    close_call(&o);
    g_assert_no_error(o.error);
    g_assert_cmpuint(o.store.request.n_devices, ==, counts[c]);
    g_assert_nonnull(o.store.request.devices);
    clear(&o);
  }
  Outcome o;
  open_call(&o.writer, AIN_THRIFT_BINARY, AIN_METHOD_SHOW_LOADED_MODELS, -1);
  write_field(&o.writer, 1, TEXTS, 1025);
  close_call(&o);
  expect_error(&o, AIN_ERROR_TOO_LARGE, "1025");
  clear(&o);
}

static void test_length_and_text_of_ids(void) {
  g_autofree char *longest = g_strnfill(1024, 'x');
  g_autofree char *longer = g_strnfill(1025, 'x');
  const struct {
    const char *id;
    gint code;
  } cases[] = { { longest, 0 },
                { longer, AIN_ERROR_TOO_LARGE },
                { "\xFF\xFE", AIN_ERROR_MALFORMED },
                { "\xC3\xA9t\xC3\xA9", 0 },
                { "", 0 } };
  for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
    for (gsize p = 0; p < G_N_ELEMENTS(protocols); p++) {
      Outcome o;
      open_call(&o.writer, protocols[p], AIN_METHOD_DELETE_MODEL, -1);
      write_text(&o.writer, 1, cases[i].id);
      close_call(&o);
      g_assert_cmpint(o.error != NULL ? o.error->code : 0, ==, cases[i].code);
      g_assert_true(!o.good || o.store.request.model_id.data != NULL); /* empty, but there */
      clear(&o);
    }
  }
}

static void test_absent_id_is_null(void) {
  Outcome o;
  open_call(&o.writer, AIN_THRIFT_COMPACT, AIN_METHOD_SHOW_MODELS, -1);
  close_call(&o);
  g_assert_no_error(o.error);
  g_assert_null(o.store.request.model_id.data);
  clear(&o);
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/rpc/request/every-field", test_every_field);
  g_test_add_func("/rpc/request/argument-ids", test_argument_ids);
  g_test_add_func("/rpc/request/argument-shape", test_argument_twice_or_no_struct);
  g_test_add_func("/rpc/request/unknown-fields", test_unknown_fields);
  g_test_add_func("/rpc/request/method-names", test_method_names);
  g_test_add_func("/rpc/request/register-order", test_register_order);
  g_test_add_func("/rpc/request/backwards", test_fields_backwards);
  g_test_add_func("/rpc/request/mixed-families", test_mixed_families);
  g_test_add_func("/rpc/request/window", test_window_lacks_a_part);
  g_test_add_func("/rpc/request/column-order", test_column_order);
  g_test_add_func("/rpc/request/column-indexes", test_column_indexes_are_checked);
  g_test_add_func("/rpc/request/options", test_number_of_options);
  g_test_add_func("/rpc/request/devices", test_number_of_devices);
  g_test_add_func("/rpc/request/ids", test_length_and_text_of_ids);
  g_test_add_func("/rpc/request/absent-id", test_absent_id_is_null);
  return g_test_run();
}
