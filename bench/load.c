/* A load generator for one AINode, ours or the official one: C connections, each with one request under way.
 *
 *   bench_load --port P --model ID [--rows 96 --columns 2] [--connections 1] [--seconds 5] [--gap-us 0]
 * [--calls N]
 *
 * Every request carries different data and every reply is checked against its own expected value: the model
 * must be affine, so the answer to base + k * delta is answer(base) + k * (answer(base + delta) -
 * answer(base)), with k different in every request. One line of JSON: replies, wrong, errors, replies per
 * second, latency percentiles in us. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
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
  int port;
  const char *model;
  uint32_t rows;
  uint32_t columns;
  int connections;
  double seconds;
  long gap_us;
  long calls;
} Options;

typedef struct {
  int fd;
  uint8_t *frame;
  size_t frame_size;
  size_t data_at; /* of the first value */
  uint8_t *reply;
  size_t reply_size;
  size_t reply_got;
  double k;
  int64_t sent_ns;
  int64_t due_ns; /* when a gap is asked for: when to send next */
} Connection;

typedef struct {
  Options options;
  Connection *connections;
  size_t n_out;  /* values of one reply */
  double *first; /* answer(base) */
  double *slope; /* answer(base + delta) - answer(base) */
  float *latencies;
  size_t n_latencies;
  uint64_t replies;
  uint64_t wrong;
  uint64_t errors;
  uint64_t serial;
} Bench;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint8_t *put32(uint8_t *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
  return at + 4;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
  at = put32(at, (uint32_t)strlen(text));
  memcpy(at, text, strlen(text));
  return at + strlen(text);
}

static uint8_t *put_field(uint8_t *at, uint8_t type, int16_t id) {
  *at++ = type;
  *at++ = (uint8_t)((uint16_t)id >> 8);
  *at++ = (uint8_t)id;
  return at;
}

/* inference{modelId, dataset} of family E, binary protocol; the values are filled in later. */
static void make_frame(const Options *options, Connection *connection) {
  size_t values = (size_t)options->rows * options->columns * 4;
  size_t block =
      8 + options->columns + 1 + options->columns + 1 + (size_t)options->rows * 8 + options->columns + values;
  connection->frame = calloc(1, 256 + strlen(options->model) + block);
  uint8_t *at = connection->frame + 4;
  at = put32(at, 0x80010001U);
  at = put_text(at, "inference");
  at = put32(at, 1);
  at = put_field(at, 12, -1);
  at = put_field(at, 11, 1);
  at = put_text(at, options->model);
  at = put_field(at, 11, 2);
  at = put32(at, (uint32_t)block);
  at = put32(at, options->columns);
  for (uint32_t i = 0; i < options->columns; i++) {
    *at++ = 3;
  }
  at = put32(at, options->rows);
  *at++ = 2;
  for (uint32_t i = 0; i < options->columns; i++) {
    *at++ = 1;
  }
  *at++ = 0;
  at += (size_t)options->rows * 8;
  connection->data_at = (size_t)(at - connection->frame);
  at += options->columns + values;
  *at++ = 0;
  *at++ = 0;
  connection->frame_size = (size_t)(at - connection->frame);
  put32(connection->frame, (uint32_t)(connection->frame_size - 4));
}

static float base_value(uint32_t i) {
  return (float)sin((double)i * 0.37) * 3.0F;
}

static float delta_value(uint32_t i) {
  return (float)cos((double)i * 0.11) * 0.5F;
}

static void fill_frame(const Options *options, Connection *connection, double k) {
  uint8_t *at = connection->frame + connection->data_at;
  for (uint32_t c = 0; c < options->columns; c++) {
    *at++ = 0;
    for (uint32_t r = 0; r < options->rows; r++) {
      float value = base_value(r * options->columns + c) + (float)k * delta_value(r * options->columns + c);
      uint32_t bits;
      memcpy(&bits, &value, 4);
      at = put32(at, bits);
    }
  }
  connection->k = k;
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

/* TRUE when the whole reply is there. */
static int receive_some(Connection *connection) {
  ssize_t got = recv(connection->fd, connection->reply + connection->reply_got,
                     connection->reply_size - connection->reply_got, 0);
  if (got <= 0) {
    die("the peer closed the connection");
  }
  connection->reply_got += (size_t)got;
  if (connection->reply_got < 4) {
    return 0;
  }
  uint32_t size;
  memcpy(&size, connection->reply, 4);
  size = ntohl(size);
  if (size + 4 > connection->reply_size) {
    if (size > REPLY_MAX) {
      die("reply too large");
    }
    connection->reply_size = size + 4;
    connection->reply = realloc(connection->reply, connection->reply_size);
  }
  return connection->reply_got == (size_t)size + 4;
}

static uint32_t get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}

