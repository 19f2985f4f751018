#include "base/error.h"
#include "session/session.h"

#define MAX_STATEMENT (16U << 20)

/* Statements of both dialects that only read. */
static const char *const readers[] = { "SELECT", "SHOW", "WITH",   "DESCRIBE", "DESC",
                                       "COUNT",  "LIST", "VALUES", "TABLE",    NULL };

static gboolean is_word_byte(char byte) {
  return g_ascii_isalnum(byte) || byte == '_' || (byte & 0x80) != 0;
}

/* Whether the word stands anywhere, in a text or a comment too: what a parser of some release takes for such
 * is not ours to decide. */
static gboolean has_word(const char *sql, const char *word) {
  gsize size = strlen(word);
  for (const char *at = sql; *at != '\0'; at++) {
    if ((at == sql || !is_word_byte(at[-1])) && g_ascii_strncasecmp(at, word, size) == 0
        && !is_word_byte(at[size])) {
      return TRUE;
    }
  }
  return FALSE;
}

static gsize word_at(const char *at) {
  gsize length = 0;
  while (is_word_byte(at[length])) {
    length++;
  }
  return length;
}

static gboolean word_is(const char *at, gsize length, const char *word) {
  return strlen(word) == length && g_ascii_strncasecmp(at, word, length) == 0;
}

/* The first word of the query itself: EXPLAIN ANALYZE runs what follows it. */
static const char *find_query(const char *sql, gsize *length) {
  const char *at = sql;
  for (;;) {
    while (g_ascii_isspace(*at) || *at == '(') {
      at++;
    }
    *length = word_at(at);
    const char *next = at + *length;
    while (g_ascii_isspace(*next)) {
      next++;
    }
    gboolean is_prefix =
        word_is(at, *length, "EXPLAIN") || word_is(at, *length, "ANALYZE") || word_is(at, *length, "VERBOSE");
    if (!is_prefix || *next == '\0') {
      return at;
    }
    at = next;
  }
}

gboolean ain_session_check_statement(const char *sql, AinDialect dialect, GError **error) {
  gsize size = strlen(sql);
  if (size > MAX_STATEMENT || !g_utf8_validate(sql, (gssize)size, NULL)) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "the statement is %s",
                size > MAX_STATEMENT ? "over 16 MiB long" : "not valid UTF-8");
    return FALSE;
  }
  gsize length;
  const char *start = find_query(sql, &length);
  gboolean reads = FALSE;
  for (gsize i = 0; readers[i] != NULL; i++) {
    reads = reads || word_is(start, length, readers[i]);
  }
  if (!reads) {
    g_autofree char *words = g_strjoinv(", ", (GStrv)readers);
    g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID,
                "this session only reads: a statement begins with one of %s, perhaps after EXPLAIN", words);
    return FALSE;
  }
  if (dialect == AIN_DIALECT_TREE && has_word(sql, "INTO")) {
    g_set_error_literal(
        error, AIN_ERROR, AIN_ERROR_INVALID,
        "this session only reads, and in the tree dialect SELECT ... INTO writes: the word INTO "
        "may not stand anywhere in a statement");
    return FALSE;
  }
  return TRUE;
}
