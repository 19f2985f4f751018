/* YAML 1.1 values and their Python text: see yaml_value.h. */
#include "registry/yaml_value.h"

#include <math.h>
#include <string.h>

#define DIGITS "0123456789"

static gboolean is_one_of(const char *text, const char *const *words) {
  for (; *words != NULL; words++) {
    if (strcmp(text, *words) == 0) {
      return TRUE;
    }
  }
  return FALSE;
}

/* Folds the digits of [at, end) into *value; underscores are skipped. FALSE when the value does not fit. */
static gboolean fold_digits(const char *at, const char *end, guint base, gint64 *value) {
  for (; at < end; at++) {
    if (*at != '_'
        && (__builtin_mul_overflow(*value, (gint64)base, value)
            || __builtin_add_overflow(*value, (gint64)g_ascii_xdigit_value(*at), value))) {
      return FALSE;
    }
  }
  return TRUE;
}

/* ":" and a number of base 60 with one or two digits; NULL when there is none. */
static const char *skip_sixtieth(const char *at) {
  if (at[0] != ':' || !g_ascii_isdigit(at[1])) {
    return NULL;
  }
  return at[1] <= '5' && g_ascii_isdigit(at[2]) ? at + 3 : at + 2;
}

/* Decimal, perhaps with base 60 parts after it: 90, 1_000, 1:30. */
static gboolean resolve_decimal(const char *text, AinYamlScalar *scalar) {
  const char *end = text + strspn(text, DIGITS "_");
  scalar->fits = fold_digits(text, end, 10, &scalar->integer);
  while (*end == ':') {
    const char *next = skip_sixtieth(end);
    if (next == NULL) {
      return FALSE;
    }
    gint64 part = 0;
    fold_digits(end + 1, next, 10, &part);
    scalar->fits = scalar->fits && !__builtin_mul_overflow(scalar->integer, (gint64)60, &scalar->integer)
                   && !__builtin_add_overflow(scalar->integer, part, &scalar->integer);
    end = next;
  }
  return *end == 0;
}

static gboolean resolve_based(const char *digits, const char *allowed, guint base, AinYamlScalar *scalar) {
  const char *end = digits + strspn(digits, allowed);
  scalar->fits = fold_digits(digits, end, base, &scalar->integer);
  return *end == 0 && strspn(digits, "_") != strlen(digits);
}

static gboolean resolve_int(const char *text, AinYamlScalar *scalar) {
  gboolean negative = text[0] == '-';
  const char *at = text + (text[0] == '-' || text[0] == '+');
  gboolean is_int = FALSE;
  if (at[0] >= '1' && at[0] <= '9') {
    is_int = resolve_decimal(at, scalar);
  } else if (at[0] == '0' && at[1] == 'b') {
    is_int = resolve_based(at + 2, "01_", 2, scalar);
  } else if (at[0] == '0' && at[1] == 'x') {
    is_int = resolve_based(at + 2, DIGITS "abcdefABCDEF_", 16, scalar);
  } else if (at[0] == '0') {
    is_int = resolve_based(at, "01234567_", 8, scalar);
  }
  if (negative && scalar->fits) {
    scalar->integer = -scalar->integer;
  }
  return is_int;
}

static gboolean skip_exponent(const char **at) {
  if (**at == 0) {
    return TRUE;
  }
  if (g_ascii_tolower(**at) != 'e' || ((*at)[1] != '+' && (*at)[1] != '-') || !g_ascii_isdigit((*at)[2])) {
    return FALSE;
  }
  *at += 2;
  *at += strspn(*at, DIGITS);
  return **at == 0;
}

/* The forms that YAML 1.1 calls a float: a point is needed, and a sign after 'e'. */
static gboolean looks_like_float(const char *text, gboolean *sixtieths) {
  const char *at = text;
  *sixtieths = FALSE;
  if (at[0] == '.') {
    at += 1 + strspn(at + 1, DIGITS "_");
    return g_ascii_isdigit(text[1]) && skip_exponent(&at);
  }
  at += *at == '-' || *at == '+';
  if (!g_ascii_isdigit(*at)) {
    return FALSE;
  }
  at += strspn(at, DIGITS "_");
  while (*at == ':') {
    at = skip_sixtieth(at);
    if (at == NULL) {
      return FALSE;
    }
    *sixtieths = TRUE;
  }
  if (*at != '.') {
    return FALSE;
  }
  at++;
  at += strspn(at, DIGITS "_");
  return *sixtieths ? *at == 0 : skip_exponent(&at);
}

