/* Reply frames of a DataNode for tests and fuzzing, TsBlocks, and the readers behind the check. */
#pragma once
#include "session/internal.h"
#include "session/page.h"
#include "session/reply_check.h"

#include <glib.h>

/* A full reply: every optional field set, lists and maps with two elements. Owned. */
GByteArray *test_answer_new(AinSessionCall call, gboolean compact);

/* Checks the frame as data_node.c does and, where the check lets it pass, has the generated reader read it;
 * the reader must then succeed. page: NULL, or takes what an execute or fetch brought. Errors: those of
 * ain_session_reply_check(). */
gboolean test_answer_read(AinSessionCall call, AinSlice frame, gboolean compact, AinNodePage *page,
                          GError **error);

/* Reads all of the rows as every caller might: values, nulls, tensors, text. Returns the number of rows, or
 * -1 with the error set. */
gint64 test_rows_read_all(AinRows *rows, GError **error);

/* --- pages by hand. Bytes are given as text in hex, blanks ignored. */
GByteArray *test_hex(const char *hex);
/* names and types: separated by commas; sources: NULL or n_names numbers. Takes the blocks, up to NULL. */
void test_page_fill(AinNodePage *page, const char *names, const char *types, const gint32 *sources,
                    gboolean has_times, ...) G_GNUC_NULL_TERMINATED;
