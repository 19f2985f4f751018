/* Exit codes of the ainode program; `ainode --help` lists them, scripts and units rely on them. */
#pragma once

typedef enum {
  AIN_EXIT_OK = 0,
  AIN_EXIT_FAILURE = 1,
  AIN_EXIT_USAGE = 2,         /* the command line is not understood */
  AIN_EXIT_CONFIGURATION = 3, /* a file, key or value breaks a rule */
  AIN_EXIT_ENVIRONMENT = 4,   /* the Python environment lacks something */
  AIN_EXIT_RUNNING = 5,       /* another AINode holds this directory or port */
  AIN_EXIT_REJECTED = 6,      /* the cluster refused this node */
  AIN_EXIT_WARNINGS = 7,      /* doctor: no errors, but warnings */
} AinExit;