static double float_value(const char *text) {
  GString *plain = g_string_new(NULL);
  double value = 0;
  gboolean negative = text[0] == '-';
  text += text[0] == '-' || text[0] == '+';
  for (;; text++) {
    if (*text == ':' || *text == 0) {
      value = value * 60 + g_ascii_strtod(plain->str, NULL);
      g_string_truncate(plain, 0);
    } else if (*text != '_') {
      g_string_append_c(plain, *text);
    }
    if (*text == 0) {
      break;
    }
  }
  g_string_free(plain, TRUE);
  return negative ? -value : value;
}

static gboolean resolve_float(const char *text, AinYamlScalar *scalar) {
  static const char *const nans[] = { ".nan", ".NaN", ".NAN", NULL };
  static const char *const infinities[] = { ".inf", ".Inf", ".INF", NULL };
  if (is_one_of(text, nans)) {
    scalar->number = NAN;
    return TRUE;
  }
  if (is_one_of(text + (text[0] == '-' || text[0] == '+'), infinities)) {
    scalar->number = text[0] == '-' ? -INFINITY : INFINITY;
    return TRUE;
  }
  gboolean sixtieths = FALSE;
  if (!looks_like_float(text, &sixtieths)) {
    return FALSE;
  }
  scalar->number = float_value(text);
  return TRUE;
}

static gboolean is_date(const char *text) {
  if (strlen(text) != 10 || text[4] != '-' || text[7] != '-') {
    return FALSE;
  }
  for (int i = 0; i < 10; i++) {
    if (i != 4 && i != 7 && !g_ascii_isdigit(text[i])) {
      return FALSE;
    }
  }
  return TRUE;
}

static AinYamlScalar resolve_plain(const char *text) {
  static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
  static const char *const trues[] = { "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL };
  static const char *const falses[] = {
    "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL
  };
  AinYamlScalar scalar = { .kind = AIN_YAML_TEXT };
  if (is_one_of(text, nulls)) {
    scalar.kind = AIN_YAML_NULL;
  } else if (is_one_of(text, trues) || is_one_of(text, falses)) {
    scalar.kind = AIN_YAML_BOOL;
    scalar.integer = is_one_of(text, trues);
  } else if (resolve_int(text, &scalar)) {
    scalar.kind = AIN_YAML_INT;
  } else if (resolve_float(text, &scalar)) {
    scalar.kind = AIN_YAML_FLOAT;
  } else if (is_date(text)) {
    scalar.kind = AIN_YAML_DATE;
  } else if (strcmp(text, "<<") == 0) {
    scalar.kind = AIN_YAML_MERGE;
  }
  return scalar;
}

AinYamlScalar ain_yaml_resolve(const yaml_node_t *node) {
  const char *text = (const char *)node->data.scalar.value;
  AinYamlScalar scalar = { .kind = AIN_YAML_TEXT };
  if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || strlen(text) != node->data.scalar.length) {
    return scalar;
  }
  return resolve_plain(text);
}

typedef struct {
  GString *out;
  yaml_document_t *document;
  gsize end; /* out may grow to this */
  gboolean cut;
} Printer;

static gboolean is_full(Printer *printer) {
  if (printer->out->len >= printer->end && !printer->cut) {
    g_string_append(printer->out, "...");
    printer->cut = TRUE;
  }
  return printer->cut;
}

static void print_character(GString *out, gunichar character, char quote) {
  static const char *const escapes[] = { ['\t'] = "\\t", ['\n'] = "\\n", ['\r'] = "\\r", ['\\'] = "\\\\" };
  if (character < G_N_ELEMENTS(escapes) && escapes[character] != NULL) {
    g_string_append(out, escapes[character]);
  } else if (character == (gunichar)quote) {
    g_string_append_printf(out, "\\%c", quote);
  } else if (character == ' ' || (g_unichar_isprint(character) && !g_unichar_isspace(character))) {
    g_string_append_unichar(out, character);
  } else if (character < 0x100) {
    g_string_append_printf(out, "\\x%02x", character);
  } else if (character < 0x10000) {
    g_string_append_printf(out, "\\u%04x", character);
  } else {
    g_string_append_printf(out, "\\U%08x", character);
  }
}

static void print_text(Printer *printer, const char *text, gsize size) {
  gboolean has_single = memchr(text, '\'', size) != NULL;
  gboolean has_double = memchr(text, '"', size) != NULL;
  char quote = has_single && !has_double ? '"' : '\'';
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)size);
  g_string_append_c(printer->out, quote);
  for (const char *at = valid; *at != 0; at = g_utf8_next_char(at)) {
    if (is_full(printer)) {
      return;
    }
    print_character(printer->out, g_utf8_get_char(at), quote);
  }
  g_string_append_c(printer->out, quote);
}

