/* Reference-counted input buffers: small ones from a store of used ones, large ones within a budget. Private
 * to rpc.
 *
 * A buffer may be released by any thread (the last owner of a call may be a helper), so the pool has a lock;
 * it lives until its owner and the last buffer are gone. */
#pragma once
#include <glib.h>

/* What one read takes in; the usual request of an inference is a tenth of it. */
#define AIN_BUFFER_SIZE 16384

typedef struct AinBufferPool AinBufferPool;

typedef struct AinBuffer {
  gint refs;           /* atomic */
  AinBufferPool *pool; /* referenced */
  gboolean sized;      /* of a size of its own, counted in the budget */
  gsize capacity;
  guint8 data[];
} AinBuffer;

/* budget: bytes that all sized buffers together may have. */
AinBufferPool *ain_buffer_pool_new(gsize budget);
void ain_buffer_pool_unref(AinBufferPool *pool); /* NULL is allowed */

AinBuffer *ain_buffer_new(AinBufferPool *pool); /* of AIN_BUFFER_SIZE */
/* NULL when the budget or the machine's memory is used up. */
AinBuffer *ain_buffer_new_sized(AinBufferPool *pool, gsize capacity);
/* Moves a sized buffer with one owner to a larger capacity; NULL, and nothing changed, where there is none.
 */
AinBuffer *ain_buffer_resize(AinBuffer *buffer, gsize capacity);
AinBuffer *ain_buffer_ref(AinBuffer *buffer);
void ain_buffer_unref(AinBuffer *buffer); /* NULL is allowed; any thread */
static inline gboolean ain_buffer_is_shared(AinBuffer *buffer) {
  return g_atomic_int_get(&buffer->refs) > 1;
}
