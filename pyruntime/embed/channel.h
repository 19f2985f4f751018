/* The worker's end of the shared memory channel. No Python here; owns the mappings for the life of the
 * process. */
#pragma once
#include "runtime/abi.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
  const AinHostPage *host;
  AinWorkerPage *worker;
  const uint8_t *request; /* start of the request mapping */
  uint8_t *reply;
  uint32_t taken; /* jobs taken so far */
  int patience;   /* 0..3, from how soon the last jobs came: whether waiting by yielding pays */
  int64_t
      no_yield_until_us; /* the processor is wanted by others: yielding would hand it over for milliseconds */
} AinChannel;

/* Maps the memory of AIN_FD_REQUEST and AIN_FD_REPLY. On failure returns false and writes one sentence. */
bool ain_channel_open(AinChannel *channel, char *reason, size_t reason_size);

/* The next job. While jobs come close together it is awaited by yielding for host->spin_us before the sleep;
 * where they come far apart we sleep at once, which leaves the processor to whoever takes the answer.
 * blocking_begin/end surround the sleep (they release and retake the GIL); both get `data`. Returns false
 * when the host asked to stop or is gone, or when *control_ready was set because a control message waits. */
typedef void (*AinChannelHook)(void *data);
bool ain_channel_next(AinChannel *channel, AinJob *job, bool *control_ready, AinChannelHook blocking_begin,
                      AinChannelHook blocking_end, void *data);

/* Publishes the result of the job taken last and wakes the host if it sleeps. */
void ain_channel_publish(AinChannel *channel, const AinResult *result);

static inline const uint8_t *ain_channel_request_slot(const AinChannel *channel, uint32_t index) {
  return channel->request + AIN_PAGE + (size_t)index * channel->host->slot_size;
}
static inline uint8_t *ain_channel_reply_slot(const AinChannel *channel, uint32_t index) {
  return channel->reply + AIN_PAGE + (size_t)index * channel->worker->slot_size;
}

/* --- control socket --- */

/* Sends one message, with descriptor fd as ancillary data when fd >= 0. */
bool ain_control_send(uint32_t type, uint64_t id, uint64_t value, const char *text, size_t size, int fd);
/* Receives one message into *message and text (AIN_MESSAGE_TEXT_MAX + 1 bytes, NUL added); *fd gets a
 * descriptor or -1. Blocks. Returns false when the host is gone. */
bool ain_control_receive(AinMessage *message, char *text, int *fd);
