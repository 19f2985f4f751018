/* `ainode doctor`: looks at everything that keeps an AINode from starting or from answering, and changes
 * nothing on the machine. Every check is a row of the table in doctor.c, runs on a thread of its own and is
 * bounded in time: one that hangs (a dead file system, an import that never ends) is given up and says so. */
#pragma once
#include "base/exit.h"

#include <glib.h>

typedef enum {
  AIN_VERDICT_OK,
  AIN_VERDICT_WARNING,   /* the node runs, but something will not work or is about to fail */
  AIN_VERDICT_ERROR,     /* the node does not start, or models do not run */
  AIN_VERDICT_UNCHECKED, /* could not be looked at; the evidence says why */
  AIN_VERDICT_COUNT,
} AinVerdict;

typedef struct {
  const char *group; /* static: "machine", "python", ... */
  const char *check; /* static: "numpy", "port", ...; stable names */
  AinVerdict verdict;
  AinExit exit_code; /* of an error: what a start would end with */
  char *evidence;    /* what was seen */
  char *mend;        /* the command or step that mends it, or NULL */
} AinFinding;

typedef struct {
  const char *home;             /* absolute */
  const char *config_file;      /* or NULL */
  const char *const *overrides; /* of the command line, or NULL */
  const char *python;           /* -i, or NULL */
  gint64 limit_us;              /* most for one check, when shorter than its own; 0: its own */
  gboolean quick;               /* only what takes a few milliseconds: no Python, no network */
} AinDoctorRequest;             /* all borrowed */

/* Findings (AinFinding, owned) in the order of the table. Takes over GLib's log writer, so that what modules
 * warn about becomes evidence: for processes that log nothing themselves. Main thread. Threads of checks that
 * hang are left behind: end the process soon. */
GPtrArray *ain_doctor_examine(const AinDoctorRequest *request);

/* AIN_EXIT_OK, AIN_EXIT_WARNINGS, or of the errors the one that a start would meet first. */
AinExit ain_doctor_exit_code(const GPtrArray *findings);

/* The report, aligned, 100 columns wide; colour: with escape sequences of a terminal. Owned. */
char *ain_doctor_text(const AinDoctorRequest *request, const GPtrArray *findings, gboolean colour);
/* The same as one JSON object; docs/OPERATIONS.md has its form. Owned. */
char *ain_doctor_json(const AinDoctorRequest *request, const GPtrArray *findings);
/* Errors alone, without a head, but for the one that is said already; NULL when there are none.
 * Owned. */
char *ain_doctor_complaints(const GPtrArray *findings, const char *said);
