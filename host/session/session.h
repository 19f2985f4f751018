/* The data session: asks a DataNode by SQL, as training, covariates and `ainode query` need it.
 *
 * A session is one login over one connection; a result is read page by page and only one page is in memory.
 * It only reads: statements that are no queries are refused before anything is sent. Calls block, so they
 * belong on a helper thread; a session and its rows are used by one thread at a time, and several sessions by
 * as many threads. ain_protocol_register_types() must have run. Times: ain_loop_now() scale, microseconds.
 * Nothing a DataNode sends is trusted: every reply is walked before generated code reads it, every TsBlock is
 * checked before a value is taken. Passwords appear in no message.
 *
 * Errors of all calls, unless a line says otherwise: UNREACHABLE (no DataNode answered, or the connection
 * broke; what was tried and why it failed), TIMEOUT (the deadline, or a DataNode that takes too long),
 * CANCELLED, REJECTED (the DataNode refused the login or the statement; its code and text are quoted),
 * MALFORMED (it sent what its protocol does not allow), TOO_LARGE (a bound below), INVALID (our argument). */
#pragma once
#include "base/slice.h"
#include "config/config.h"
#include "tsblock/tsblock.h"

#include <glib.h>

typedef enum { AIN_DIALECT_TREE, AIN_DIALECT_TABLE } AinDialect;

/* Everything is borrowed until ain_session_open() returns. Zero means the default where one is named. */
typedef struct {
  AinEndpoint node;              /* a DataNode's client port; the host is borrowed */
  const AinEndpoint *more_nodes; /* asked in turn when that one is not there */
  guint n_more_nodes;
  AinDialect dialect;
  const char *database; /* table dialect: of unqualified names; NULL for none */
  const char *username;
  const char *password;
  const char *time_zone; /* as Java spells it: "UTC+8", "Asia/Shanghai" */
  const AinConfig *tls;  /* NULL: no TLS; otherwise the configuration with the ain_thrift_ssl_ keys */
  gint64 connect_us;     /* per DataNode; default 5 s */
  gint64 reply_us;       /* per call; default 60 s */
  gint64 wait_us; /* how long to repeat while no DataNode is ready, at a new login too; default: each is asked
                     once */
  gint64 deadline;      /* of ain_session_open(); default: none */
  gsize max_page_bytes; /* of one reply; default 64 MiB */
  int cancel_fd;        /* borrowed; must stay open as long as the session; readable: give up; -1: none */
} AinSessionOptions;

/* The ain_cluster_ingress_... keys, TLS too; borrows from config. dialect, database and bounds are the
 * caller's. */
AinSessionOptions ain_session_options(const AinConfig *config);

typedef struct AinSession AinSession;
/* Errors also: INVALID (a file of the TLS keys; the message names key and fault). */
AinSession *ain_session_open(const AinSessionOptions *options, GError **error);
/* Logs out (within a second) and frees; rows that are open are freed with it. NULL is allowed. */
void ain_session_close(AinSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinSession, ain_session_close)

const char *ain_session_address(const AinSession *session);     /* of the DataNode in use; borrowed */
gint64 ain_session_ticks_per_second(const AinSession *session); /* of TIMESTAMP: 1000, 10^6 or 10^9 */

/* For `ainode doctor` and the like: connects and logs in with the configured address, user and password, asks
 * for the version and logs out. *found (owned): one sentence on what was found. timeout_us: for all of it. */
gboolean ain_session_check(const AinConfig *config, gint64 timeout_us, int cancel_fd, char **found,
                           GError **error);

/* --- queries */

typedef struct {
  gint64 deadline;    /* for the statement and all its pages; 0: none */
  guint64 max_rows;   /* more are TOO_LARGE; 0: no bound */
  guint64 max_bytes;  /* of TsBlocks; 0: no bound */
  guint32 fetch_rows; /* about as many rows a page; default 10,000 */
} AinQueryLimits;

/* TRUE when sql can only read, judged by its first word (SELECT, SHOW, ...); the tree dialect's SELECT ...
 * INTO writes and is refused, with anything that has the word INTO. Errors: INVALID. */
gboolean ain_session_check_statement(const char *sql, AinDialect dialect, GError **error);

typedef struct AinRows AinRows; /* a result being read */

/* limits: NULL for none. Repeats by itself what a query allows to repeat as long as no row was handed out: an
 * expired session is opened anew once, a DataNode that restarts or has lost its leader is asked again up to
 * three times, or the next one. Errors also: BUSY (rows of this session are still open). */
AinRows *ain_session_query(AinSession *session, const char *sql, const AinQueryLimits *limits,
                           GError **error);
/* Ends the query on the DataNode when rows are left. NULL is allowed. */
void ain_rows_free(AinRows *rows);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AinRows, ain_rows_free)

typedef struct {
  const char *name; /* valid UTF-8 */
  AinTsType type;   /* logical: DATE, TIMESTAMP, STRING, BLOB too */
} AinRowsColumn;
/* Known before the first block. In the tree dialect column 0 is "Time" where the query has times. */
guint ain_rows_n_columns(const AinRows *rows);
const AinRowsColumn *ain_rows_column(const AinRows *rows, guint column);

/* Goes to the next block of rows and sets *n_rows (at least 1). FALSE without an error: there are no more.
 * After an error the rows are of no further use but for ain_rows_free(). */
gboolean ain_rows_next(AinRows *rows, guint32 *n_rows, GError **error);

/* Rows [first, first + n) of one column of the current block, one element a row:
 *   BOOLEAN guint8 (0 or 1); INT32 gint32; DATE gint32 (yyyymmdd); INT64, TIMESTAMP gint64; FLOAT float;
 *   DOUBLE double; TEXT, STRING, BLOB AinSlice, borrowed until the next ain_rows_next() or ain_rows_free().
 * A null is 0 or an empty slice with data NULL, and nulls[row - first] (may be NULL) is 1. Errors: INVALID
 * (range). values: aligned to 4 bytes, with room for n elements of ain_rows_value_size(). */
gsize ain_rows_value_size(AinTsType type);
gboolean ain_rows_read(AinRows *rows, guint column, guint32 first, guint32 n, void *values, guint8 *nulls,
                       GError **error);
/* Numbers of several columns straight into the caller's tensor, as ain_tsblock_to_tensor() does it. Errors:
 * INVALID. */
gboolean ain_rows_to_tensor(const AinRows *rows, const guint *columns, guint n_columns, guint32 first,
                            guint32 n, AinDType dtype, AinNullPolicy nulls, void *dst, GError **error);
