/* A load generator for one AINode, ours or the official one: C connections, each with one request under way.
 *
 * Every request carries different data and every reply is checked against its own expected value. Without
 * --pairs the model must be affine: the answer to base + k * delta is
 * answer(base) + k * (answer(base + delta) - answer(base)), with k different in every request. With --pairs
 * the requests go through a table of inputs and the answers that were computed for them beforehand.
 *
 * Prints one line of JSON: replies, wrong, errors (answers without a result), unserved (connections that got
 * no answer within the patience), replies per second, latency percentiles, the longest time without a right
 * answer, and the very first call's time (0 with --pairs). */
#include "frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REPLY_MAX (64U * 1024U * 1024U)
#define SAMPLES_MAX 2000000U

typedef struct {
  BenchShape shape;
  const char *pairs;
  int port;
  int connections;
  double seconds;
  double patience; /* s after the end for the last answers */
  long gap_us;
  long calls;
  long warm;
} Options;

typedef struct {
  int fd;
  uint8_t *frame;
  size_t frame_size;
  size_t data_at;
  uint8_t *reply;
  size_t reply_size;
  size_t reply_got;
  double k;
  const float *wanted; /* of the pair that was sent */
  int64_t sent_ns;
} Connection;

typedef struct {
  Options options;
  Connection *connections;
  float *base;
  float *delta;
  size_t n_out;  /* values of one reply */
  double *first; /* answer(base) */
  double *slope; /* answer(base + delta) - answer(base) */
  double *scratch;
  float *pairs; /* NULL for an affine model */
  uint32_t n_pairs;
  float *latencies;
  size_t n_latencies;
  uint64_t replies;
  uint64_t wrong;
  uint64_t errors;
  uint64_t unserved;
  uint64_t serial;
  int64_t first_ns; /* the very first call */
  int64_t last_good;
  int64_t longest_silence;
} Bench;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static _Noreturn void die(const char *what) {
  fprintf(stderr, "bench_load: %s%s%s\n", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
  exit(1);
}

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL) {
    die("memory");
  }
  return memory;
}

/* --- one call
 * ------------------------------------------------------------------------------------------------ */

static void connect_one(const Options *options, Connection *connection) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options->port) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int one = 1;
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0) {
    die("connect");
  }
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connection->reply_size = 65536;
  connection->reply = allocate(1, connection->reply_size);
  connection->frame = bench_frame_new(&options->shape, &connection->frame_size, &connection->data_at);
}

static void send_frame(Connection *connection) {
  size_t sent = 0;
  connection->reply_got = 0;
  connection->sent_ns = now_ns();
  while (sent < connection->frame_size) {
    ssize_t count =
        send(connection->fd, connection->frame + sent, connection->frame_size - sent, MSG_NOSIGNAL);
    if (count < 0) {
      die("send");
    }
    sent += (size_t)count;
  }
}

/* Nonzero when the whole reply is there. */
static int receive_some(Connection *connection) {
  ssize_t got = recv(connection->fd, connection->reply + connection->reply_got,
                     connection->reply_size - connection->reply_got, 0);
  if (got <= 0) {
    errno = got == 0 ? 0 : errno;
    die("the peer closed the connection");
  }
  connection->reply_got += (size_t)got;
  if (connection->reply_got < 4) {
    return 0;
  }
  size_t size = bench_frame_size(connection->reply);
  if (size > connection->reply_size) {
    if (size > REPLY_MAX) {
      die("the reply is too large");
    }
    connection->reply_size = size;
    connection->reply = realloc(connection->reply, size);
  }
  return connection->reply_got == size;
}

static void fill_next(Bench *bench, Connection *connection) {
  const BenchShape *shape = &bench->options.shape;
  uint8_t *data = connection->frame + connection->data_at;
  uint64_t serial = ++bench->serial;
  if (bench->pairs != NULL) {
    size_t n_in = (size_t)shape->rows * shape->columns;
    const float *pair = bench->pairs + (serial % bench->n_pairs) * (n_in + bench->n_out);
    connection->wanted = pair + n_in;
    bench_frame_fill(shape, data, pair, bench->delta, 0);
  } else {
    connection->k = (double)(serial % 9973) * 0.001 + (double)(serial / 9973) * 1e-7;
    bench_frame_fill(shape, data, bench->base, bench->delta, connection->k);
  }
}

static void send_next(Bench *bench, Connection *connection) {
  fill_next(bench, connection);
  send_frame(connection);
}

/* --- what to expect
 * ------------------------------------------------------------------------------------------ */

static size_t ask_once(Bench *bench, double k, double *out) {
  Connection *connection = &bench->connections[0];
  bench_frame_fill(&bench->options.shape, connection->frame + connection->data_at, bench->base, bench->delta,
                   k);
  send_frame(connection);
  while (!receive_some(connection)) {
  }
  size_t count = bench_reply_values(connection->reply, connection->reply_got, out, REPLY_MAX / 8);
  if (count == 0) {
    fprintf(stderr, "bench_load: the model does not answer: ");
    for (size_t i = 4; i < connection->reply_got; i++) {
      fputc(connection->reply[i] >= ' ' && connection->reply[i] < 127 ? connection->reply[i] : '.', stderr);
    }
    fputc('\n', stderr);
    exit(1);
  }
  return count;
}

