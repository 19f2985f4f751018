/* What the machine itself costs, to compare the node with.
 *
 *   bench_floor echo                prints its port, then gives back whatever comes, until stdin closes
 *   bench_floor transfer BYTES N    N times: BYTES over loopback into one buffer, one pass that byte-swaps
 *                                   them as 64-bit numbers into another, 4 bytes back; prints the median us
 *   bench_floor gap BYTES GAP_US N [PROGRAM ARGUMENT ...]
 *                                   N times, a pause before each: BYTES to an echo in another process and
 *                                   back, as one request and its reply; prints the median us. With PROGRAM
 *                                   the echo first gives it a byte by a pipe and awaits one: the least that
 *                                   a server with a process for its model can do
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void die(const char *what) {
  fprintf(stderr, "bench_floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int listen_on_loopback(struct sockaddr_in *address) {
  socklen_t size = sizeof *address;
  *address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof *address) != 0 || listen(fd, 64) != 0
      || getsockname(fd, (struct sockaddr *)address, &size) != 0) {
    die("listen");
  }
  return fd;
}

static void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void send_all(int fd, const uint8_t *data, size_t size) {
  while (size > 0) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0) {
      die("send");
    }
    data += sent;
    size -= (size_t)sent;
  }
}

/* --- echo
 * ---------------------------------------------------------------------------------------------------- */

static void add(int epoll_fd, int fd) {
  struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
    die("epoll_ctl"); /* stdin must be a pipe */
  }
}

static int echo(void) {
  struct sockaddr_in address;
  uint8_t buffer[4096];
  int listener = listen_on_loopback(&address);
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  add(epoll_fd, listener);
  add(epoll_fd, STDIN_FILENO);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    struct epoll_event event;
    if (epoll_wait(epoll_fd, &event, 1, -1) != 1) {
      continue;
    }
    if (event.data.fd == STDIN_FILENO) {
      return 0;
    }
    if (event.data.fd == listener) {
      int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
      no_delay(fd);
      add(epoll_fd, fd);
      continue;
    }
    ssize_t got = recv(event.data.fd, buffer, sizeof buffer, 0);
    if (got <= 0) {
      close(event.data.fd);
    } else {
      send_all(event.data.fd, buffer, (size_t)got);
    }
  }
}

/* --- transfer
 * ------------------------------------------------------------------------------------------------ */

typedef struct {
  struct sockaddr_in address;
  size_t bytes;
  long rounds;
} Transfer;

static void *receiver(void *data) {
  const Transfer *transfer = data;
  uint8_t *buffer = malloc(transfer->bytes);
  uint64_t *swapped = malloc(transfer->bytes);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (buffer == NULL || swapped == NULL
      || connect(fd, (const struct sockaddr *)&transfer->address, sizeof transfer->address) != 0) {
    die("connect");
  }
  no_delay(fd);
  for (long i = 0; i < transfer->rounds; i++) {
    for (size_t got = 0; got < transfer->bytes;) {
      ssize_t part = recv(fd, buffer + got, transfer->bytes - got, 0);
      if (part <= 0) {
        die("recv");
      }
      got += (size_t)part;
    }
    for (size_t at = 0; at + 8 <= transfer->bytes; at += 8) {
      uint64_t value;
      memcpy(&value, buffer + at, 8);
      swapped[at / 8] = be64toh(value);
    }
    send_all(fd, (const uint8_t *)swapped, 4);
  }
  close(fd);
  free(buffer);
  free(swapped);
  return NULL;
}

