/* TLS 1.2 and later over sockets that do not block, for the RPC server and for outgoing connections (OpenSSL
 * stays behind this header).
 *
 * A context holds certificates and rules; it is immutable once made: any thread may use it. An AinTls is one
 * connection, used by one thread at a time; it borrows its socket and never raises SIGPIPE. Files are read
 * when the context is made: new certificates take effect at the next start. */
#pragma once
#include <glib.h>

/* Names as in the configuration; NULL or "" for none. Borrowed while a context is made. */
typedef struct {
  const char *cert_file; /* PEM: this side's certificate, then those between it and the CA's */
  const char *key_file;  /* PEM: its private key, without a passphrase */
  const char *ca_file;   /* PEM: whose certificates are believed */
  gboolean verify_host;  /* clients: the peer's certificate must bear the name or address that was dialled */
} AinTlsFiles;

typedef struct AinTlsContext AinTlsContext;

/* For accepting: needs cert_file and key_file. With ca_file every client must show a certificate of that CA,
 * without it clients are not asked for one. Errors: INVALID; the message names key, file and fault (absent,
 * unreadable, no PEM, passphrase, other key, not yet valid, expired). */
AinTlsContext *ain_tls_server_new(const AinTlsFiles *files, GError **error);

/* For dialling. The peer's certificate must come from ca_file; where that is not given, from cert_file, as
 * the official AINode does it: then the certificates themselves are pinned and verify_host has no effect.
 * cert_file with key_file is shown to peers that ask for a certificate. Errors: as above. */
AinTlsContext *ain_tls_client_new(const AinTlsFiles *files, GError **error);

void ain_tls_context_free(AinTlsContext *context); /* connections may outlive it; NULL is allowed */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinTlsContext, ain_tls_context_free)

typedef struct AinTls AinTls;

/* fd: borrowed, connected, non-blocking. host: what was dialled, NULL on the accepting side. */
AinTls *ain_tls_new(const AinTlsContext *context, int fd, const char *host);
/* Tells the peer that no more will come, as far as the kernel takes it at once. Close the socket afterwards.
 * NULL is allowed. */
void ain_tls_free(AinTls *tls);

typedef enum { AIN_TLS_DONE, AIN_TLS_WAIT, AIN_TLS_FAILED } AinTlsStep;

/* One step of the handshake: call again when the socket is ready for ain_tls_events(), until DONE. A step
 * may compute for milliseconds. */
AinTlsStep ain_tls_handshake(AinTls *tls);

/* As recv() and send(): the number of bytes, 0 from read at the end of the stream, or -1 with errno: EAGAIN
 * (wait for ain_tls_events()), EPROTO (ain_tls_failure() says why) or the socket's. After EAGAIN from write,
 * write the same bytes again; they may have moved, and more may follow them. */
gssize ain_tls_read(AinTls *tls, void *data, gsize size);
gssize ain_tls_write(AinTls *tls, const void *data, gsize size);

/* TRUE when the next read may find something without waiting for the socket: data that was decrypted or
 * received already is not announced by poll() again. */
gboolean ain_tls_may_read(const AinTls *tls);

/* POLLIN or POLLOUT (epoll's numbers are the same): what the last call that had to wait waits for. */
guint32 ain_tls_events(const AinTls *tls);

/* Why the handshake, read or write failed: "it shows no certificate", ... Borrowed until the next call. */
const char *ain_tls_failure(const AinTls *tls);
