#include "cluster/cluster.h"

#include "base/error.h"
#include "base/fd.h"
#include "cluster/identity.h"
#include "cluster/join.h"
#include "cluster/leader.h"
#include "cluster/release.h"
#include "cluster/resolve.h"
#include "protocol/types.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SECOND ((gint64)G_USEC_PER_SEC)
#define REFRESH (60 * SECOND)
#define REFRESH_PAUSE (5 * SECOND) /* however many peers come */
#define ASK_MS 5000
#define FIRST_RETRY (1 * SECOND)

/* What a message of the thread goes through: emptied by ain_cluster_free(), so that a message still in the
 * loop's queue finds nobody. `cluster` belongs to the loop thread; the count is atomic. */
typedef struct {
  gint references;
  AinCluster *cluster;
} Link;

struct AinCluster {
  AinLoop *loop;
  const AinConfig *config;
  Link *link;
  int cancel_fd;
  int refresh_fd; /* readable: the thread asks for versions without waiting longer */
  gboolean has_thread;
  pthread_t thread;
  AinIdentity *identity; /* the thread's while there is one */
  GError *identity_error;
  gint32 node_id;
  AinClusterJoined joined;
  gpointer joined_data;
  AinReleaseEvidence evidence;
  AinFamily release;
  void (*on_release)(AinFamily family, gpointer data);
  gpointer on_release_data;
};

/* From the thread to the loop. */
typedef struct {
  Link *link;
  gboolean is_join; /* otherwise: versions */
  gint32 node_id;
  GError *error;
  AinVersions versions;
} Message;

static void link_unref(Link *link) {
  if (g_atomic_int_dec_and_test(&link->references)) {
    g_free(link);
  }
}

static void message_free(Message *message) {
  link_unref(message->link);
  g_clear_error(&message->error);
  g_free(message->versions.members);
  g_free(message);
}

/* --- the release, on the loop thread */

static void choose_release(AinCluster *cluster, gboolean always_log) {
  g_autofree char *why = NULL;
  AinFamily chosen = ain_release_choose(&cluster->evidence, &why);
  gboolean changed = chosen != cluster->release;
  cluster->release = chosen;
  if (changed || always_log) {
    g_message("the cluster is taken to speak release %s: %s", ain_release_name(chosen), why);
  }
  if (changed && cluster->on_release != NULL) {
    cluster->on_release(chosen, cluster->on_release_data);
  }
}

static void take_versions(AinCluster *cluster, AinVersions *versions) {
  AinReleaseEvidence *evidence = &cluster->evidence;
  gboolean is_news = g_strcmp0(evidence->members, versions->members) != 0;
  evidence->versions = versions->families;
  g_free(evidence->members);
  evidence->members = g_steal_pointer(&versions->members);
  choose_release(cluster, is_news);
}

AinFamily ain_cluster_release(const AinCluster *cluster) {
  return cluster->release;
}

void ain_cluster_add_evidence(AinCluster *cluster, AinFamilies seen) {
  ain_release_add_frame(&cluster->evidence, seen);
  choose_release(cluster, FALSE);
}

void ain_cluster_on_release(AinCluster *cluster, void (*func)(AinFamily family, gpointer data),
                            gpointer data) {
  cluster->on_release = func;
  cluster->on_release_data = data;
}

void ain_cluster_refresh(AinCluster *cluster) {
  guint64 one = 1;
  ssize_t written = write(cluster->refresh_fd, &one, sizeof one);
  (void)written; /* an eventfd takes this much, or is readable already */
}

/* --- messages */

static void stop_thread(AinCluster *cluster);

static void deliver(gpointer data) {
  Message *message = data;
  AinCluster *cluster = message->link->cluster;
  if (cluster != NULL && message->is_join) {
    AinClusterJoined joined = cluster->joined;
    cluster->joined = NULL;
    if (message->error != NULL) {
      stop_thread(cluster); /* it has ended; another ain_cluster_join() may follow */
    } else {
      cluster->node_id = message->node_id;
    }
    joined(message->error, cluster->joined_data);
  } else if (cluster != NULL) {
    take_versions(cluster, &message->versions);
  }
  message_free(message);
}

static Message *message_new(AinCluster *cluster) {
  Message *message = g_new0(Message, 1);
  g_atomic_int_inc(&cluster->link->references);
  message->link = cluster->link;
  return message;
}

/* --- the thread */

/* Lets time pass until versions are to be asked for again. FALSE: cancelled. */
static gboolean wait_for_refresh(AinCluster *cluster, AinLeader *leader, gint64 asked) {
  g_autoptr(GError) error = NULL;
  if (ain_cluster_wait(cluster->refresh_fd, POLLIN, asked + REFRESH, cluster->cancel_fd, &error)) {
    gint64 pause = asked + REFRESH_PAUSE - ain_loop_now();
    if (pause > 0 && !ain_leader_sleep(leader, pause)) {
      return FALSE;
    }
    guint64 count;
    ssize_t got = read(cluster->refresh_fd, &count, sizeof count);
    (void)got;
  }
  return error == NULL || g_error_matches(error, AIN_ERROR, AIN_ERROR_TIMEOUT);
}

