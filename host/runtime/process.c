#include "runtime/process.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_BYTES 2048
#define LINE_BYTES 4096
/* So many lines of one process are logged in a window; a model that prints without end must not fill a disk.
 */
#define LOG_WINDOW_US (G_GINT64_CONSTANT(10) * G_USEC_PER_SEC)
#define LOG_LINES_PER_WINDOW 200

void ain_process_fds_close(AinProcessFds *fds) {
  for (guint i = 0; i < AIN_PROCESS_FDS; i++) {
    ain_fd_close(&fds->fds[i]);
  }
}

/* --- spawn --- */

/* All of ours lie above AIN_FD_END (see high_copy), so no dup2 overwrites a source of a later one. */
static int add_descriptors(posix_spawn_file_actions_t *actions, const AinProcessFds *fds) {
  int failed = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  for (int i = 0; i < AIN_PROCESS_FDS - 1 && failed == 0; i++) {
    if (fds->fds[i] >= 0) {
      failed = posix_spawn_file_actions_adddup2(actions, fds->fds[i], AIN_FD_CONTROL + i);
    }
  }
  int output = fds->fds[AIN_PROCESS_FDS - 1];
  if (failed == 0 && output >= 0) {
    failed = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    if (failed == 0) {
      failed = posix_spawn_file_actions_adddup2(actions, output, STDERR_FILENO);
    }
  }
  return failed;
}

/* Signals as at the start of a program, and a process group of its own: see orphans.c. */
static int set_attributes(posix_spawnattr_t *attributes) {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  int failed = posix_spawnattr_setsigmask(attributes, &none);
  if (failed == 0) {
    failed = posix_spawnattr_setsigdefault(attributes, &all);
  }
  if (failed == 0) {
    failed = posix_spawnattr_setpgroup(attributes, 0);
  }
  if (failed == 0) {
    failed = posix_spawnattr_setflags(attributes,
                                      POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  return failed;
}

static gboolean high_copies(const AinProcessFds *fds, AinProcessFds *copies) {
  for (guint i = 0; i < AIN_PROCESS_FDS; i++) {
    if (fds->fds[i] >= 0) {
      copies->fds[i] = fcntl(fds->fds[i], F_DUPFD_CLOEXEC, AIN_FD_END);
      if (copies->fds[i] < 0) {
        return FALSE;
      }
    }
  }
  return TRUE;
}

/* Ours, without the keys of the configuration and of the model hub: they may hold secrets, and models see
 * what workers have. */
static GStrv clean_environment(void) {
  g_autoptr(GPtrArray) kept = g_ptr_array_new();
  for (char **entry = environ; *entry != NULL; entry++) {
    if (!g_str_has_prefix(*entry, "AIN_") && !g_str_has_prefix(*entry, "HF_TOKEN")
        && !g_str_has_prefix(*entry, "HUGGING_FACE_HUB_TOKEN")) {
      g_ptr_array_add(kept, g_strdup(*entry));
    }
  }
  g_ptr_array_add(kept, NULL);
  return (GStrv)g_ptr_array_steal(kept, NULL);
}

pid_t ain_process_spawn(const AinRuntimeConfig *config, const char *role, const AinProcessFds *fds,
                        int *pidfd, GError **error) {
  g_autofree char *program = g_build_filename(config->lib_dir, "ainode-runtime", NULL);
  g_autofree char *module = g_build_filename(config->lib_dir, "_ainode.abi3.so", NULL);
  g_autofree char *package = g_build_filename(config->lib_dir, "pyruntime", NULL);
  char parent[16];
  g_snprintf(parent, sizeof parent, "%d", (int)getpid());
  const char *libpython = config->libpython != NULL ? config->libpython : "-";
  char *argv[] = { program,           (char *)role, parent,  (char *)config->python,
                   (char *)libpython, module,       package, NULL };
  g_auto(GStrv) environment = clean_environment();
  g_auto(AinProcessFds) copies = AIN_PROCESS_FDS_INIT;
  if (!high_copies(fds, &copies)) {
    ain_error_set_os(error, errno, "cannot start the runtime");
    return -1;
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  pid_t pid = -1;
  int failed = posix_spawn_file_actions_addchdir_np(&actions, config->work_dir);
  if (failed == 0) {
    failed = add_descriptors(&actions, &copies);
  }
  if (failed == 0) {
    failed = set_attributes(&attributes);
  }
  if (failed == 0) {
    failed = posix_spawn(&pid, program, &actions, &attributes, argv, environment);
  }
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    ain_error_set_os(error, failed, "cannot start %s", program);
    return -1;
  }
  *pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* our own child, not yet reaped: no race */
  if (*pidfd < 0) {
    ain_error_set_os(error, errno, "cannot watch the runtime process");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
  }
  return pid;
}

/* --- control socket --- */

gboolean ain_process_control_pair(int *ours, int *theirs, GError **error) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0
      || fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0) {
    ain_error_set_os(error, errno, "cannot create a control socket");
    return FALSE;
  }
  *ours = pair[0];
  *theirs = pair[1];
  return TRUE;
}

