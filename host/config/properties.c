/* The .properties reader; see properties.h. */
#include "config/properties.h"

#include "base/error.h"

#include <string.h>

#define QUOTE_MAX 160

typedef struct {
  const char *name; /* of the file */
  guint line;
} Place;

static void property_free(gpointer data) {
  AinProperty *property = data;
  g_free(property->key);
  g_free(property->value);
  g_free(property);
}

static gboolean has_control(const char *text) {
  for (const char *p = text; *p != '\0'; p++) {
    if (g_ascii_iscntrl(*p)) {
      return TRUE;
    }
  }
  return FALSE;
}

char *ain_properties_quote(const char *value) {
  const char *end = value + strlen(value);
  gboolean cut = end - value > QUOTE_MAX;
  if (cut) {
    end = value + QUOTE_MAX;
    while (end > value && ((guchar)*end & 0xC0) == 0x80) {
      end--; /* not in the middle of a character */
    }
  }
  g_autofree char *head = g_strndup(value, (gsize)(end - value));
  gboolean plain = g_utf8_validate(head, -1, NULL) && !has_control(head);
  g_autofree char *safe = plain ? g_strdup(head) : g_strescape(head, NULL);
  return g_strdup_printf("\"%s%s\"", safe, cut ? "..." : "");
}

G_GNUC_PRINTF(3, 4)
static gboolean refuse(const Place *place, GError **error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  g_autofree char *text = g_strdup_vprintf(format, arguments);
  va_end(arguments);
  g_set_error(error, AIN_ERROR, AIN_ERROR_INVALID, "%s:%u: %s", place->name, place->line, text);
  return FALSE;
}

