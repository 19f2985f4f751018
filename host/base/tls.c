#include "base/tls.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_FILE ((gsize)1 << 20)
#define AT_ONCE ((gsize)1 << 30) /* OpenSSL counts in int */
#define CERT_KEY "ain_thrift_ssl_cert_file"
#define KEY_KEY "ain_thrift_ssl_key_file"
#define CA_KEY "ain_thrift_ssl_ca_file"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)

struct AinTlsContext {
  SSL_CTX *rules;
  gboolean verify_host;
};

struct AinTls {
  SSL *ssl;
  int fd;
  guint32 events;
  gboolean drained; /* the last recv() took all that the kernel had */
  gboolean at_end;
  gboolean ready;  /* the handshake is done */
  gboolean broken; /* OpenSSL may not be asked again */
  char failure[160];
};

/* --- the socket, as OpenSSL sees it ----------------------------------------------------------------------
 *
 * OpenSSL's own socket methods write without MSG_NOSIGNAL, and do not tell whether the kernel has more. */

static BIO_METHOD *socket_method;

static int socket_read(BIO *bio, char *data, int size) {
  AinTls *tls = BIO_get_data(bio);
  ssize_t got = recv(tls->fd, data, (gsize)size, MSG_DONTWAIT);
  BIO_clear_retry_flags(bio);
  tls->drained = got < size;
  tls->at_end = got == 0;
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_retry_read(bio);
  }
  return (int)got;
}

static int socket_write(BIO *bio, const char *data, int size) {
  const AinTls *tls = BIO_get_data(bio);
  ssize_t sent = send(tls->fd, data, (gsize)size, MSG_DONTWAIT | MSG_NOSIGNAL);
  BIO_clear_retry_flags(bio);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_retry_write(bio);
  }
  return (int)sent;
}

static long socket_control(BIO *bio, int command, long number, void *pointer) {
  (void)number;
  (void)pointer;
  if (command == BIO_CTRL_EOF) {
    const AinTls *tls = BIO_get_data(bio);
    return tls->at_end ? 1 : 0;
  }
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/* The machine's openssl.cnf is for programs that share its library. */
static void prepare(void) {
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
  socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
  BIO_meth_set_read(socket_method, socket_read);
  BIO_meth_set_write(socket_method, socket_write);
  BIO_meth_set_ctrl(socket_method, socket_control);
}

static void prepare_once(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, prepare);
}

static const char *reason_text(unsigned long code) {
  const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
  return text != NULL ? text : "no reason given";
}

/* --- files -----------------------------------------------------------------------------------------------
 */

static gboolean given(const char *path) {
  return path != NULL && path[0] != '\0';
}

static gboolean refuse(GError **error, const char *key, const char *path, const char *fault) {
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s=%s: %s", key, path, fault);
  return FALSE;
}

/* The file's bytes; `bytes` owns them and must outlive the BIO. */
static BIO *open_file(const char *key, const char *path, GBytes **bytes, GError **error) {
  g_autoptr(GError) failure = NULL;
  *bytes = ain_file_read(path, MAX_FILE, &failure);
  if (*bytes == NULL) {
    refuse(error, key, path, failure->message);
    return NULL;
  }
  return BIO_new_mem_buf(g_bytes_get_data(*bytes, NULL), (int)g_bytes_get_size(*bytes));
}

/* The next certificate, or NULL: at the end, or with an error. */
static X509 *next_certificate(BIO *bio, const char *key, const char *path, GError **error) {
  ERR_clear_error();
  X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
  unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (certificate == NULL && ERR_GET_REASON(code) != PEM_R_NO_START_LINE) {
    g_autofree char *fault = g_strdup_printf("a certificate in it is damaged (%s)", reason_text(code));
    refuse(error, key, path, fault);
  }
  return certificate;
}

static char *date_text(const ASN1_TIME *date) {
  struct tm parts = { 0 };
  char text[32] = "?";
  if (ASN1_TIME_to_tm(date, &parts) == 1) {
    strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  }
  return g_strdup(text);
}

/* NULL when the certificate is valid now. Owned. */
static char *date_fault(const X509 *certificate) {
  const ASN1_TIME *from = X509_get0_notBefore(certificate);
  const ASN1_TIME *until = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(until) <= 0) {
    g_autofree char *date = date_text(until);
    return g_strdup_printf("the certificate has expired (it was valid until %s)", date);
  }
  if (X509_cmp_current_time(from) >= 0) {
    g_autofree char *date = date_text(from);
    return g_strdup_printf("the certificate is not valid before %s; check this machine's clock", date);
  }
  return NULL;
}

