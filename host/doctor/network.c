/* The way to the cluster and back: what is advertised, the ConfigNode, its members, the DataNode. Asks only
 * what changes nothing there. */
#include "base/error.h"
#include "base/loop.h"
#include "cluster/client.h"
#include "cluster/refusal.h"
#include "cluster/release.h"
#include "cluster/resolve.h"
#include "doctor/check.h"
#include "protocol/types.h"
#include "session/session.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_US (G_GINT64_CONSTANT(3) * G_USEC_PER_SEC)
#define REPLY_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)
#define SESSION_US (G_GINT64_CONSTANT(10) * G_USEC_PER_SEC)
#define RESOLVE_US (G_GINT64_CONSTANT(5) * G_USEC_PER_SEC)

static gboolean no_config(AinLook *look) {
  if (look->facts->config == NULL) {
    ain_look_skip(look, "the configuration cannot be read");
    return TRUE;
  }
  return FALSE;
}

static AinTransportLimits limits_of(const AinLook *look) {
  return (AinTransportLimits){ .connect_us = ain_look_limit(look, CONNECT_US),
                               .reply_us = ain_look_limit(look, REPLY_US),
                               .deadline = G_MAXINT64,
                               .cancel_fd = -1 };
}

/* --- addresses -------------------------------------------------------------------------------------------
 */

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_storage room;
} Address;

