/* The reply check, and the generated reader behind it, against arbitrary bytes: whatever the check lets pass,
 * the reader must read to the end without an error (test_reply_read asserts it). First byte: method and
 * protocol. */
#include "protocol/types.h"
#include "replies.h"
#include "reply_driver.h"

const guint fuzz_n_replies = 4 * (guint)AIN_REPLY_KINDS;

GByteArray *fuzz_reply_new(guint index, guint8 *head) {
  *head = (guint8)(index / 2);
  AinReplyKind kind = (AinReplyKind)(*head / 2);
  gboolean compact = *head % 2 == 1;
  return index % 2 == 0 ? test_reply_new(kind, compact) : test_reply_exception(kind, compact, 6, "a text");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ain_protocol_register_types();
  if (size > 0) {
    AinSlice frame = { data + 1, size - 1 };
    (void)test_reply_read((AinReplyKind)(data[0] / 2 % AIN_REPLY_KINDS), frame, data[0] % 2 == 1, NULL);
  }
  return 0;
}