static gboolean use_certificates(SSL_CTX *rules, const char *path, GError **error) {
  g_autoptr(GBytes) bytes = NULL;
  g_autoptr(GError) failure = NULL;
  g_autoptr(BIO) bio = open_file(CERT_KEY, path, &bytes, error);
  g_autoptr(X509) own = bio != NULL ? next_certificate(bio, CERT_KEY, path, &failure) : NULL;
  if (own == NULL) {
    if (failure != NULL) {
      g_propagate_error(error, g_steal_pointer(&failure));
    } else if (bio != NULL) {
      refuse(error, CERT_KEY, path, "there is no certificate in it (PEM, BEGIN CERTIFICATE)");
    }
    return FALSE;
  }
  g_autofree char *fault = date_fault(own);
  if (fault != NULL) {
    return refuse(error, CERT_KEY, path, fault);
  }
  if (SSL_CTX_use_certificate(rules, own) != 1) {
    return refuse(error, CERT_KEY, path, reason_text(ERR_peek_last_error()));
  }
  X509 *link = NULL;
  while ((link = next_certificate(bio, CERT_KEY, path, &failure)) != NULL) {
    if (SSL_CTX_add0_chain_cert(rules, link) != 1) {
      X509_free(link);
      return refuse(error, CERT_KEY, path, reason_text(ERR_peek_last_error()));
    }
  }
  if (failure != NULL) {
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
  }
  return TRUE;
}

/* Nobody is asked for a passphrase at a terminal. */
static int note_passphrase(char *buffer, int size, int writing, void *data) {
  (void)buffer;
  (void)size;
  (void)writing;
  *(gboolean *)data = TRUE;
  return -1;
}

static gboolean use_key(SSL_CTX *rules, const char *path, const char *cert_path, GError **error) {
  gboolean has_passphrase = FALSE;
  g_autoptr(GBytes) bytes = NULL;
  g_autoptr(BIO) bio = open_file(KEY_KEY, path, &bytes, error);
  if (bio == NULL) {
    return FALSE;
  }
  ERR_clear_error();
  g_autoptr(EVP_PKEY) key = PEM_read_bio_PrivateKey(bio, NULL, note_passphrase, &has_passphrase);
  if (key == NULL) {
    return refuse(error, KEY_KEY, path,
                  has_passphrase ? "the key is protected by a passphrase; store it without one and let only "
                                   "this user read the file"
                                 : "there is no private key in it that can be read (PEM, BEGIN PRIVATE KEY)");
  }
  if (X509_check_private_key(SSL_CTX_get0_certificate(rules), key) != 1) {
    g_autofree char *fault = g_strdup_printf("this is not the key of the first certificate in %s", cert_path);
    return refuse(error, KEY_KEY, path, fault);
  }
  return SSL_CTX_use_PrivateKey(rules, key) == 1
         || refuse(error, KEY_KEY, path, reason_text(ERR_peek_last_error()));
}

/* The certificates of the file are believed, and what they signed. */
static gboolean trust(SSL_CTX *rules, const char *key, const char *path, GError **error) {
  g_autoptr(GBytes) bytes = NULL;
  g_autoptr(GError) failure = NULL;
  g_autofree char *fault = NULL;
  g_autoptr(BIO) bio = open_file(key, path, &bytes, error);
  if (bio == NULL) {
    return FALSE;
  }
  gboolean any = FALSE;
  for (;;) {
    g_autoptr(X509) certificate = next_certificate(bio, key, path, &failure);
    if (certificate == NULL) {
      break;
    }
    g_clear_pointer(&fault, g_free);
    fault = date_fault(certificate); /* a bundle may carry old ones along */
    any = any || fault == NULL;
    X509_STORE_add_cert(SSL_CTX_get_cert_store(rules), certificate);
  }
  if (failure != NULL) {
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
  }
  if (!any) {
    return refuse(error, key, path,
                  fault != NULL ? fault : "there is no certificate in it (PEM, BEGIN CERTIFICATE)");
  }
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(rules), X509_V_FLAG_PARTIAL_CHAIN);
  return TRUE;
}

/* --- contexts --------------------------------------------------------------------------------------------
 */

