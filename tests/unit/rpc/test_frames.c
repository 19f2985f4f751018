/* Every recorded frame: decodes to what the manifest says; cut short anywhere it is refused; with any byte
 * changed it is decoded or refused, quickly and without touching a byte that is not its own. */
#include "rpc/request.h"

typedef struct {
  const char *file;
  AinThriftProtocol protocol;
  gint32 seqid;
  AinMethod method;
  AinFamily sender;
  AinFamilies families;
  const char *text;
} ExpectedFrame;

#include "expected_frames.h"

static guint8 *load(const ExpectedFrame *expected, gsize *size) {
  g_autofree char *path = g_build_filename(AIN_TEST_DATA, "frames", expected->file, NULL);
  g_autoptr(GError) error = NULL;
  char *content = NULL;
  g_file_get_contents(path, &content, size, &error);
  g_assert_no_error(error);
  g_assert_cmpuint(*size, >, 4);
  return (guint8 *)content;
}

static void add_slice(GString *text, const char *name, AinSlice slice) {
  g_string_append_printf(text, "%s%s=%.*s", text->len > 0 ? " " : "", name, (int)slice.size,
                         (const char *)slice.data);
}

/* A list as "name=a,b"; empty lists are written too. */
static void add_name(GString *text, const char *name) {
  g_string_append_printf(text, "%s%s=", text->len > 0 ? " " : "", name);
}

static void print_data(GString *text, const AinRequest *request) {
  add_name(text, "data");
  for (gsize i = 0; i < request->dataset.size; i++) {
    g_string_append_printf(text, "%02x", request->dataset.data[i]);
  }
  if (request->method == AIN_METHOD_CLASSIFY) {
    return;
  }
  add_name(text, "options");
  for (guint i = 0; i < request->n_options; i++) {
    const AinPair *pair = &request->options[i];
    g_string_append_printf(text, "%s%.*s:%.*s", i > 0 ? "," : "", (int)pair->key.size,
                           (const char *)pair->key.data, (int)pair->value.size,
                           (const char *)pair->value.data);
  }
}

static char *print_request(const AinRequest *request) {
  GString *text = g_string_new(NULL);
  if (request->model_id.data != NULL) {
    add_slice(text, "model", request->model_id);
  }
  if (request->method == AIN_METHOD_HEARTBEAT) {
    g_string_append_printf(text, "beat=%" G_GINT64_FORMAT " sampling=%d", request->heartbeat_timestamp,
                           request->need_sampling_load);
  }
  if (request->method == AIN_METHOD_REGISTER_MODEL) {
    add_slice(text, "uri", request->uri);
  }
  if (request->devices != NULL) {
    add_name(text, "devices");
    for (guint i = 0; i < request->n_devices; i++) {
      g_string_append_printf(text, "%s%.*s", i > 0 ? "," : "", (int)request->devices[i].size,
                             (const char *)request->devices[i].data);
    }
  }
  if (request->dataset.data != NULL) {
    print_data(text, request);
  }
  if (request->column_order != NULL) {
    add_name(text, "order");
    for (guint i = 0; i < request->n_column_order; i++) {
      g_string_append_printf(text, "%s%u", i > 0 ? "," : "", request->column_order[i]);
    }
  }
  if (request->has_window) {
    g_string_append_printf(text, " window=%d,%d", request->window_interval, request->window_step);
  }
  if (request->method == AIN_METHOD_FORECAST) {
    g_string_append_printf(text, " length=%d", request->output_length);
  }
  return g_string_free(text, FALSE);
}

static void test_decodes_as_the_manifest_says(void) {
  g_assert_cmpuint(G_N_ELEMENTS(expected_frames), ==, 178);
  for (gsize i = 0; i < G_N_ELEMENTS(expected_frames); i++) {
    const ExpectedFrame *expected = &expected_frames[i];
    gsize size = 0;
    g_autofree guint8 *frame = load(expected, &size);
    AinReader reader;
    AinMessage message;
    AinRequestStore store;
    g_autoptr(GError) error = NULL;
    ain_reader_init(&reader, frame + 4, size - 4);
    g_assert_true(ain_reader_message(&reader, &message));
    g_assert_cmpint(reader.protocol, ==, expected->protocol);
    g_assert_cmpint(message.type, ==, AIN_MESSAGE_CALL);
    g_assert_cmpint(message.seqid, ==, expected->seqid);
    g_assert_cmpint(ain_rpc_method_of(message.name), ==, expected->method);
    ain_rpc_decode(&reader, expected->method, AIN_FAMILY_E, &store, &error);
    g_assert_no_error(error);
    g_autofree char *text = print_request(&store.request);
    g_assert_cmpstr(text, ==, expected->text);
    g_assert_cmphex(store.request.families, ==, expected->families);
    g_assert_cmphex(store.request.families & expected->sender, !=, 0);
    ain_rpc_request_clear(&store);
  }
}