/* As Python's repr: the shortest digits that give the same number again. */
static void print_float(GString *out, double number) {
  if (isnan(number) || isinf(number)) {
    g_string_append(out, isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
    return;
  }
  char buffer[G_ASCII_DTOSTR_BUF_SIZE];
  char format[8];
  for (int precision = 0; precision <= 16; precision++) {
    g_snprintf(format, sizeof format, "%%.%de", precision);
    g_ascii_formatd(buffer, sizeof buffer, format, number);
    if (g_ascii_strtod(buffer, NULL) == number) {
      break;
    }
  }
  char *mark = strchr(buffer, 'e');
  int exponent = (int)g_ascii_strtoll(mark + 1, NULL, 10);
  int decimals = MAX(0, (int)(mark - buffer) - (signbit(number) ? 1 : 0) - 2);
  if (exponent < -4 || exponent >= 16) {
    g_string_append(out, buffer);
    return;
  }
  g_snprintf(format, sizeof format, "%%.%df", MAX(1, decimals - exponent));
  g_ascii_formatd(buffer, sizeof buffer, format, number);
  g_string_append(out, buffer);
}

static void print_big_int(GString *out, const char *text) {
  for (text += *text == '+'; *text != 0; text++) {
    if (*text != '_') {
      g_string_append_c(out, *text);
    }
  }
}

static void print_scalar(Printer *printer, const yaml_node_t *node) {
  AinYamlScalar scalar = ain_yaml_resolve(node);
  const char *text = (const char *)node->data.scalar.value;
  GString *out = printer->out;
  switch (scalar.kind) {
  case AIN_YAML_NULL:
    g_string_append(out, "None");
    break;
  case AIN_YAML_BOOL:
    g_string_append(out, scalar.integer != 0 ? "True" : "False");
    break;
  case AIN_YAML_INT:
    if (scalar.fits) {
      g_string_append_printf(out, "%" G_GINT64_FORMAT, scalar.integer);
    } else {
      print_big_int(out, text);
    }
    break;
  case AIN_YAML_FLOAT:
    print_float(out, scalar.number);
    break;
  case AIN_YAML_DATE:
    g_string_append_printf(out, "datetime.date(%d, %d, %d)", (int)g_ascii_strtoll(text, NULL, 10),
                           (int)g_ascii_strtoll(text + 5, NULL, 10),
                           (int)g_ascii_strtoll(text + 8, NULL, 10));
    break;
  case AIN_YAML_TEXT:
  case AIN_YAML_MERGE:
    print_text(printer, text, node->data.scalar.length);
    break;
  }
}

static void print_node(Printer *printer, const yaml_node_t *node, guint depth);

static void print_sequence(Printer *printer, const yaml_node_t *node, guint depth) {
  g_string_append_c(printer->out, '[');
  const yaml_node_item_t *start = node->data.sequence.items.start;
  for (const yaml_node_item_t *item = start; item < node->data.sequence.items.top && !is_full(printer);
       item++) {
    g_string_append(printer->out, item == start ? "" : ", ");
    print_node(printer, yaml_document_get_node(printer->document, *item), depth + 1);
  }
  g_string_append(printer->out, printer->cut ? "" : "]");
}

static void print_mapping(Printer *printer, const yaml_node_t *node, guint depth) {
  g_string_append_c(printer->out, '{');
  const yaml_node_pair_t *start = node->data.mapping.pairs.start;
  for (const yaml_node_pair_t *pair = start; pair < node->data.mapping.pairs.top && !is_full(printer);
       pair++) {
    g_string_append(printer->out, pair == start ? "" : ", ");
    print_node(printer, yaml_document_get_node(printer->document, pair->key), depth + 1);
    g_string_append(printer->out, printer->cut ? "" : ": ");
    print_node(printer, yaml_document_get_node(printer->document, pair->value), depth + 1);
  }
  g_string_append(printer->out, printer->cut ? "" : "}");
}

/* Aliases share nodes, so a node may be met often or within itself: size and depth bound the work. */
static void print_node(Printer *printer, const yaml_node_t *node, guint depth) {
  if (is_full(printer)) {
    return;
  }
  if (depth > AIN_YAML_MAX_DEPTH) {
    g_string_append(printer->out, "...");
    printer->cut = TRUE;
  } else if (node->type == YAML_SCALAR_NODE) {
    print_scalar(printer, node);
  } else if (node->type == YAML_SEQUENCE_NODE) {
    print_sequence(printer, node, depth);
  } else {
    print_mapping(printer, node, depth);
  }
}

gboolean ain_yaml_print(GString *out, yaml_document_t *document, const yaml_node_t *node, gsize max_size) {
  Printer printer = { .out = out, .document = document, .end = out->len + max_size };
  print_node(&printer, node, 0);
  return !printer.cut;
}