static gboolean is_loopback(const Address *address) {
  if (address->any.sa_family == AF_INET) {
    return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
  }
  return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static gboolean is_wildcard(const Address *address) {
  if (address->any.sa_family == AF_INET) {
    return address->v4.sin_addr.s_addr == INADDR_ANY;
  }
  return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

static gboolean is_same_host(const Address *a, const Address *b) {
  if (a->any.sa_family != b->any.sa_family) {
    return FALSE;
  }
  return a->any.sa_family == AF_INET
             ? a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr
             : memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

/* The first address of a name. Errors: UNREACHABLE. */
static gboolean resolve(const char *host, guint16 port, Address *address, GError **error) {
  struct addrinfo *found = ain_cluster_resolve(host, port, ain_loop_now() + RESOLVE_US, -1, error);
  if (found == NULL) {
    return FALSE;
  }
  memset(address, 0, sizeof *address);
  memcpy(address, found->ai_addr, MIN((gsize)found->ai_addrlen, sizeof *address));
  freeaddrinfo(found);
  return TRUE;
}

static char *host_text(const Address *address) {
  socklen_t size = address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
  g_autofree char *text = ain_cluster_address_text(&address->any, size);
  char *colon = strrchr(text, ':');
  return g_strndup(text, colon == NULL ? strlen(text) : (gsize)(colon - text));
}

/* The interface that has the address, "" for one that is down, NULL for none. Owned. */
static char *interface_of(const Address *address) {
  struct ifaddrs *list = NULL;
  char *name = NULL;
  if (getifaddrs(&list) != 0) {
    return NULL;
  }
  for (const struct ifaddrs *one = list; one != NULL && name == NULL; one = one->ifa_next) {
    Address own = { 0 };
    if (one->ifa_addr == NULL
        || (one->ifa_addr->sa_family != AF_INET && one->ifa_addr->sa_family != AF_INET6)) {
      continue;
    }
    memcpy(&own, one->ifa_addr, one->ifa_addr->sa_family == AF_INET ? sizeof own.v4 : sizeof own.v6);
    if (is_same_host(&own, address)) {
      name = g_strdup((one->ifa_flags & IFF_UP) != 0 ? one->ifa_name : "");
    }
  }
  freeifaddrs(list);
  return name;
}

/* Our address on the way to peer: connecting a datagram socket asks the routing table and sends nothing. */
static gboolean source_towards(const Address *peer, Address *source) {
  socklen_t size = sizeof *source;
  int fd = socket(peer->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  gboolean known =
      fd >= 0
      && connect(fd, &peer->any, peer->any.sa_family == AF_INET6 ? sizeof peer->v6 : sizeof peer->v4) == 0
      && getsockname(fd, &source->any, &size) == 0;
  if (fd >= 0) {
    close(fd);
  }
  return known;
}

/* Compares what is advertised with how the seeds are reached. TRUE: something was found. */
static gboolean look_towards_seeds(AinLook *look, const Address *own) {
  const AinConfig *config = look->facts->config;
  for (guint i = 0; i < config->n_seeds; i++) {
    Address seed;
    Address source = { 0 };
    if (!resolve(config->seeds[i].host, config->seeds[i].port, &seed, NULL) || is_loopback(&seed)) {
      continue;
    }
    gboolean known = source_towards(&seed, &source);
    g_autofree char *outward = known ? host_text(&source) : NULL;
    g_autofree char *mend = g_strdup_printf("set ain_rpc_address = %s",
                                            outward != NULL ? outward : "the address that they can reach");
    if (is_loopback(own) && !is_same_host(&source, &seed)) {
      ain_look_error(
          look, mend,
          "ain_rpc_address = %s is advertised to the cluster, but only this machine can reach it, and the "
          "ConfigNode %s is another one: its DataNodes would dial themselves",
          config->rpc_address, config->seeds[i].host);
      return TRUE;
    }
    if (known && !is_loopback(own) && !is_same_host(&source, own)
        && own->any.sa_family == source.any.sa_family) {
      ain_look_warn(
          look, mend,
          "ain_rpc_address = %s is advertised, but the way to the ConfigNode %s begins at %s: can its side "
          "reach the first?",
          config->rpc_address, config->seeds[i].host, outward);
      return TRUE;
    }
  }
  return FALSE;
}

void ain_check_advertised(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const AinConfig *config = look->facts->config;
  g_autoptr(GError) error = NULL;
  Address own;
  if (!resolve(config->rpc_address, config->rpc_port, &own, &error)) {
    ain_look_error(look, "set ain_rpc_address to a name or address of this machine",
                   "ain_rpc_address = %s is advertised to the cluster: %s", config->rpc_address,
                   error->message);
    return;
  }
  if (is_wildcard(&own)) {
    ain_look_error(look, "set ain_rpc_address to an address of this machine that the DataNodes can reach",
                   "ain_rpc_address = %s is advertised to the cluster as it is, and nobody can dial it",
                   config->rpc_address);
    return;
  }
  g_autofree char *interface = interface_of(&own);
  if (interface == NULL && !is_loopback(&own)) {
    ain_look_error(look, "set ain_rpc_address to an address of this machine (ip -brief address)",
                   "no interface of this machine has ain_rpc_address = %s", config->rpc_address);
    return;
  }
  if (interface != NULL && *interface == '\0') {
    ain_look_error(look, "ip link set DEVICE up", "the interface with ain_rpc_address = %s is down",
                   config->rpc_address);
    return;
  }
  if (look_towards_seeds(look, &own)) {
    return;
  }
  if (is_loopback(&own)) {
    ain_look_ok(look, "%s is advertised: only nodes on this machine reach it, as the seeds are",
                config->rpc_address);
  } else {
    ain_look_ok(look, "%s (%s) is advertised; whether a firewall lets DataNodes in shows there: nc -vz %s %u",
                config->rpc_address, interface, config->rpc_address, config->rpc_port);
  }
}

/* --- ConfigNode ------------------------------------------------------------------------------------------
 */

static AinConfigNode *dial(const AinLook *look, const AinEndpoint *peer, GError **error) {
  const AinConfig *config = look->facts->config;
  AinTransportLimits limits = limits_of(look);
  AinTlsContext *tls = config->internal_ssl ? ain_transport_tls(config, error) : NULL;
  if (config->internal_ssl && tls == NULL) {
    return NULL;
  }
  limits.tls = tls;
  AinConfigNode *node = ain_config_node_connect(peer, config->thrift_compression, &limits, error);
  ain_tls_context_free(tls);
  return node;
}

typedef gboolean (*Question)(AinConfigNode *node, AinReply *reply, GError **error);

static gboolean ask(const AinLook *look, const AinEndpoint *peer, Question question, AinReply *reply,
                    GError **error) {
  g_autoptr(AinConfigNode) node = dial(look, peer, error);
  return node != NULL && question(node, reply, error);
}

static void endpoint_free(gpointer data) {
  AinEndpoint *endpoint = data;
  g_free(endpoint->host);
  g_free(endpoint);
}

static void remember(AinLook *look, const AinEndpoint *endpoint) {
  if (look->found.addresses == NULL) {
    look->found.addresses = g_ptr_array_new_with_free_func(endpoint_free);
  }
  AinEndpoint *copy = g_new0(AinEndpoint, 1);
  copy->host = g_strdup(endpoint->host);
  copy->port = endpoint->port;
  g_ptr_array_add(look->found.addresses, copy);
}

static void look_at_seed(AinLook *look, const AinEndpoint *seed) {
  g_autofree char *shown = ain_cluster_endpoint_text(seed->host, seed->port);
  g_auto(AinReply) reply = { 0 };
  g_autoptr(GError) error = NULL;
  if (ask(look, seed, ain_config_node_get_cluster_id, &reply, &error)) {
    remember(look, seed);
    ain_look_ok(look, "%s is a ConfigNode and answers", shown);
    return;
  }
  gboolean other_protocol =
      g_error_matches(error, AIN_ERROR, AIN_ERROR_UNREACHABLE) && strstr(error->message, "closed") != NULL;
  if (g_error_matches(error, AIN_ERROR, AIN_ERROR_MALFORMED)
      || g_error_matches(error, AIN_ERROR, AIN_ERROR_TOO_LARGE)
      || g_error_matches(error, AIN_ERROR, AIN_ERROR_UNSUPPORTED)) {
    ain_look_error(
        look, "set ain_seed_config_node to the ConfigNode's cn_internal_address:cn_internal_port (10710)",
        "%s is not a ConfigNode: %s", shown, error->message);
  } else if (other_protocol) {
    ain_look_error(
        look,
        "set ain_thrift_compression_enabled as cn_rpc_thrift_compression_enabled is on the ConfigNode; "
        "check the port",
        "%s takes the connection and drops it: not a ConfigNode, or the other Thrift protocol (%s)", shown,
        error->message);
  } else {
    ain_look_error(
        look, "start the ConfigNode, or set ain_seed_config_node to its cn_internal_address:cn_internal_port",
        "the ConfigNode %s cannot be reached: %s", shown, error->message);
  }
}

/* One seed that answers is enough for a start. */
static void soften_when_one_answers(AinLook *look) {
  for (guint i = 0; look->found.addresses != NULL && i < look->findings->len; i++) {
    AinFinding *finding = g_ptr_array_index(look->findings, i);
    if (finding->verdict == AIN_VERDICT_ERROR) {
      finding->verdict = AIN_VERDICT_WARNING;
    }
  }
}

void ain_check_seeds(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  ain_protocol_register_types();
  for (guint i = 0; i < look->facts->config->n_seeds; i++) {
    look_at_seed(look, &look->facts->config->seeds[i]);
  }
  soften_when_one_answers(look);
}

static gboolean no_config_node(AinLook *look) {
  if (no_config(look)) {
    return TRUE;
  }
  if (look->facts->addresses == NULL) {
    ain_look_skip(look, "no ConfigNode answers");
    return TRUE;
  }
  return FALSE;
}

/* Asks the ConfigNodes that answered, following one redirect each, until one says 200. */
static gboolean ask_cluster(AinLook *look, Question question, AinReply *reply, GError **error) {
  g_autoptr(GError) last = NULL;
  for (guint i = 0; i < look->facts->addresses->len; i++) {
    AinReply redirected = { 0 };
    g_clear_error(&last);
    ain_reply_clear(reply);
    if (!ask(look, g_ptr_array_index(look->facts->addresses, i), question, reply, &last)) {
      continue;
    }
    if (reply->code == AIN_CODE_REDIRECT && reply->has_redirect
        && ask(look, &reply->redirect, question, &redirected, NULL)) {
      ain_reply_clear(reply);
      *reply = redirected;
    }
    if (reply->code == AIN_CODE_SUCCESS) {
      return TRUE;
    }
  }
  if (last != NULL) {
    g_propagate_error(error, g_steal_pointer(&last));
  } else {
    g_set_error(error, AIN_ERROR, AIN_ERROR_UNREACHABLE, "it answers with status %d \"%s\"", (int)reply->code,
                reply->message != NULL ? reply->message : "");
  }
  return FALSE;
}

void ain_check_cluster_name(AinLook *look) {
  if (no_config_node(look)) {
    return;
  }
  const AinConfig *config = look->facts->config;
  g_auto(AinReply) reply = { 0 };
  g_autoptr(GError) error = NULL;
  if (!ask_cluster(look, ain_config_node_show_variables, &reply, &error)) {
    ain_look_skip(look, "the ConfigNode does not tell the cluster's name: %s", error->message);
  } else if (reply.cluster_name == NULL) {
    ain_look_skip(look, "the ConfigNode does not tell the cluster's name");
  } else if (strcmp(reply.cluster_name, config->cluster_name) != 0) {
    g_autofree char *mend = g_strdup_printf(
        "set cluster_name = %s, or ain_seed_config_node to the other cluster", reply.cluster_name);
    ain_look_error(look, mend,
                   "the cluster is named \"%s\", here cluster_name is \"%s\": it will refuse this node",
                   reply.cluster_name, config->cluster_name);
  } else {
    ain_look_ok(look, "the cluster is named \"%s\", as here", reply.cluster_name);
  }
  look->found.cluster_name = g_steal_pointer(&reply.cluster_name);
}

/* --- members ---------------------------------------------------------------------------------------------
 */

static void look_at_ai_node(AinLook *look, const AinMember *member) {
  const AinConfig *config = look->facts->config;
  const AinIdentity *identity = look->facts->identity;
  gint32 own = identity != NULL ? identity->node_id : -1;
  g_autofree char *shown = ain_cluster_endpoint_text(member->endpoint.host, member->endpoint.port);
  gboolean same_place =
      member->endpoint.port == config->rpc_port && strcmp(member->endpoint.host, config->rpc_address) == 0;
  if (member->id == own && same_place) {
    ain_look_ok(look, "the cluster knows this node, id %d at %s", (int)own, shown);
  } else if (member->id == own) {
    ain_look_ok(look, "the cluster knows this node, id %d, at %s; the next start tells it %s:%u", (int)own,
                shown, config->rpc_address, config->rpc_port);
  } else {
    g_autofree char *mend = g_strdup_printf("sbin/remove-ainode.sh -t %d, or SQL: REMOVE AINODE %d",
                                            (int)member->id, (int)member->id);
    ain_look_error(
        look, mend,
        "the cluster has an AINode already, id %d at %s%s, and admits one: it will refuse this node",
        (int)member->id, shown,
        same_place ? ", the very address of this one, whose identity file is lost" : "");
  }
}

static void look_at_members(AinLook *look, const AinReply *reply) {
  const AinIdentity *identity = look->facts->identity;
  gint32 own = identity != NULL ? identity->node_id : -1;
  guint counts[3] = { 0 };
  g_autoptr(GString) versions = g_string_new(NULL);
  for (guint i = 0; i < reply->members->len; i++) {
    const AinMember *member = g_ptr_array_index(reply->members, i);
    counts[member->kind]++;
    if (member->kind == AIN_MEMBER_AI_NODE) {
      look_at_ai_node(look, member);
    } else if (member->version != NULL && strstr(versions->str, member->version) == NULL) {
      g_string_append_printf(versions, "%s%s", versions->len > 0 ? ", " : "", member->version);
    }
  }
  if (own >= 0 && counts[AIN_MEMBER_AI_NODE] == 0) {
    g_autofree char *mend = g_strdup_printf("rm %s, then the start registers anew", identity->path);
    ain_look_error(look, mend,
                   "this node is registered as %d (%s), but the cluster has no AINode: it was removed there",
                   (int)own, identity->path);
  }
  ain_look_ok(look, "%u ConfigNodes, %u DataNodes, %u AINodes; versions: %s", counts[AIN_MEMBER_CONFIG_NODE],
              counts[AIN_MEMBER_DATA_NODE], counts[AIN_MEMBER_AI_NODE],
              versions->len > 0 ? versions->str : "not told");
  if (counts[AIN_MEMBER_DATA_NODE] == 0) {
    ain_look_warn(look, "start a DataNode",
                  "the cluster has no DataNode: nobody can ask this node for anything");
  }
}

void ain_check_members(AinLook *look) {
  if (no_config_node(look)) {
    return;
  }
  g_auto(AinReply) reply = { 0 };
  g_autoptr(GError) error = NULL;
  if (!ask_cluster(look, ain_config_node_show_cluster, &reply, &error)) {
    ain_look_skip(look, "the ConfigNode does not tell the members: %s", error->message);
    return;
  }
  look_at_members(look, &reply);
  look->found.members = g_steal_pointer(&reply.members);
}

/* --- DataNode --------------------------------------------------------------------------------------------
 */

void ain_check_data_node(AinLook *look) {
  if (no_config(look)) {
    return;
  }
  const AinConfig *config = look->facts->config;
  g_autofree char *shown = ain_cluster_endpoint_text(config->ingress_address, config->ingress_port);
  g_autofree char *found = NULL;
  g_autoptr(GError) error = NULL;
  if (ain_session_check(config, ain_look_limit(look, SESSION_US), -1, &found, &error)) {
    ain_look_ok(look, "%s", found);
  } else if (g_error_matches(error, AIN_ERROR, AIN_ERROR_REJECTED)) {
    ain_look_warn(
        look, "set ain_cluster_ingress_username and ain_cluster_ingress_password to a user of the cluster",
        "the DataNode %s, from which data is pulled, refuses the login: %s", shown, error->message);
  } else {
    ain_look_warn(
        look,
        "start a DataNode there, or set ain_cluster_ingress_address and ain_cluster_ingress_port to one",
        "the DataNode %s, from which data is pulled, cannot be asked: %s", shown, error->message);
  }
}
