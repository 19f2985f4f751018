/* Reference-counted input buffers with a small store of used ones. Private to rpc.
 *
 * A buffer may be released by any thread (the last owner of a call may be a helper), so the store has a lock;
 * the pool lives until its owner and the last buffer are gone. */
#pragma once
#include <glib.h>

/* What one read takes in; the usual request of an inference is a tenth of it. */
#define AIN_BUFFER_SIZE 16384

typedef struct AinBufferPool AinBufferPool;

typedef struct AinBuffer {
  gint refs;           /* atomic */
  AinBufferPool *pool; /* referenced; NULL for a buffer of a size of its own */
  gsize capacity;
  guint8 data[];
} AinBuffer;

AinBufferPool *ain_buffer_pool_new(void);
void ain_buffer_pool_unref(AinBufferPool *pool); /* NULL is allowed */

AinBuffer *ain_buffer_new(AinBufferPool *pool); /* of AIN_BUFFER_SIZE */
AinBuffer *ain_buffer_new_sized(gsize capacity);
/* Moves a buffer that has one owner and no pool to another capacity. */
AinBuffer *ain_buffer_resize(AinBuffer *buffer, gsize capacity);
AinBuffer *ain_buffer_ref(AinBuffer *buffer);
void ain_buffer_unref(AinBuffer *buffer); /* NULL is allowed; any thread */
static inline gboolean ain_buffer_is_shared(AinBuffer *buffer) {
  return g_atomic_int_get(&buffer->refs) > 1;
}