gboolean ain_process_send(int control, guint32 type, guint64 id, guint64 value, const char *text,
                          const int *fds, guint n_fds, GError **error) {
  gsize size = strlen(text);
  if (size > AIN_MESSAGE_TEXT_MAX || n_fds > AIN_PROCESS_FDS) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "a message of %" G_GSIZE_FORMAT " bytes does not fit the channel", size);
    return FALSE;
  }
  AinMessage message = { .type = type, .text_size = (guint32)size, .id = id, .value = value };
  struct iovec parts[2] = { { .iov_base = &message, .iov_len = sizeof message },
                            { .iov_base = (void *)text, .iov_len = size } };
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * AIN_PROCESS_FDS)];
  } ancillary = { 0 };
  struct msghdr packet = { .msg_iov = parts, .msg_iovlen = 2 };
  if (n_fds > 0) {
    packet.msg_control = &ancillary;
    packet.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
    struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
  }
  if (sendmsg(control, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    int failed = errno;
    ain_error_set_errno(error, AIN_ERROR_INTERNAL, failed, "cannot reach the runtime process");
    errno = failed; /* for who tells its end from other failures */
    return FALSE;
  }
  return TRUE;
}

static void take_descriptors(struct msghdr *packet, int *fd) {
  for (struct cmsghdr *header = CMSG_FIRSTHDR(packet); header != NULL; header = CMSG_NXTHDR(packet, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    gsize count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (gsize i = 0; i < count; i++) {
      int received;
      memcpy(&received, CMSG_DATA(header) + i * sizeof(int), sizeof received);
      if (*fd < 0) {
        *fd = received;
      } else {
        close(received);
      }
    }
  }
}

AinReceive ain_process_receive(int control, AinMessage *message, char *text, int *fd) {
  *fd = -1;
  struct iovec parts[2] = { { .iov_base = message, .iov_len = sizeof *message },
                            { .iov_base = text, .iov_len = AIN_MESSAGE_TEXT_MAX } };
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * 4)];
  } ancillary = { 0 };
  struct msghdr packet = {
    .msg_iov = parts, .msg_iovlen = 2, .msg_control = &ancillary, .msg_controllen = sizeof ancillary.space
  };
  ssize_t got = recvmsg(control, &packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0) {
    return errno == EAGAIN || errno == EINTR ? AIN_RECEIVE_NOTHING : AIN_RECEIVE_GONE;
  }
  take_descriptors(&packet, fd); /* also a message of no bytes may bring some */
  if (got == 0) {
    ain_fd_close(fd);
    return AIN_RECEIVE_GONE;
  }
  if ((gsize)got < sizeof *message || message->text_size != (gsize)got - sizeof *message) {
    ain_fd_close(fd);
    return AIN_RECEIVE_GARBAGE;
  }
  text[message->text_size] = '\0';
  return AIN_RECEIVE_MESSAGE;
}

/* --- how it ended --- */

