/* What reply_driver.c needs from a fuzz target whose input is one byte (call and protocol) and a reply frame.
 */
#pragma once
#include <glib.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const guint fuzz_n_replies;
/* Owned frame number index of fuzz_n_replies whole replies; *head gets the byte that names call and protocol.
 */
GByteArray *fuzz_reply_new(guint index, guint8 *head);