/* The values of the first result block: the last bytes of the reply are [.. block][stop][stop]. Only the
 * layout that an AINode writes is understood: FLOAT or DOUBLE columns without nulls. Returns the number of
 * values, 0 for an error. */
static size_t parse_reply(const Connection *connection, double *out, size_t room) {
  const uint8_t *reply = connection->reply;
  size_t size = connection->reply_got;
  for (size_t at = 4; at + 20 < size; at++) { /* field 2, list of strings, one element */
    if (reply[at] != 15 || reply[at + 1] != 0 || reply[at + 2] != 2 || reply[at + 3] != 11
        || get32(reply + at + 4) != 1) {
      continue;
    }
    const uint8_t *block = reply + at + 12;
    uint32_t columns = get32(block);
    const uint8_t *types = block + 4;
    uint32_t rows = get32(types + columns);
    const uint8_t *value = types + columns + 4 + columns + 1 + 1 + (size_t)rows * 8;
    if (columns == 0 || columns > 64 || (size_t)rows * columns > room) {
      return 0;
    }
    for (uint32_t c = 0; c < columns; c++) {
      value++;
      for (uint32_t r = 0; r < rows; r++) {
        double number = 0;
        if (types[c] == 3) {
          uint32_t bits = get32(value);
          float single;
          memcpy(&single, &bits, 4);
          number = single;
          value += 4;
        } else {
          uint64_t bits = ((uint64_t)get32(value) << 32) | get32(value + 4);
          memcpy(&number, &bits, 8);
          value += 8;
        }
        out[(size_t)c * rows + r] = number;
      }
    }
    return (size_t)rows * columns;
  }
  return 0;
}

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
  connection->reply = malloc(connection->reply_size);
  make_frame(options, connection);
}

static size_t ask_once(const Options *options, Connection *connection, double k, double *out, size_t room) {
  fill_frame(options, connection, k);
  send_frame(connection);
  while (!receive_some(connection)) {
  }
  return parse_reply(connection, out, room);
}

static void learn(Bench *bench) {
  size_t room = REPLY_MAX / 8;
  bench->first = calloc(room, sizeof(double));
  bench->slope = calloc(room, sizeof(double));
  bench->n_out = ask_once(&bench->options, &bench->connections[0], 0, bench->first, room);
  size_t again = ask_once(&bench->options, &bench->connections[0], 1, bench->slope, room);
  if (bench->n_out == 0 || again != bench->n_out) {
    fprintf(stderr, "bench_load: the model does not answer: %.*s\n", (int)bench->connections[0].reply_got - 4,
            (const char *)bench->connections[0].reply + 4);
    exit(1);
  }
  for (size_t i = 0; i < bench->n_out; i++) {
    bench->slope[i] -= bench->first[i];
  }
}

static int reply_is_right(const Bench *bench, const Connection *connection, double *scratch) {
  if (parse_reply(connection, scratch, bench->n_out) != bench->n_out) {
    return -1;
  }
  for (size_t i = 0; i < bench->n_out; i++) {
    double wanted = bench->first[i] + connection->k * bench->slope[i];
    if (fabs(scratch[i] - wanted) > 1e-4 * fabs(wanted) + 2e-4 * (1 + connection->k)) {
      return 0;
    }
  }
  return 1;
}

static void send_next(Bench *bench, Connection *connection) {
  bench->serial++;
  fill_frame(&bench->options, connection,
             (double)(bench->serial % 9973) * 0.001 + (double)(bench->serial / 9973) * 1e-7);
  send_frame(connection);
}

