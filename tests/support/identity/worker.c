/* A worker without Python: the worker's end of the real channel (pyruntime/embed/channel.c) around memcpy. It
 * takes the place of ainode-runtime where the channel itself is tested or measured. A model whose name
 * contains "pauses" is answered after a pause now and then, so that both sides go to sleep at every possible
 * moment. */
#include "channel.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void nothing(void *data) {
  (void)data;
}

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

/* Once in 256 jobs up to 262 us: about the time after which the other side falls asleep. */
static void pause_sometimes(uint32_t *state) {
  uint32_t number = next_random(state);
  if (number % 256 == 0) {
    struct timespec pause = { .tv_nsec = (long)((number >> 14) % 262144) };
    nanosleep(&pause, NULL);
  }
}

static void answer(AinChannel *channel, const AinJob *job) {
  AinResult result = { .id = job->id,
                       .status = AIN_RESULT_OK,
                       .region = job->slot,
                       .dtype = job->dtype,
                       .batch = job->batch,
                       .rows = job->rows,
                       .columns = job->columns,
                       .size = job->size };
  memcpy(ain_channel_reply_slot(channel, job->slot), ain_channel_request_slot(channel, job->region),
         job->size);
  ain_channel_publish(channel, &result);
}

int main(void) {
  AinChannel channel;
  AinMessage message;
  static char text[AIN_MESSAGE_TEXT_MAX + 1];
  char reason[256];
  int fd;
  if (!ain_control_send(AIN_MESSAGE_HELLO, 0, AIN_ABI_VERSION, "", 0, -1)
      || !ain_control_receive(&message, text, &fd) || message.type != AIN_MESSAGE_LOAD) {
    return 1;
  }
  if (!ain_channel_open(&channel, reason, sizeof reason)) {
    fprintf(stderr, "%s\n", reason);
    return 1;
  }
  int pauses = strstr(text, "pauses") != NULL;
  if (!ain_control_send(AIN_MESSAGE_LOADED, 0, 0, "", 0, -1)) {
    return 1;
  }
  uint32_t state = 0x9E3779B9;
  AinJob job;
  bool control_ready;
  while (ain_channel_next(&channel, &job, &control_ready, nothing, nothing, NULL)) {
    if (pauses) {
      pause_sometimes(&state);
    }
    answer(&channel, &job);
  }
  return 0;
}
