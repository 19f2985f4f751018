/* What host and worker share: one version word, two pages of rings, one message layout. Plain C, because the
 * worker's side (pyruntime/embed) links libc alone. A mismatch of AIN_ABI_VERSION stops the worker's start
 * and names both numbers.
 *
 * Request memory:  [AinHostPage][slot 0][slot 1]   written by the host, mapped read-only by the worker
 * (sealed) Reply memory:    [AinWorkerPage][slot 0][slot 1] written by the worker, mapped read-only by the
 * host
 *
 * The host publishes a job by storing jobs[head % AIN_RING] and then head + 1; the worker answers by storing
 * results[tail % AIN_RING] and then tail + 1. Each side raises its sleep flag before it blocks on its pipe
 * and looks once more; the other side writes a byte into the pipe only when it sees the flag (both
 * sequentially consistent, so one of the two always sees the other). Pipes, a pair for each worker: the two
 * ends of a pipe are two open files, so a worker can neither make the host's end block, as with an eventfd
 * that both have, nor swallow what wakes the host for another worker. Everything the worker writes is checked
 * by the host as hostile. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define AIN_ABI_MAGIC 0x31454e4941ULL /* "AINE1" */
#define AIN_ABI_VERSION 4U
#define AIN_RING 4U  /* descriptors; a power of two, at least AIN_SLOTS */
#define AIN_SLOTS 2U /* one is computed while the next is filled */
#define AIN_PAGE 4096U
#define AIN_SLOT_ALIGN 4096U

/* Descriptors a worker starts with. */
enum {
  AIN_FD_CONTROL = 3, /* SOCK_SEQPACKET: AinMessage both ways, memory descriptors as ancillary data */
  AIN_FD_REQUEST = 4,
  AIN_FD_REPLY = 5,
  AIN_FD_WAKE_WORKER = 6, /* end of a pipe that the worker sleeps on */
  AIN_FD_WAKE_HOST = 7,   /* end of a pipe on whose other one the host sleeps */
  AIN_FD_END = 8,
};

enum {
  AIN_REGION_SLOT0 = 0,
  AIN_REGION_SLOT1 = 1,
  AIN_REGION_PASSED = 2, /* memory of its own, which the host sent over the control socket for this job */
};

enum { AIN_JOB_COPY_INPUT = 1U << 0 /* hand the model a private, writable copy */ };

typedef struct {
  uint64_t id;
  uint32_t region; /* AIN_REGION_* */
  uint32_t dtype;  /* AinDType */
  uint32_t batch;
  uint32_t rows;
  uint32_t columns;
  uint32_t flags;
  uint32_t slot; /* the reply slot this job's result goes to */
  uint32_t reserved;
  uint64_t size;           /* bytes of the array: batch * rows * columns * element */
  uint64_t options_offset; /* UTF-8 JSON object in the region behind the array; size 0: none */
  uint32_t options_size;
  int32_t output_length; /* rows asked for; 0 where the request does not say */
} AinJob;

enum {
  AIN_RESULT_OK = 0,
  AIN_RESULT_ERROR = 1, /* data is UTF-8 text: what the model raised */
};
enum { AIN_RESULT_KEPT_INPUT = 1U << 0 /* the model still holds the input array */ };

typedef struct {
  uint64_t id; /* of the job */
  uint32_t status;
  uint32_t region; /* AIN_REGION_*: slot of the reply memory, or passed */
  uint32_t dtype;
  uint32_t batch;
  uint32_t rows;
  uint32_t columns;
  uint32_t flags;
  uint32_t reserved;
  uint64_t size;         /* bytes of data */
  uint64_t copied_bytes; /* input bytes the worker copied for this job: 0 on the zero-copy path */
  uint64_t input_offset; /* where the model's array began, relative to the start of its region */
  int64_t begun_ns;      /* CLOCK_MONOTONIC around the model's call */
  int64_t ended_ns;
} AinResult;

typedef struct {
  uint64_t magic;
  uint32_t version;
  uint32_t slot_size; /* bytes of one request slot */
  _Atomic uint32_t head;
  _Atomic uint32_t host_sleeps;
  _Atomic uint32_t stop; /* the worker ends after the jobs it has */
  uint32_t spin_us;      /* how long the worker yields before it sleeps */
  AinJob jobs[AIN_RING];
} AinHostPage;

typedef struct {
  uint64_t magic;
  uint32_t version;
  uint32_t slot_size; /* written by the host before the worker starts */
  _Atomic uint32_t tail;
  _Atomic uint32_t worker_sleeps;
  _Atomic uint32_t taken; /* jobs begun: when the worker dies, one that it had not taken runs elsewhere */
  AinResult results[AIN_RING];
} AinWorkerPage;

_Static_assert(sizeof(AinHostPage) <= AIN_PAGE, "host page");
_Static_assert(sizeof(AinWorkerPage) <= AIN_PAGE, "worker page");

/* Control messages. */
enum {
  AIN_MESSAGE_HELLO = 1,     /* worker or prototype -> host: value = AIN_ABI_VERSION */
  AIN_MESSAGE_LOAD = 2,      /* host -> worker: text = JSON description of the model */
  AIN_MESSAGE_LOADED = 3,    /* worker -> host: text = JSON findings of the proof, or empty */
  AIN_MESSAGE_FAILED = 4,    /* worker -> host: text = why loading failed */
  AIN_MESSAGE_REGION = 5,    /* host -> worker, with the memory of a large request: id = job, value = size */
  AIN_MESSAGE_FORK = 6,      /* host -> prototype, with the AIN_FD_* descriptors and stderr: id = request */
  AIN_MESSAGE_FORKED = 7,    /* prototype -> host, with a pidfd: id = request, value = pid */
  AIN_MESSAGE_REAPED = 8,    /* prototype -> host: id = pid, value = wait status */
  AIN_MESSAGE_READY = 9,     /* prototype -> host: imports are done; value = CUDA devices, text = versions */
  AIN_MESSAGE_DECLINED = 10, /* prototype, template -> host: no fork; id = request, value = 1: a template may
                                later, text = why */
  AIN_MESSAGE_NEED = 11,     /* worker -> host: memory for a large result; id = running job, value = size */
  AIN_MESSAGE_ROOM = 12, /* host -> worker, with that memory: id = job, value = size, perhaps after a wait;
                            or value 0, text = why there can be none */
};
#define AIN_MESSAGE_TEXT_MAX 16384U

typedef struct {
  uint32_t type;
  uint32_t text_size;
  uint64_t id;
  uint64_t value;
} AinMessage; /* followed by text_size bytes of text */
