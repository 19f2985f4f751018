/* How a log line is made. Private to host/observe and its tests. Any thread. */
#pragma once
#include <glib.h>

/* Bytes of one message that are kept; the rest is counted. */
#define AIN_LOG_MAX_MESSAGE 16384

/* "2026-01-02 03:04:05,678 INFO [pid:thread] text\n" in local time. Whatever could end the line, move the
 * cursor or reorder the text (control characters, bytes that are not UTF-8, line and direction marks) is
 * written as an escape, so that no message can forge another line. time_us: microseconds of the wall clock;
 * size: of text, which need not be terminated. */
void ain_log_format(GString *out, gint64 time_us, GLogLevelFlags level, long pid, long thread,
                    const char *text, gsize size);