/* Decodes a copy that ends with its allocation. TRUE when all of it was understood. */
static gboolean decode_copy(const guint8 *message_bytes, gsize size) {
  g_autofree guint8 *copy = g_memdup2(message_bytes, size);
  AinReader reader;
  AinMessage message;
  AinRequestStore store;
  g_autoptr(GError) error = NULL;
  ain_reader_init(&reader, copy, size);
  if (!ain_reader_message(&reader, &message)) {
    g_autofree char *why = ain_reader_failure(&reader);
    g_assert_cmpuint(strlen(why), >, 10);
    return FALSE;
  }
  AinMethod method = ain_rpc_method_of(message.name);
  if (method == AIN_METHOD_UNKNOWN) {
    return FALSE;
  }
  gboolean good = ain_rpc_decode(&reader, method, AIN_FAMILY_E, &store, &error);
  g_assert_true(good == (error == NULL));
  g_assert_cmphex(store.request.families, !=, 0);
  g_assert_cmpint(store.request.method, ==, method);
  ain_rpc_request_clear(&store);
  return good;
}

static void test_every_truncation_is_refused(void) {
  for (gsize i = 0; i < G_N_ELEMENTS(expected_frames); i++) {
    gsize size = 0;
    g_autofree guint8 *frame = load(&expected_frames[i], &size);
    for (gsize cut = 0; cut < size - 4; cut++) {
      g_assert_false(decode_copy(frame + 4, cut));
    }
    g_assert_true(decode_copy(frame + 4, size - 4));
  }
}

static void test_every_byte_changed(void) {
  static const guint8 changes[] = { 0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0B, 0x0C, 0x0F };
  guint refused = 0;
  guint tried = 0;
  gint64 start = g_get_monotonic_time();
  for (gsize i = 0; i < G_N_ELEMENTS(expected_frames); i++) {
    gsize size = 0;
    g_autofree guint8 *frame = load(&expected_frames[i], &size);
    for (gsize at = 4; at < size; at++) {
      guint8 right = frame[at];
      for (gsize k = 0; k < G_N_ELEMENTS(changes) + 8; k++) {
        guint8 wrong = (guint8)(k < 8 ? right ^ 1U << k : changes[k - 8]);
        frame[at] = wrong;
        refused += decode_copy(frame + 4, size - 4) ? 0 : 1;
        tried++;
      }
      frame[at] = right;
    }
  }
  g_test_message("%u changed frames, %u refused, %.1f us each", tried, refused,
                 (double)(g_get_monotonic_time() - start) / tried);
  g_assert_cmpuint(refused, >, tried / 10);
  g_assert_cmpuint(refused, <, tried);
}

static void test_trailing_bytes_are_refused(void) {
  for (gsize i = 0; i < G_N_ELEMENTS(expected_frames); i++) {
    gsize size = 0;
    g_autofree guint8 *frame = load(&expected_frames[i], &size);
    g_autofree guint8 *longer = g_malloc0(size + 1);
    memcpy(longer, frame, size);
    g_assert_false(decode_copy(longer + 4, size - 3));
  }
}

int main(int argc, char **argv) {
  g_test_init(&argc, &argv, NULL);
  g_test_add_func("/rpc/frames/manifest", test_decodes_as_the_manifest_says);
  g_test_add_func("/rpc/frames/truncated", test_every_truncation_is_refused);
  g_test_add_func("/rpc/frames/changed", test_every_byte_changed);
  g_test_add_func("/rpc/frames/trailing", test_trailing_bytes_are_refused);
  return g_test_run();
}