static AinTlsContext *context_new(const SSL_METHOD *method, GError **error) {
  SSL_CTX *rules = SSL_CTX_new(method);
  if (rules == NULL) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INTERNAL, "TLS cannot be set up: %s",
                reason_text(ERR_peek_last_error()));
    return NULL;
  }
  SSL_CTX_set_min_proto_version(rules, TLS1_2_VERSION);
  SSL_CTX_set_security_level(rules, 2);
  /* Of TLS 1.2 only what TLS 1.3 kept. */
  SSL_CTX_set_cipher_list(rules, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_options(rules, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET
                                 | SSL_OP_CIPHER_SERVER_PREFERENCE
                                 /* Frames say where they end: a cut one is seen without close_notify. */
                                 | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(rules, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(rules, 1); /* a record and its header in one system call */
  /* Connections stay for long: resuming one is not worth its state. */
  SSL_CTX_set_session_cache_mode(rules, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(rules, 0);
  AinTlsContext *context = g_new0(AinTlsContext, 1);
  context->rules = rules;
  return context;
}

static gboolean use_own(AinTlsContext *context, const AinTlsFiles *files, GError **error) {
  if (!given(files->cert_file) || !given(files->key_file)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "TLS needs a certificate and its key: set %s",
                given(files->cert_file) ? KEY_KEY : CERT_KEY);
    return FALSE;
  }
  return use_certificates(context->rules, files->cert_file, error)
         && use_key(context->rules, files->key_file, files->cert_file, error);
}

AinTlsContext *ain_tls_server_new(const AinTlsFiles *files, GError **error) {
  prepare_once();
  g_autoptr(AinTlsContext) context = context_new(TLS_server_method(), error);
  if (context == NULL || !use_own(context, files, error)) {
    return NULL;
  }
  if (given(files->ca_file)) {
    if (!trust(context->rules, CA_KEY, files->ca_file, error)) {
      return NULL;
    }
    SSL_CTX_set_verify(context->rules, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  }
  return g_steal_pointer(&context);
}

AinTlsContext *ain_tls_client_new(const AinTlsFiles *files, GError **error) {
  prepare_once();
  gboolean has_ca = given(files->ca_file);
  if (!has_ca && !given(files->cert_file)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "TLS needs certificates to believe: set %s, or %s to the other side's own certificate",
                CA_KEY, CERT_KEY);
    return NULL;
  }
  g_autoptr(AinTlsContext) context = context_new(TLS_client_method(), error);
  if (context == NULL
      || !trust(context->rules, has_ca ? CA_KEY : CERT_KEY, has_ca ? files->ca_file : files->cert_file, error)
      || (given(files->key_file) && !use_own(context, files, error))) {
    return NULL;
  }
  context->verify_host = has_ca && files->verify_host;
  SSL_CTX_set_verify(context->rules, SSL_VERIFY_PEER, NULL);
  return g_steal_pointer(&context);
}

void ain_tls_context_free(AinTlsContext *context) {
  if (context != NULL) {
    SSL_CTX_free(context->rules);
    g_free(context);
  }
}

/* --- connections -----------------------------------------------------------------------------------------
 */

static void expect_host(SSL *ssl, const char *host, gboolean verify) {
  g_autofree char *bare = g_strndup(host, strcspn(host, "%")); /* fe80::1%eth0 */
  ASN1_OCTET_STRING *address = a2i_IPADDRESS(bare);
  gboolean is_address = address != NULL;
  ASN1_OCTET_STRING_free(address);
  if (!is_address) {
    SSL_set_tlsext_host_name(ssl, bare);
  }
  if (!verify) {
    return;
  }
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (is_address) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), bare);
  } else {
    SSL_set1_host(ssl, bare);
  }
}

AinTls *ain_tls_new(const AinTlsContext *context, int fd, const char *host) {
  AinTls *tls = g_new0(AinTls, 1);
  tls->fd = fd;
  tls->events = POLLIN;
  tls->ssl = SSL_new(context->rules);
  BIO *bio = BIO_new(socket_method);
  if (tls->ssl == NULL || bio == NULL) {
    g_error("out of memory for a TLS connection"); /* as GLib does it */
  }
  BIO_set_data(bio, tls);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls->ssl, bio, bio);
  if (host != NULL) {
    SSL_set_connect_state(tls->ssl);
    expect_host(tls->ssl, host, context->verify_host);
  } else {
    SSL_set_accept_state(tls->ssl);
  }
  return tls;
}