static int compare(const void *a, const void *b) {
  int64_t first = *(const int64_t *)a;
  int64_t second = *(const int64_t *)b;
  return (first > second) - (first < second);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int transfer(size_t bytes, long rounds) {
  Transfer job = { .bytes = bytes, .rounds = rounds };
  pthread_t thread;
  uint8_t answer[4];
  uint8_t *data = malloc(bytes);
  int64_t *times = calloc((size_t)rounds, sizeof *times);
  int listener = listen_on_loopback(&job.address);
  if (data == NULL || times == NULL || pthread_create(&thread, NULL, receiver, &job) != 0) {
    die("start");
  }
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  no_delay(fd);
  for (long i = 0; i < rounds; i++) {
    memset(data, (int)i + 1, bytes);
    int64_t begun = now_ns();
    send_all(fd, data, bytes);
    if (recv(fd, answer, sizeof answer, MSG_WAITALL) != sizeof answer) {
      die("recv");
    }
    times[i] = now_ns() - begun;
  }
  pthread_join(thread, NULL);
  qsort(times, (size_t)rounds, sizeof *times, compare);
  printf("%.1f\n", (double)times[rounds / 2] / 1e3);
  close(fd);
  close(listener);
  free(data);
  free(times);
  return 0;
}

/* --- gap
 * ------------------------------------------------------------------------------------------------ */

typedef struct {
  int asks; /* -1: there is no program */
  int answers;
} Program;

static Program start_program(char **argv) {
  int asks[2];
  int answers[2];
  if (pipe(asks) != 0 || pipe(answers) != 0) {
    die("pipe");
  }
  pid_t pid = fork();
  if (pid < 0) {
    die("fork");
  }
  if (pid == 0) {
    if (dup2(asks[0], STDIN_FILENO) < 0 || dup2(answers[1], STDOUT_FILENO) < 0) {
      die("dup2");
    }
    close(asks[1]); /* or it would never see the end */
    execvp(argv[0], argv);
    die(argv[0]);
  }
  close(asks[0]);
  close(answers[1]);
  return (Program){ .asks = asks[1], .answers = answers[0] };
}

static void run_program(const Program *program) {
  char byte = 1;
  if (program->asks >= 0 && (write(program->asks, &byte, 1) != 1 || read(program->answers, &byte, 1) != 1)) {
    die("the program");
  }
}

/* The other process: answers whole messages until the peer goes. */
static _Noreturn void answer(int listener, size_t bytes, char **argv) {
  uint8_t *buffer = malloc(bytes);
  Program program = argv[0] != NULL ? start_program(argv) : (Program){ -1, -1 };
  run_program(&program); /* it is ready when it has answered */
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  no_delay(fd);
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  add(epoll_fd, fd);
  struct epoll_event event;
  while (buffer != NULL && epoll_wait(epoll_fd, &event, 1, -1) == 1
         && recv(fd, buffer, bytes, MSG_WAITALL) == (ssize_t)bytes) {
    run_program(&program);
    send_all(fd, buffer, bytes);
  }
  _exit(0);
}

static int gap(size_t bytes, long gap_us, long rounds, char **argv) {
  struct sockaddr_in address;
  struct timespec pause = { gap_us / 1000000, gap_us % 1000000 * 1000 };
  uint8_t *data = calloc(bytes, 1);
  int64_t *times = calloc((size_t)rounds, sizeof *times);
  int listener = listen_on_loopback(&address);
  pid_t other = fork();
  if (data == NULL || times == NULL || other < 0) {
    die("start");
  }
  if (other == 0) {
    answer(listener, bytes, argv);
  }
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
    die("connect");
  }
  no_delay(fd);
  for (long i = -1; i < rounds; i++) { /* the first waits for the program to be ready and does not count */
    nanosleep(&pause, NULL);
    int64_t begun = now_ns();
    send_all(fd, data, bytes);
    if (recv(fd, data, bytes, MSG_WAITALL) != (ssize_t)bytes) {
      die("recv");
    }
    if (i >= 0) {
      times[i] = now_ns() - begun;
    }
  }
  close(fd);
  waitpid(other, NULL, 0);
  qsort(times, (size_t)rounds, sizeof *times, compare);
  printf("%.1f\n", (double)times[rounds / 2] / 1e3);
  free(data);
  free(times);
  return 0;
}

int main(int argc, char **argv) {
  if (argc >= 5 && strcmp(argv[1], "gap") == 0) {
    return gap(strtoul(argv[2], NULL, 10), strtol(argv[3], NULL, 10), strtol(argv[4], NULL, 10), argv + 5);
  }
  if (argc == 2 && strcmp(argv[1], "echo") == 0) {
    return echo();
  }
  if (argc == 4 && strcmp(argv[1], "transfer") == 0) {
    return transfer(strtoul(argv[2], NULL, 10), strtol(argv[3], NULL, 10));
  }
  fprintf(stderr, "usage: bench_floor echo | bench_floor transfer BYTES N | "
                  "bench_floor gap BYTES GAP_US N [PROGRAM ARGUMENT ...]\n");
  return 2;
}