/* Keeps the versions known: a rolling upgrade changes them under a running node. */
static void watch_versions(AinCluster *cluster, AinLeader *leader) {
  gint64 retry = FIRST_RETRY;
  for (;;) {
    Message *message = message_new(cluster);
    g_autoptr(GError) error = NULL;
    gint64 asked = ain_loop_now();
    gboolean learnt = ain_join_versions(leader, ASK_MS, &message->versions, &error);
    if (learnt) {
      ain_loop_post(cluster->loop, deliver, message);
    } else {
      message_free(message);
    }
    if (g_error_matches(error, AIN_ERROR, AIN_ERROR_CANCELLED)) {
      return;
    }
    retry = learnt ? FIRST_RETRY : MIN(retry * 2, REFRESH);
    if (!(learnt ? wait_for_refresh(cluster, leader, asked) : ain_leader_sleep(leader, retry))) {
      return;
    }
  }
}

static void *cluster_main(void *data) {
  AinCluster *cluster = data;
  pthread_setname_np(pthread_self(), "ain-cluster");
  g_autoptr(AinLeader) leader = ain_leader_new(cluster->config, cluster->cancel_fd);
  Message *message = message_new(cluster);
  message->is_join = TRUE;
  message->node_id = ain_join(leader, cluster->config, cluster->identity, &message->error);
  gboolean is_member = message->error == NULL;
  ain_loop_post(cluster->loop, deliver, message);
  if (is_member) {
    watch_versions(cluster, leader);
  }
  return NULL;
}

static void stop_thread(AinCluster *cluster) {
  if (cluster->has_thread) {
    guint64 one = 1;
    ssize_t written = write(cluster->cancel_fd, &one, sizeof one);
    pthread_join(cluster->thread, NULL);
    cluster->has_thread = FALSE;
    ssize_t got = read(cluster->cancel_fd, &one, sizeof one); /* the next thread is not cancelled */
    (void)written; /* an eventfd always takes and gives this much */
    (void)got;
  }
}

/* --- construction */

static void load_identity(AinCluster *cluster) {
  g_clear_pointer(&cluster->identity, ain_identity_free);
  g_clear_error(&cluster->identity_error);
  cluster->identity = ain_identity_load(cluster->config->system_dir, &cluster->identity_error);
  cluster->node_id = cluster->identity != NULL ? cluster->identity->node_id : -1;
}

AinCluster *ain_cluster_new(AinLoop *loop, const AinConfig *config) {
  ain_protocol_register_types();
  AinCluster *cluster = g_new0(AinCluster, 1);
  cluster->loop = loop;
  cluster->config = config;
  cluster->link = g_new0(Link, 1);
  cluster->link->references = 1;
  cluster->link->cluster = cluster;
  cluster->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  cluster->refresh_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (cluster->cancel_fd < 0 || cluster->refresh_fd < 0) {
    g_error("eventfd: %s", g_strerror(errno)); /* at start, with no descriptors left: nothing could work */
  }
  if (config->cluster_version != NULL && strcmp(config->cluster_version, "auto") != 0) {
    cluster->evidence.fixed = ain_release_of_version(config->cluster_version);
  }
  cluster->release = ain_release_choose(&cluster->evidence, NULL);
  load_identity(cluster);
  return cluster;
}

void ain_cluster_free(AinCluster *cluster) {
  if (cluster == NULL) {
    return;
  }
  stop_thread(cluster);
  cluster->link->cluster = NULL;
  link_unref(cluster->link);
  ain_fd_close(&cluster->cancel_fd);
  ain_fd_close(&cluster->refresh_fd);
  ain_identity_free(cluster->identity);
  g_clear_error(&cluster->identity_error);
  ain_release_evidence_clear(&cluster->evidence);
  g_free(cluster);
}

/* A join that fails before there is a thread still reports from the loop, like any other. */
static void post_failure(AinCluster *cluster, GError *error) {
  Message *message = message_new(cluster);
  message->is_join = TRUE;
  message->error = error;
  ain_loop_post(cluster->loop, deliver, message);
}

void ain_cluster_join(AinCluster *cluster, AinClusterJoined done, gpointer data) {
  g_return_if_fail(cluster->joined == NULL && !cluster->has_thread);
  cluster->joined = done;
  cluster->joined_data = data;
  load_identity(cluster); /* the operator may have mended it since the last try */
  if (cluster->identity == NULL) {
    post_failure(cluster, g_error_copy(cluster->identity_error));
    return;
  }
  int failed = pthread_create(&cluster->thread, NULL, cluster_main, cluster);
  if (failed != 0) {
    GError *error = NULL;
    ain_error_set_errno(&error, AIN_ERROR_INTERNAL, failed, "cannot start the cluster's thread");
    post_failure(cluster, error);
    return;
  }
  cluster->has_thread = TRUE;
}

gint32 ain_cluster_node_id(const AinCluster *cluster) {
  return cluster->node_id;
}
