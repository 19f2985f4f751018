#include "rpc/pool.h"

#include <pthread.h>

/* Under a sanitizer nothing is kept, so that every use of a released buffer is seen. */
#ifdef AIN_SANITIZED
enum { MAX_SPARE = 0 };
#else
enum { MAX_SPARE = 64 };
#endif

struct AinBufferPool {
  gint refs; /* atomic: the owner and every buffer that is in use */
  pthread_mutex_t lock;
  guint n_spare;                   /* under lock */
  AinBuffer *spare[MAX_SPARE + 1]; /* under lock */
};

AinBufferPool *ain_buffer_pool_new(void) {
  AinBufferPool *pool = g_new0(AinBufferPool, 1);
  pool->refs = 1;
  pthread_mutex_init(&pool->lock, NULL);
  return pool;
}

void ain_buffer_pool_unref(AinBufferPool *pool) {
  if (pool == NULL || !g_atomic_int_dec_and_test(&pool->refs)) {
    return;
  }
  for (guint i = 0; i < pool->n_spare; i++) {
    g_free(pool->spare[i]);
  }
  pthread_mutex_destroy(&pool->lock);
  g_free(pool);
}

AinBuffer *ain_buffer_new_sized(gsize capacity) {
  AinBuffer *buffer = g_malloc(sizeof *buffer + capacity);
  buffer->refs = 1;
  buffer->pool = NULL;
  buffer->capacity = capacity;
  return buffer;
}

AinBuffer *ain_buffer_new(AinBufferPool *pool) {
  AinBuffer *buffer = NULL;
  pthread_mutex_lock(&pool->lock);
  if (pool->n_spare > 0) {
    buffer = pool->spare[--pool->n_spare];
  }
  pthread_mutex_unlock(&pool->lock);
  if (buffer == NULL) {
    buffer = ain_buffer_new_sized(AIN_BUFFER_SIZE);
  }
  buffer->refs = 1;
  buffer->pool = pool;
  g_atomic_int_inc(&pool->refs);
  return buffer;
}

AinBuffer *ain_buffer_resize(AinBuffer *buffer, gsize capacity) {
  g_assert(buffer->pool == NULL && !ain_buffer_is_shared(buffer));
  buffer = g_realloc(buffer, sizeof *buffer + capacity);
  buffer->capacity = capacity;
  return buffer;
}

AinBuffer *ain_buffer_ref(AinBuffer *buffer) {
  g_atomic_int_inc(&buffer->refs);
  return buffer;
}

void ain_buffer_unref(AinBuffer *buffer) {
  if (buffer == NULL || !g_atomic_int_dec_and_test(&buffer->refs)) {
    return;
  }
  AinBufferPool *pool = buffer->pool;
  if (pool == NULL) {
    g_free(buffer);
    return;
  }
  pthread_mutex_lock(&pool->lock);
  gboolean keep = (gint)pool->n_spare < MAX_SPARE;
  if (keep) {
    pool->spare[pool->n_spare++] = buffer;
  }
  pthread_mutex_unlock(&pool->lock);
  if (!keep) {
    g_free(buffer);
  }
  ain_buffer_pool_unref(pool);
}