void ain_tls_free(AinTls *tls) {
  if (tls == NULL) {
    return;
  }
  if (tls->ready && !tls->broken) {
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
  }
  ERR_clear_error();
  SSL_free(tls->ssl);
  g_free(tls);
}

static void explain_verification(AinTls *tls) {
  long result = SSL_get_verify_result(tls->ssl);
  gboolean other_name = result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH;
  g_snprintf(tls->failure, sizeof tls->failure, "its certificate is not accepted: %s%s",
             other_name ? "it does not bear the name or address that was dialled"
                        : X509_verify_cert_error_string(result),
             other_name ? " (ain_thrift_ssl_verify_host)" : "");
}

static void explain(AinTls *tls, unsigned long code) {
  int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  const char *text = NULL;
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    explain_verification(tls);
    return;
  }
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST
      || reason == SSL_R_PACKET_LENGTH_TOO_LONG || reason == SSL_R_RECORD_LENGTH_MISMATCH) {
    text = "what it sends is no TLS";
  } else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    text = "it shows no certificate, and one is required (ain_thrift_ssl_ca_file)";
  } else if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_NO_PROTOCOLS_AVAILABLE) {
    text = "it speaks no TLS 1.2 or later";
  }
  if (text != NULL) {
    g_strlcpy(tls->failure, text, sizeof tls->failure);
  } else if (reason >= SSL_AD_REASON_OFFSET) {
    g_snprintf(tls->failure, sizeof tls->failure, "it refused: %s", reason_text(code));
  } else {
    g_snprintf(tls->failure, sizeof tls->failure, "TLS failed: %s", reason_text(code));
  }
}

/* What a call that returned <= 0 means: 0 for the end of the stream, or -1 with errno. */
static int outcome(AinTls *tls, int result) {
  int saved = errno;
  switch (SSL_get_error(tls->ssl, result)) {
  case SSL_ERROR_WANT_READ:
    tls->events = POLLIN;
    errno = EAGAIN;
    return -1;
  case SSL_ERROR_WANT_WRITE:
    tls->events = POLLOUT;
    errno = EAGAIN;
    return -1;
  case SSL_ERROR_ZERO_RETURN:
    return 0;
  case SSL_ERROR_SYSCALL:
    tls->broken = TRUE;
    if (tls->at_end) {
      return 0;
    }
    g_strlcpy(tls->failure, g_strerror(saved), sizeof tls->failure);
    errno = saved != 0 ? saved : EPROTO;
    return -1;
  default:
    tls->broken = TRUE;
    explain(tls, ERR_peek_last_error());
    ERR_clear_error();
    errno = EPROTO;
    return -1;
  }
}

AinTlsStep ain_tls_handshake(AinTls *tls) {
  ERR_clear_error();
  errno = 0;
  int result = SSL_do_handshake(tls->ssl);
  if (result == 1) {
    tls->ready = TRUE;
    tls->events = POLLIN;
    return AIN_TLS_DONE;
  }
  if (outcome(tls, result) == 0 || errno == ECONNRESET || errno == EPIPE) {
    g_strlcpy(tls->failure, "it closed the connection in the middle of the handshake", sizeof tls->failure);
    return AIN_TLS_FAILED;
  }
  return errno == EAGAIN ? AIN_TLS_WAIT : AIN_TLS_FAILED;
}

gssize ain_tls_read(AinTls *tls, void *data, gsize size) {
  ERR_clear_error();
  errno = 0;
  int got = SSL_read(tls->ssl, data, (int)MIN(size, AT_ONCE));
  return got > 0 ? got : outcome(tls, got);
}

gssize ain_tls_write(AinTls *tls, const void *data, gsize size) {
  ERR_clear_error();
  errno = 0;
  int sent = SSL_write(tls->ssl, data, (int)MIN(size, AT_ONCE));
  if (sent > 0) {
    return sent;
  }
  if (outcome(tls, sent) == 0) {
    tls->broken = TRUE;
    errno = EPIPE;
  }
  return -1;
}

gboolean ain_tls_may_read(const AinTls *tls) {
  return !tls->drained || SSL_has_pending(tls->ssl) != 0;
}

guint32 ain_tls_events(const AinTls *tls) {
  return tls->events;
}

const char *ain_tls_failure(const AinTls *tls) {
  return tls->failure;
}