static void take_reply(Bench *bench, Connection *connection, double *scratch) {
  int64_t now = now_ns();
  if (bench->n_latencies < SAMPLES_MAX) {
    bench->latencies[bench->n_latencies++] = (float)((double)(now - connection->sent_ns) / 1000.0);
  }
  int right = reply_is_right(bench, connection, scratch);
  bench->replies += right == 1;
  bench->wrong += right == 0;
  bench->errors += right < 0;
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

/* One client that waits between its calls, without epoll: the plainest client there is. */
static void run_gapped(Bench *bench, double *scratch, int64_t until) {
  Connection *connection = &bench->connections[0];
  struct timespec gap = { bench->options.gap_us / 1000000, bench->options.gap_us % 1000000 * 1000 };
  while (now_ns() < until) {
    if (bench->options.gap_us > 0) {
      nanosleep(&gap, NULL);
    }
    send_next(bench, connection);
    while (!receive_some(connection)) {
    }
    take_reply(bench, connection, scratch);
    if (bench->options.calls > 0 && (long)bench->replies >= bench->options.calls) {
      return;
    }
  }
}

static void run_many(Bench *bench, double *scratch, int64_t until) {
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < bench->options.connections; i++) {
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &bench->connections[i] };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bench->connections[i].fd, &event);
    send_next(bench, &bench->connections[i]);
  }
  int under_way = bench->options.connections;
  while (under_way > 0) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll_fd, events, 64, 60000);
    if (count <= 0) {
      die("no reply within 60 s");
    }
    for (int i = 0; i < count; i++) {
      Connection *connection = events[i].data.ptr;
      if (!receive_some(connection)) {
        continue;
      }
      take_reply(bench, connection, scratch);
      int enough = bench->options.calls > 0 && (long)bench->replies >= bench->options.calls;
      if (now_ns() < until && !enough) {
        send_next(bench, connection);
      } else {
        under_way--;
      }
    }
  }
  close(epoll_fd);
}

static long number(const char *text) {
  return strtol(text, NULL, 10);
}

static Options parse_options(int argc, char **argv) {
  Options options = { .rows = 96, .columns = 2, .connections = 1, .seconds = 5 };
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *value = argv[i + 1];
    if (strcmp(argv[i], "--port") == 0) {
      options.port = (int)number(value);
    } else if (strcmp(argv[i], "--model") == 0) {
      options.model = value;
    } else if (strcmp(argv[i], "--rows") == 0) {
      options.rows = (uint32_t)number(value);
    } else if (strcmp(argv[i], "--columns") == 0) {
      options.columns = (uint32_t)number(value);
    } else if (strcmp(argv[i], "--connections") == 0) {
      options.connections = (int)number(value);
    } else if (strcmp(argv[i], "--seconds") == 0) {
      options.seconds = strtod(value, NULL);
    } else if (strcmp(argv[i], "--gap-us") == 0) {
      options.gap_us = number(value);
    } else if (strcmp(argv[i], "--calls") == 0) {
      options.calls = number(value);
    } else {
      options.port = 0;
      break;
    }
  }
  if (options.port == 0 || options.model == NULL || options.connections < 1 || options.connections > 1000) {
    fprintf(stderr,
            "usage: bench_load --port P --model ID [--rows R] [--columns C] [--connections N] [--seconds S] "
            "[--gap-us G] [--calls N]\n");
    exit(2);
  }
  return options;
}

int main(int argc, char **argv) {
  Bench bench = { .options = parse_options(argc, argv) };
  bench.connections = calloc((size_t)bench.options.connections, sizeof(Connection));
  bench.latencies = malloc(SAMPLES_MAX * sizeof(float));
  for (int i = 0; i < bench.options.connections; i++) {
    connect_one(&bench.options, &bench.connections[i]);
  }
  learn(&bench);
  double *scratch = calloc(bench.n_out, sizeof(double));
  for (int i = 0; i < 200; i++) { /* warm */
    send_next(&bench, &bench.connections[0]);
    while (!receive_some(&bench.connections[0])) {
    }
  }
  int64_t begun = now_ns();
  int64_t until = begun + (int64_t)(bench.options.seconds * 1e9);
  if (bench.options.connections == 1) {
    run_gapped(&bench, scratch, until);
  } else {
    run_many(&bench, scratch, until);
  }
  double elapsed = (double)(now_ns() - begun) / 1e9;
  qsort(bench.latencies, bench.n_latencies, sizeof(float), compare_floats);
  printf("{\"replies\": %llu, \"wrong\": %llu, \"errors\": %llu, \"per_second\": %.1f, \"p50_us\": %.1f, "
         "\"p90_us\": %.1f, "
         "\"p99_us\": %.1f, \"max_us\": %.1f}\n",
         (unsigned long long)bench.replies, (unsigned long long)bench.wrong, (unsigned long long)bench.errors,
         (double)bench.replies / elapsed, percentile(&bench, 0.5), percentile(&bench, 0.9),
         percentile(&bench, 0.99), percentile(&bench, 1.0));
  return bench.wrong + bench.errors == 0 ? 0 : 1;
}