/* The four digits after "\u"; -1 when there are not four. */
static int read_hex4(const char *text) {
  int value = 0;
  for (int i = 0; i < 4; i++) {
    int digit = g_ascii_xdigit_value(text[i]);
    if (digit < 0) { /* also the end of the text */
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

/* text stands after "\u". Returns how many bytes the escape took beyond that, 0 when it is no character. */
static gsize append_unicode(GString *out, const char *text) {
  int first = read_hex4(text);
  if (first <= 0) {
    return 0;
  }
  if (first < 0xD800 || first > 0xDFFF) {
    g_string_append_unichar(out, (gunichar)first);
    return 4;
  }
  int second = text[4] == '\\' && text[5] == 'u' ? read_hex4(text + 6) : -1;
  if (first > 0xDBFF || second < 0xDC00 || second > 0xDFFF) {
    return 0; /* half a surrogate pair */
  }
  g_string_append_unichar(out, 0x10000U + (((guint)first - 0xD800U) << 10) + ((guint)second - 0xDC00U));
  return 10;
}

/* The character that "\<letter>" stands for, 0 for none. Letters that stand for themselves are the ones that
 * the format has a use for; any other one is more likely a forgotten backslash than meant. */
static char simple_escape(char letter) {
  switch (letter) {
  case 't':
    return '\t';
  case 'n':
    return '\n';
  case 'r':
    return '\r';
  case 'f':
    return '\f';
  case ':':
  case '=':
  case '\\':
  case '#':
  case '!':
  case ' ':
  case '"':
  case '\'':
    return letter;
  default:
    return 0;
  }
}

/* Owned text with the escapes undone, or NULL with *bad at the escape that is none. */
static char *unescape(const char *text, const char **bad) {
  g_autoptr(GString) out = g_string_new(NULL);
  *bad = text;
  for (const char *p = text; *p != '\0'; p++) {
    if (*p != '\\') {
      g_string_append_c(out, *p);
      continue;
    }
    gsize taken = 0;
    if (p[1] == 'u') {
      taken = append_unicode(out, p + 2);
      taken = taken > 0 ? taken + 1 : 0;
    } else if (simple_escape(p[1]) != 0) {
      g_string_append_c(out, simple_escape(p[1]));
      taken = 1;
    }
    if (taken == 0) {
      *bad = p;
      return NULL;
    }
    p += taken;
  }
  return g_string_free(g_steal_pointer(&out), FALSE);
}

/* TRUE when text[index] follows an odd number of backslashes. */
static gboolean is_escaped(const char *text, gsize index) {
  gsize count = 0;
  while (count < index && text[index - 1 - count] == '\\') {
    count++;
  }
  return count % 2 == 1;
}

/* Strips white space on both sides, except a last blank that a backslash keeps. In place. */
static char *strip(char *text) {
  char *start = g_strchug(text);
  gsize size = strlen(start);
  while (size > 0 && g_ascii_isspace(start[size - 1]) && !is_escaped(start, size - 1)) {
    start[--size] = '\0';
  }
  return start;
}

static char *find_equals(char *line) {
  for (char *p = line; *p != '\0'; p++) {
    if (*p == '=' && !is_escaped(line, (gsize)(p - line))) {
      return p;
    }
  }
  return NULL;
}

/* The first word of a line that is no assignment: what follows might be a secret. */
static char *quote_first_word(const char *line) {
  g_autofree char *word = g_strndup(line, strcspn(line, " \t:"));
  return ain_properties_quote(word);
}

static gboolean strip_quotes(char **value, const char *key, const Place *place, GError **error) {
  gsize size = strlen(*value);
  gboolean opens = size > 0 && (*value)[0] == '"';
  gboolean closes = size > 1 && (*value)[size - 1] == '"' && !is_escaped(*value, size - 1);
  if (opens != closes) {
    return refuse(
        place, error,
        "the value of %s has a double quote on one side only; quote both sides or neither, and write "
        "\\\" for a quote that belongs to the value",
        key);
  }
  if (opens) {
    (*value)[size - 1] = '\0';
    (*value)++;
  }
  return TRUE;
}

/* line: one stripped, non-empty line that is no comment; modified. */
static AinProperty *parse_assignment(char *line, const Place *place, GError **error) {
  char *equals = find_equals(line);
  if (equals == NULL || equals == line) {
    g_autofree char *word = quote_first_word(line);
    refuse(place, error, "%s is no setting; a line is key=value, or a comment that begins with '#'", word);
    return NULL;
  }
  *equals = '\0';
  const char *bad = line;
  g_autofree char *key = unescape(g_strchomp(line), &bad);
  if (key == NULL || has_control(key)) {
    g_autofree char *word = quote_first_word(line);
    refuse(place, error, "%s is no key; a key has letters, digits and '_'", word);
    return NULL;
  }
  g_autofree char *shown = ain_properties_quote(key);
  char *raw = strip(equals + 1);
  if (!strip_quotes(&raw, shown, place, error)) {
    return NULL;
  }
  g_autofree char *value = unescape(raw, &bad);
  if (value == NULL) {
    g_autofree char *escape = g_strndup(bad, bad[1] == 'u' ? 6 : 2);
    g_autofree char *shown_escape = ain_properties_quote(g_utf8_validate(escape, -1, NULL) ? escape : "\\");
    refuse(place, error,
           "the value of %s has %s, which is no escape; allowed: \\\\ \\: \\= \\# \\! \\\" \\t \\n \\r \\f "
           "\\uXXXX (write \\\\ for one backslash; a line cannot be continued)",
           shown, shown_escape);
    return NULL;
  }
  AinProperty *property = g_new0(AinProperty, 1);
  *property = (AinProperty){ g_steal_pointer(&key), g_steal_pointer(&value), place->line };
  return property;
}

static gboolean parse_line(const char *data, gsize size, const Place *place, GPtrArray *properties,
                           GError **error) {
  if (size > AIN_PROPERTIES_MAX_LINE) {
    return refuse(place, error, "the line has %" G_GSIZE_FORMAT " bytes; allowed: at most %d", size,
                  AIN_PROPERTIES_MAX_LINE);
  }
  gsize start = 0;
  while (start < size && g_ascii_isspace(data[start])) {
    start++;
  }
  if (start == size || data[start] == '#' || data[start] == '!') {
    return TRUE;
  }
  if (!g_utf8_validate_len(data, size, NULL)) {
    return refuse(place, error, "the line is not UTF-8 text; save the file as UTF-8");
  }
  g_autofree char *line = g_strndup(data, size);
  AinProperty *property = parse_assignment(strip(line), place, error);
  if (property == NULL) {
    return FALSE;
  }
  g_ptr_array_add(properties, property);
  return TRUE;
}

GPtrArray *ain_properties_parse(const char *data, gsize size, const char *name, GError **error) {
  if (size > AIN_PROPERTIES_MAX_FILE) {
    g_set_error(error, AIN_ERROR, AIN_ERROR_TOO_LARGE,
                "%s has %" G_GSIZE_FORMAT " bytes; allowed: at most %" G_GSIZE_FORMAT, name, size,
                AIN_PROPERTIES_MAX_FILE);
    return NULL;
  }
  if (size >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) {
    data += 3;
    size -= 3;
  }
  g_autoptr(GPtrArray) properties = g_ptr_array_new_with_free_func(property_free);
  Place place = { name, 0 };
  while (size > 0) {
    place.line++;
    const char *newline = memchr(data, '\n', size);
    gsize length = newline != NULL ? (gsize)(newline - data) : size;
    if (!parse_line(data, length, &place, properties, error)) {
      return NULL;
    }
    gsize taken = newline != NULL ? length + 1 : length;
    data += taken;
    size -= taken;
  }
  return g_steal_pointer(&properties);
}
