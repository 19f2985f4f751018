#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool map_memory(int fd, int protection, void **start, size_t *size) {
  struct stat info;
  if (fstat(fd, &info) != 0 || info.st_size < (off_t)AIN_PAGE) {
    return false;
  }
  *size = (size_t)info.st_size;
  *start = mmap(NULL, *size, protection, MAP_SHARED, fd, 0);
  return *start != MAP_FAILED;
}

bool ain_channel_open(AinChannel *channel, char *reason, size_t reason_size) {
  void *request = NULL;
  void *reply = NULL;
  size_t request_size = 0;
  size_t reply_size = 0;
  if (!map_memory(AIN_FD_REQUEST, PROT_READ, &request, &request_size)
      || !map_memory(AIN_FD_REPLY, PROT_READ | PROT_WRITE, &reply, &reply_size)) {
    snprintf(reason, reason_size, "cannot map the host's shared memory: %s", strerror(errno));
    return false;
  }
  channel->request = request;
  channel->reply = reply;
  channel->host = request;
  channel->worker = reply;
  channel->taken = 0;
  channel->patience = 0;
  channel->no_yield_until_us = 0;
  if (channel->host->magic != AIN_ABI_MAGIC || channel->host->version != AIN_ABI_VERSION) {
    snprintf(reason, reason_size,
             "the host speaks channel version %u, this runtime version %u: mixed installation",
             channel->host->version, AIN_ABI_VERSION);
    return false;
  }
  if (AIN_PAGE + (size_t)AIN_SLOTS * channel->host->slot_size > request_size
      || AIN_PAGE + (size_t)AIN_SLOTS * channel->worker->slot_size > reply_size) {
    snprintf(reason, reason_size, "the host's shared memory is smaller than its slots");
    return false;
  }
  return true;
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static bool job_waits(const AinChannel *channel) {
  return atomic_load_explicit(&channel->host->head, memory_order_acquire) != channel->taken;
}

static bool must_stop(const AinChannel *channel) {
  return atomic_load_explicit(&channel->host->stop, memory_order_relaxed) != 0;
}

/* Few jobs that come far apart must not end the yielding of a busy model, nor two close ones begin it for
 * good. */
#define PATIENCE_MAX 3
#define PATIENCE_YIELD 2

/* One round of yields that takes so long went to a process that computes; a sleeper is woken sooner than such
 * a process gives the processor back. */
#define CROWDED_US 1000
#define CROWDED_PAUSE_US 50000

static bool yield_for_job(AinChannel *channel) {
  int64_t now = now_us();
  int64_t until = now + channel->host->spin_us;
  do {
    int64_t begun = now;
    for (int round = 0; round < 8; round++) {
      for (int pause = 0; pause < 16; pause++) {
        relax();
      }
      if (job_waits(channel)) {
        return true;
      }
      sched_yield();
    }
    now = now_us();
    if (now - begun > CROWDED_US) {
      channel->no_yield_until_us = now + CROWDED_PAUSE_US;
    }
  } while (now < until);
  return job_waits(channel);
}

static bool may_yield(const AinChannel *channel) {
  return channel->patience >= PATIENCE_YIELD && now_us() >= channel->no_yield_until_us;
}

/* Sleeps until the host wakes us, a control message waits or the host is gone. */
static bool sleep_for_job(AinChannel *channel, bool *control_ready) {
  struct pollfd fds[2] = { { .fd = AIN_FD_WAKE_WORKER, .events = POLLIN },
                           { .fd = AIN_FD_CONTROL, .events = POLLIN } };
  atomic_store(&channel->worker->worker_sleeps, 1);
  /* Both the flag and head are sequentially consistent: either we see the job or the host sees the flag. */
  if (atomic_load(&channel->host->head) == channel->taken && !must_stop(channel)) {
    int count = poll(fds, 2, -1);
    if (count > 0 && fds[0].revents != 0) {
      char bytes[64];
      ssize_t got = read(AIN_FD_WAKE_WORKER, bytes, sizeof bytes); /* non-blocking */
      (void)got;
    }
    if (count > 0 && (fds[1].revents & (POLLHUP | POLLERR)) != 0 && (fds[1].revents & POLLIN) == 0) {
      return false;
    }
    *control_ready = count > 0 && (fds[1].revents & POLLIN) != 0;
  }
  atomic_store(&channel->worker->worker_sleeps, 0);
  return true;
}

static void learn_gap(AinChannel *channel, bool was_soon) {
  if (was_soon && channel->patience < PATIENCE_MAX) {
    channel->patience++;
  } else if (!was_soon && channel->patience > 0) {
    channel->patience--;
  }
}

/* Sleeps until there is a job or something else to do; false: the host is gone. */
static bool sleep_until_ready(AinChannel *channel, bool *control_ready) {
  int64_t soon = now_us() + channel->host->spin_us;
  bool alive = true;
  while (alive && !*control_ready && !job_waits(channel) && !must_stop(channel)) {
    alive = sleep_for_job(channel, control_ready);
  }
  learn_gap(channel, now_us() < soon);
  return alive;
}

bool ain_channel_next(AinChannel *channel, AinJob *job, bool *control_ready, AinChannelHook blocking_begin,
                      AinChannelHook blocking_end, void *data) {
  *control_ready = false;
  if (job_waits(channel) || (may_yield(channel) && yield_for_job(channel))) {
    learn_gap(channel, true);
  } else {
    blocking_begin(data);
    bool alive = sleep_until_ready(channel, control_ready);
    blocking_end(data);
    if (!alive || *control_ready) {
      return false;
    }
  }
  if (!job_waits(channel)) {
    return false;
  }
  *job = channel->host->jobs[channel->taken % AIN_RING];
  channel->taken++;
  atomic_store_explicit(&channel->worker->taken, channel->taken, memory_order_release);
  return true;
}

void ain_channel_publish(AinChannel *channel, const AinResult *result) {
  uint32_t tail = atomic_load_explicit(&channel->worker->tail, memory_order_relaxed);
  channel->worker->results[tail % AIN_RING] = *result;
  atomic_store(&channel->worker->tail, tail + 1);
  if (atomic_load(&channel->host->host_sleeps) != 0) {
    ssize_t written = write(AIN_FD_WAKE_HOST, "", 1); /* non-blocking: a full pipe wakes as well */
    (void)written;
  }
}

bool ain_control_send(uint32_t type, uint64_t id, uint64_t value, const char *text, size_t size, int fd) {
  if (size > AIN_MESSAGE_TEXT_MAX) {
    size = AIN_MESSAGE_TEXT_MAX;
  }
  AinMessage message = { .type = type, .text_size = (uint32_t)size, .id = id, .value = value };
  struct iovec parts[2] = { { .iov_base = &message, .iov_len = sizeof message },
                            { .iov_base = (void *)text, .iov_len = size } };
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = { 0 };
  struct msghdr packet = { .msg_iov = parts, .msg_iovlen = 2 };
  if (fd >= 0) {
    packet.msg_control = &control;
    packet.msg_controllen = sizeof control.space;
    struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ssize_t sent;
  do {
    sent = sendmsg(AIN_FD_CONTROL, &packet, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

bool ain_control_receive(AinMessage *message, char *text, int *fd) {
  *fd = -1;
  struct iovec parts[2] = { { .iov_base = message, .iov_len = sizeof *message },
                            { .iov_base = text, .iov_len = AIN_MESSAGE_TEXT_MAX } };
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = { 0 };
  struct msghdr packet = {
    .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control.space
  };
  ssize_t got;
  do {
    got = recvmsg(AIN_FD_CONTROL, &packet, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < (ssize_t)sizeof *message || message->text_size != (size_t)got - sizeof *message) {
    return false;
  }
  text[message->text_size] = '\0';
  struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
  if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    memcpy(fd, CMSG_DATA(header), sizeof *fd);
  }
  return true;
}