static void learn(Bench *bench) {
  bench->first = allocate(REPLY_MAX / 8, sizeof(double)); /* untouched pages cost nothing */
  bench->slope = allocate(REPLY_MAX / 8, sizeof(double));
  bench->n_out = ask_once(bench, 0, bench->first);
  bench->first_ns = now_ns() - bench->connections[0].sent_ns;
  if (ask_once(bench, 1, bench->slope) != bench->n_out) {
    die("the model answers the same shape in two sizes");
  }
  for (size_t i = 0; i < bench->n_out; i++) {
    bench->slope[i] -= bench->first[i];
  }
}

/* Native-endian: u32 number of pairs, u32 values in, u32 values out; then per pair float32 inputs
 * [rows][columns] and outputs, column after column. */
static void read_pairs(Bench *bench) {
  uint32_t head[3];
  FILE *file = fopen(bench->options.pairs, "rb");
  if (file == NULL || fread(head, sizeof head, 1, file) != 1) {
    die(bench->options.pairs);
  }
  size_t n_in = (size_t)bench->options.shape.rows * bench->options.shape.columns;
  size_t values = (size_t)head[0] * ((size_t)head[1] + head[2]);
  bench->pairs = allocate(values, sizeof(float));
  if (head[0] == 0 || head[1] != n_in || fread(bench->pairs, sizeof(float), values, file) != values) {
    die("the table of pairs does not fit the model");
  }
  fclose(file);
  bench->n_pairs = head[0];
  bench->n_out = head[2];
}

static double wanted_value(const Bench *bench, const Connection *connection, size_t i) {
  return bench->pairs != NULL ? (double)connection->wanted[i]
                              : bench->first[i] + connection->k * bench->slope[i];
}

static int is_right(const Bench *bench, const Connection *connection) {
  for (size_t i = 0; i < bench->n_out; i++) {
    double wanted = wanted_value(bench, connection, i);
    if (!(fabs(bench->scratch[i] - wanted) <= 1e-4 * fabs(wanted) + 2e-4 * (1 + connection->k))) {
      return 0;
    }
  }
  return 1;
}

static void take_reply(Bench *bench, const Connection *connection) {
  int64_t now = now_ns();
  if (bench->n_latencies < SAMPLES_MAX) {
    bench->latencies[bench->n_latencies++] = (float)((double)(now - connection->sent_ns) / 1000.0);
  }
  size_t count = bench_reply_values(connection->reply, connection->reply_got, bench->scratch, bench->n_out);
  if (count != bench->n_out) {
    bench->errors++;
  } else if (!is_right(bench, connection)) {
    bench->wrong++;
  } else {
    bench->replies++;
    int64_t silence = now - bench->last_good;
    bench->longest_silence = silence > bench->longest_silence ? silence : bench->longest_silence;
    bench->last_good = now;
  }
}

/* --- load
 * ---------------------------------------------------------------------------------------------------- */

static int is_enough(const Bench *bench) {
  return bench->options.calls > 0
         && (long)(bench->replies + bench->wrong + bench->errors) >= bench->options.calls;
}

/* One client, perhaps with a pause before each call, without epoll: the plainest client there is. */
static void run_one(Bench *bench, int64_t until) {
  Connection *connection = &bench->connections[0];
  struct timespec gap = { bench->options.gap_us / 1000000, bench->options.gap_us % 1000000 * 1000 };
  while (now_ns() < until && !is_enough(bench)) {
    fill_next(bench, connection);
    if (bench->options.gap_us > 0) {
      nanosleep(&gap, NULL);
    }
    send_frame(connection);
    while (!receive_some(connection)) {
    }
    take_reply(bench, connection);
  }
}

static void run_many(Bench *bench, int64_t until) {
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < bench->options.connections; i++) {
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &bench->connections[i] };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bench->connections[i].fd, &event);
    send_next(bench, &bench->connections[i]);
  }
  int under_way = bench->options.connections;
  int64_t give_up = until + (int64_t)(bench->options.patience * 1e9);
  while (under_way > 0 && now_ns() < give_up) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll_fd, events, 64, 100);
    for (int i = 0; i < count; i++) {
      Connection *connection = events[i].data.ptr;
      if (!receive_some(connection)) {
        continue;
      }
      take_reply(bench, connection);
      if (now_ns() < until && !is_enough(bench)) {
        send_next(bench, connection);
      } else {
        under_way--;
      }
    }
  }
  bench->unserved = (uint64_t)under_way;
  close(epoll_fd);
}

/* --- the program
 * --------------------------------------------------------------------------------------------- */

