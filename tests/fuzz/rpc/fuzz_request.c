/* Decodes any bytes as a request. Every byte that a decoded request points to is read, and what the decoder
 * promises about its results is checked. */
#include "fuzz_request.h"

#include "rpc/request.h"

#include "base/error.h"

#define LENGTH_BYTES 4

static volatile guint sink;

static void touch(AinSlice slice) {
  guint sum = 0;
  for (gsize i = 0; i < slice.size; i++) {
    sum += slice.data[i];
  }
  sink = sum;
}

static void check_request(const AinRequest *request) {
  touch(request->model_id);
  touch(request->uri);
  touch(request->dataset);
  for (guint i = 0; i < request->n_options; i++) {
    touch(request->options[i].key);
    touch(request->options[i].value);
  }
  for (guint i = 0; i < request->n_devices; i++) {
    touch(request->devices[i]);
  }
  for (guint i = 0; i < request->n_column_order; i++) {
    g_assert_cmpuint(request->column_order[i], <, AIN_REQUEST_MAX_COLUMNS);
  }
  g_assert_cmpuint(request->model_id.size, <=, AIN_REQUEST_MAX_ID);
  g_assert_cmpuint(request->n_options, <=, AIN_REQUEST_MAX_OPTIONS);
  g_assert_true((request->families & ~ain_rpc_method_families(request->method)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < LENGTH_BYTES) {
    return 0;
  }
  AinReader reader;
  AinMessage message;
  ain_reader_init(&reader, data + LENGTH_BYTES, size - LENGTH_BYTES);
  if (!ain_reader_message(&reader, &message)) {
    g_free(ain_reader_failure(&reader));
    return 0;
  }
  AinReader skipper = reader; /* the same bytes, merely stepped over */
  gboolean skipped = ain_reader_skip(&skipper, AIN_THRIFT_STRUCT) && ain_reader_end(&skipper);
  AinMethod method = ain_rpc_method_of(message.name);
  if (method == AIN_METHOD_UNKNOWN) {
    return 0;
  }
  AinRequestStore store;
  g_autoptr(GError) error = NULL;
  AinFamily release = (AinFamily)(1U << size % 7);
  gboolean good = ain_rpc_decode(&reader, method, release, &store, &error);
  g_assert_true(good == (error == NULL));
  g_assert_true(skipped || !good); /* what is understood is well-formed */
  g_assert_cmphex(store.request.families & AIN_FAMILY_ALL, !=, 0);
  if (good) {
    check_request(&store.request);
  }
  ain_rpc_request_clear(&store);
  return 0;
}
