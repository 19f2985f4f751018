/* A DataNode's reply of arbitrary bytes: whatever the check lets pass, the generated reader must read to the
 * end (test_answer_read asserts it), and its rows must end in values or an error. First byte: call and
 * protocol. */
#include "answers.h"
#include "protocol/types.h"
#include "reply_driver.h"

const guint fuzz_n_replies = 2 * (guint)AIN_SESSION_CALLS;

GByteArray *fuzz_reply_new(guint index, guint8 *head) {
  *head = (guint8)index;
  return test_answer_new((AinSessionCall)(*head / 2), *head % 2 == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ain_protocol_register_types();
  if (size == 0) {
    return 0;
  }
  AinSlice frame = { data + 1, size - 1 };
  AinSessionCall call = (AinSessionCall)(data[0] / 2 % AIN_SESSION_CALLS);
  AinQueryLimits limits = { .max_rows = 100000 };
  g_auto(AinNodePage) page = { 0 };
  if (test_answer_read(call, frame, data[0] % 2 == 1, &page, NULL) && page.names != NULL) {
    g_autoptr(AinRows) rows = ain_rows_new(NULL, "select", &limits, &page, NULL);
    if (rows != NULL) {
      (void)test_rows_read_all(rows, NULL);
    }
  }
  return 0;
}