static int set_option(Options *options, const char *name, const char *value) {
  if (strcmp(name, "--model") == 0) {
    options->shape.model = value;
  } else if (strcmp(name, "--pairs") == 0) {
    options->pairs = value;
  } else if (strcmp(name, "--type") == 0) {
    options->shape.wide = strcmp(value, "double") == 0;
    return options->shape.wide || strcmp(value, "float") == 0;
  } else if (strcmp(name, "--seconds") == 0) {
    options->seconds = strtod(value, NULL);
  } else if (strcmp(name, "--patience") == 0) {
    options->patience = strtod(value, NULL);
  } else if (strcmp(name, "--port") == 0) {
    options->port = (int)strtol(value, NULL, 10);
  } else if (strcmp(name, "--rows") == 0) {
    options->shape.rows = (uint32_t)strtol(value, NULL, 10);
  } else if (strcmp(name, "--columns") == 0) {
    options->shape.columns = (uint32_t)strtol(value, NULL, 10);
  } else if (strcmp(name, "--connections") == 0) {
    options->connections = (int)strtol(value, NULL, 10);
  } else if (strcmp(name, "--gap-us") == 0) {
    options->gap_us = strtol(value, NULL, 10);
  } else if (strcmp(name, "--calls") == 0) {
    options->calls = strtol(value, NULL, 10);
  } else if (strcmp(name, "--warm") == 0) {
    options->warm = strtol(value, NULL, 10);
  } else {
    return 0;
  }
  return 1;
}

static Options parse_options(int argc, char **argv) {
  Options options = {
    .shape = { .rows = 96, .columns = 2 }, .connections = 1, .seconds = 5, .patience = 60, .warm = 200
  };
  int good = argc % 2 == 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    good = good && set_option(&options, argv[i], argv[i + 1]);
  }
  if (!good || options.port == 0 || options.shape.model == NULL || options.connections < 1
      || options.connections > 1000 || options.shape.rows == 0 || options.shape.columns == 0) {
    fprintf(stderr, "usage: bench_load --port P --model ID [--rows 96] [--columns 2] [--type float|double] "
                    "[--pairs FILE] [--connections 1] [--seconds 5] [--calls N] [--gap-us 0] [--warm 200] "
                    "[--patience 60]\n");
    exit(2);
  }
  return options;
}

static void prepare(Bench *bench) {
  size_t cells = (size_t)bench->options.shape.rows * bench->options.shape.columns;
  bench->base = allocate(cells, sizeof(float));
  bench->delta = allocate(cells, sizeof(float));
  for (size_t i = 0; i < cells; i++) {
    bench->base[i] = sinf((float)(i % 100000) * 0.37F) * 3.0F;
    bench->delta[i] = bench->options.pairs != NULL ? 0 : cosf((float)(i % 100000) * 0.11F) * 0.5F;
  }
  bench->latencies = allocate(SAMPLES_MAX, sizeof(float));
  bench->connections = allocate((size_t)bench->options.connections, sizeof(Connection));
  for (int i = 0; i < bench->options.connections; i++) {
    connect_one(&bench->options, &bench->connections[i]);
  }
  if (bench->options.pairs != NULL) {
    read_pairs(bench);
  } else {
    learn(bench);
  }
  bench->scratch = allocate(bench->n_out, sizeof(double));
  for (long i = 0; i < bench->options.warm; i++) {
    send_next(bench, &bench->connections[0]);
    while (!receive_some(&bench->connections[0])) {
    }
  }
}

static int compare_floats(const void *a, const void *b) {
  float first = *(const float *)a;
  float second = *(const float *)b;
  return (first > second) - (first < second);
}

static double percentile(const Bench *bench, double fraction) {
  return bench->n_latencies == 0
             ? 0
             : (double)bench->latencies[(size_t)(fraction * (double)(bench->n_latencies - 1))];
}

int main(int argc, char **argv) {
  Bench bench = { .options = parse_options(argc, argv) };
  prepare(&bench);
  int64_t begun = now_ns();
  int64_t until = begun + (int64_t)(bench.options.seconds * 1e9);
  bench.last_good = begun;
  if (bench.options.connections == 1) {
    run_one(&bench, until);
  } else {
    run_many(&bench, until);
  }
  /* Waiting for those who were never served is not part of the rate. */
  double elapsed = (double)((bench.unserved > 0 ? bench.last_good : now_ns()) - begun) / 1e9;
  qsort(bench.latencies, bench.n_latencies, sizeof(float), compare_floats);
  printf("{\"replies\": %llu, \"wrong\": %llu, \"errors\": %llu, \"unserved\": %llu, \"per_second\": %.1f, "
         "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"silence_us\": %.1f, "
         "\"first_us\": %.1f}\n",
         (unsigned long long)bench.replies, (unsigned long long)bench.wrong, (unsigned long long)bench.errors,
         (unsigned long long)bench.unserved, (double)bench.replies / elapsed, percentile(&bench, 0.5),
         percentile(&bench, 0.9), percentile(&bench, 0.99), percentile(&bench, 1.0),
         (double)bench.longest_silence / 1e3, (double)bench.first_ns / 1e3);
  return bench.wrong == 0 ? 0 : 1;
}
