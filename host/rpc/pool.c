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
  gsize budget_left; /* under lock, as all below */
  guint n_spare;
  AinBuffer *spare[MAX_SPARE + 1];
};

AinBufferPool *ain_buffer_pool_new(gsize budget) {
  AinBufferPool *pool = g_new0(AinBufferPool, 1);
  pool->refs = 1;
  pool->budget_left = budget;
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

static gboolean take_budget(AinBufferPool *pool, gsize size) {
  pthread_mutex_lock(&pool->lock);
  gboolean enough = pool->budget_left >= size;
  pool->budget_left -= enough ? size : 0;
  pthread_mutex_unlock(&pool->lock);
  return enough;
}

static void give_budget(AinBufferPool *pool, gsize size) {
  pthread_mutex_lock(&pool->lock);
  pool->budget_left += size;
  pthread_mutex_unlock(&pool->lock);
}

static AinBuffer *adopt(AinBufferPool *pool, AinBuffer *buffer, gsize capacity, gboolean sized) {
  buffer->refs = 1;
  buffer->pool = pool;
  buffer->sized = sized;
  buffer->capacity = capacity;
  g_atomic_int_inc(&pool->refs);
  return buffer;
}

AinBuffer *ain_buffer_new_sized(AinBufferPool *pool, gsize capacity) {
  if (!take_budget(pool, capacity)) {
    return NULL;
  }
  AinBuffer *buffer = g_try_malloc(sizeof *buffer + capacity);
  if (buffer == NULL) {
    give_budget(pool, capacity);
    return NULL;
  }
  return adopt(pool, buffer, capacity, TRUE);
}

AinBuffer *ain_buffer_new(AinBufferPool *pool) {
  AinBuffer *buffer = NULL;
  pthread_mutex_lock(&pool->lock);
  if (pool->n_spare > 0) {
    buffer = pool->spare[--pool->n_spare];
  }
  pthread_mutex_unlock(&pool->lock);
  if (buffer == NULL) {
    buffer = g_malloc(sizeof *buffer + AIN_BUFFER_SIZE);
  }
  return adopt(pool, buffer, AIN_BUFFER_SIZE, FALSE);
}

AinBuffer *ain_buffer_resize(AinBuffer *buffer, gsize capacity) {
  g_assert(buffer->sized && !ain_buffer_is_shared(buffer) && capacity >= buffer->capacity);
  if (!take_budget(buffer->pool, capacity - buffer->capacity)) {
    return NULL;
  }
  AinBuffer *moved = g_try_realloc(buffer, sizeof *buffer + capacity);
  if (moved == NULL) {
    give_budget(buffer->pool, capacity - buffer->capacity);
    return NULL;
  }
  moved->capacity = capacity;
  return moved;
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
  pthread_mutex_lock(&pool->lock);
  gboolean keep = !buffer->sized && (gint)pool->n_spare < MAX_SPARE;
  if (keep) {
    pool->spare[pool->n_spare++] = buffer;
  } else if (buffer->sized) {
    pool->budget_left += buffer->capacity;
  }
  pthread_mutex_unlock(&pool->lock);
  if (!keep) {
    g_free(buffer);
  }
  ain_buffer_pool_unref(pool);
}