gint64 ain_process_oom_kills(const char *vmstat) {
  static const char key[] = "\noom_kill ";
  g_autofree char *text = NULL;
  if (!g_file_get_contents(vmstat, &text, NULL, NULL)) {
    return -1;
  }
  const char *found = strstr(text, key);
  return found != NULL ? g_ascii_strtoll(found + strlen(key), NULL, 10) : -1;
}

/* --- output --- */

struct AinProcessOutput {
  char *name;
  int fd;
  AinLoop *loop;
  AinLoopFd *watch;
  GString *line; /* not yet complete */
  GString *tail; /* complete lines, the last TAIL_BYTES */
  gint64 window; /* when the window of logged lines began */
  guint logged;  /* in it */
  guint64 left_out;
};

static void tell_left_out(AinProcessOutput *output) {
  if (output->left_out > 0) {
    g_message("%s: (%" G_GUINT64_FORMAT " more lines were printed and left out here)", output->name,
              output->left_out);
    output->left_out = 0;
  }
}

static void log_line(AinProcessOutput *output, const char *text) {
  gint64 now = ain_loop_now();
  if (now - output->window > LOG_WINDOW_US) {
    tell_left_out(output);
    output->window = now;
    output->logged = 0;
  }
  if (output->logged < LOG_LINES_PER_WINDOW) {
    output->logged++;
    g_message("%s: %s", output->name, text);
  } else {
    output->left_out++;
  }
}

static void finish_line(AinProcessOutput *output) {
  if (output->line->len == 0) {
    return;
  }
  g_autofree char *valid = g_utf8_make_valid(output->line->str, (gssize)output->line->len);
  log_line(output, valid);
  if (output->tail->len > 0) {
    g_string_append(output->tail, " | ");
  }
  g_string_append(output->tail, valid);
  if (output->tail->len > TAIL_BYTES) {
    gsize start = output->tail->len - TAIL_BYTES;
    while (start < output->tail->len && ((guchar)output->tail->str[start] & 0xC0) == 0x80) {
      start++; /* not in the middle of a character */
    }
    g_string_erase(output->tail, 0, (gssize)start);
  }
  g_string_truncate(output->line, 0);
}

static void take_bytes(AinProcessOutput *output, const char *bytes, gsize count) {
  for (gsize i = 0; i < count; i++) {
    if (bytes[i] == '\n' || output->line->len >= LINE_BYTES) {
      finish_line(output);
    }
    if (bytes[i] != '\n') {
      g_string_append_c(output->line, bytes[i]);
    }
  }
}

/* One bounded read a round: a model that prints without end must not hold the loop. */
static gboolean read_some(AinProcessOutput *output) {
  char bytes[LINE_BYTES];
  ssize_t got = read(output->fd, bytes, sizeof bytes);
  if (got > 0) {
    take_bytes(output, bytes, (gsize)got);
    return TRUE;
  }
  if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    ain_loop_unwatch(g_steal_pointer(&output->watch));
  }
  return FALSE;
}

static void output_ready(guint32 events, gpointer data) {
  (void)events;
  read_some(data);
}

AinProcessOutput *ain_process_output_new(AinLoop *loop, const char *name, int *write_end, GError **error) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
    ain_error_set_os(error, errno, "cannot create a pipe for the runtime's output");
    return NULL;
  }
  AinProcessOutput *output = g_new0(AinProcessOutput, 1);
  output->name = g_strdup(name);
  output->fd = ends[0];
  output->loop = loop;
  output->line = g_string_new(NULL);
  output->tail = g_string_new(NULL);
  output->watch = ain_loop_watch(loop, output->fd, EPOLLIN, output_ready, output);
  *write_end = ends[1];
  return output;
}

const char *ain_process_output_tail(AinProcessOutput *output) {
  for (int rounds = 0; rounds < 16 && output->watch != NULL && read_some(output); rounds++) {
  }
  finish_line(output);
  return output->tail->str;
}

void ain_process_output_free(AinProcessOutput *output) {
  if (output == NULL) {
    return;
  }
  tell_left_out(output);
  ain_loop_unwatch(output->watch);
  ain_fd_close(&output->fd);
  g_string_free(output->line, TRUE);
  g_string_free(output->tail, TRUE);
  g_free(output->name);
  g_free(output);
}
