/* What checks get and give. Private to host/doctor and its tests. */
#pragma once
#include "cluster/identity.h"
#include "config/config.h"
#include "doctor/doctor.h"
#include "env/ensure.h"
#include "env/env.h"

#include <glib.h>

/* What checks find out for later ones; each set by one check only. NULL: not known. */
typedef struct {
  AinConfig *config;
  AinEnvPlan *plan;
  AinInterpreter *python; /* runs models */
  AinInterpreter *base;   /* a venv will be made with it; only when there is no python */
  AinIdentity *identity;
  pid_t holder;         /* the AINode that runs on the system directory, or 0 */
  GPtrArray *addresses; /* of AinEndpoint: ConfigNodes that answered, the leader first when it is known */
  char *cluster_name;   /* as the ConfigNode says */
  GPtrArray *members;   /* of AinMember */
} AinFacts;
void ain_facts_clear(AinFacts *facts);

/* One run of one check, on its own thread. */
typedef struct {
  const AinDoctorRequest *request;
  const AinFacts *facts; /* of the checks before */
  AinFacts found;        /* by this one; taken over when it ends in time */
  const char *group;
  const char *check;
  AinExit exit_code;
  GPtrArray *findings; /* of AinFinding */
} AinLook;

void ain_look_ok(AinLook *look, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* mend: NULL, or copied. */
void ain_look_warn(AinLook *look, const char *mend, const char *format, ...) G_GNUC_PRINTF(3, 4);
void ain_look_error(AinLook *look, const char *mend, const char *format, ...) G_GNUC_PRINTF(3, 4);
void ain_look_skip(AinLook *look, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The time that a child or connection of the check may take: usual_us, or less where the operator said so. */
gint64 ain_look_limit(const AinLook *look, gint64 usual_us);

typedef struct {
  const char *group;
  const char *name;
  void (*look)(AinLook *look);
  gint64 limit_us;
  gboolean quick;
  AinExit exit_code; /* of its errors */
} AinCheck;

/* Runs one check; appends to findings. FALSE: it was given up, and check, request and facts must stay for
 * ever.
 */
gboolean ain_doctor_run_check(const AinCheck *check, const AinDoctorRequest *request, AinFacts *facts,
                              GPtrArray *findings);

/* Valid UTF-8 without control characters. Owned. */
char *ain_doctor_printable(const char *text);

/* What modules logged as warnings since the last call, newest last. Owned array of owned texts. */
GPtrArray *ain_doctor_take_warnings(void);

/* --- the checks, by file ---------------------------------------------------------------------------------
 */

/* machine.c */
void ain_check_kernel(AinLook *look);
void ain_check_libc(AinLook *look);
void ain_check_memory(AinLook *look);
void ain_check_clock(AinLook *look);
void ain_check_security(AinLook *look);
/* limits.c */
void ain_check_memfd(AinLook *look);
void ain_check_pidfd(AinLook *look);
void ain_check_landlock(AinLook *look);
void ain_check_seccomp(AinLook *look);
void ain_check_open_files(AinLook *look);
void ain_check_processes(AinLook *look);
void ain_check_sizes(AinLook *look);
/* installation.c */
void ain_check_programs(AinLook *look);
void ain_check_configuration(AinLook *look);
void ain_check_settings(AinLook *look);
/* directories.c */
void ain_check_directories(AinLook *look);
void ain_check_ownership(AinLook *look);
void ain_check_disk(AinLook *look);
void ain_check_temporary(AinLook *look);
/* instance.c */
void ain_check_instance(AinLook *look);
void ain_check_identity(AinLook *look);
void ain_check_leftovers(AinLook *look);
void ain_check_port(AinLook *look);
/* python.c */
void ain_check_environment(AinLook *look);
void ain_check_interpreter(AinLook *look);
void ain_check_venv(AinLook *look);
void ain_check_ssl(AinLook *look);
void ain_check_pip(AinLook *look);
void ain_check_libpython(AinLook *look);
void ain_check_python_mounts(AinLook *look);
/* packages.c */
void ain_check_numpy(AinLook *look);
void ain_check_torch(AinLook *look);
void ain_check_builtins(AinLook *look);
/* network.c */
void ain_check_advertised(AinLook *look);
void ain_check_seeds(AinLook *look);
void ain_check_cluster_name(AinLook *look);
void ain_check_members(AinLook *look);
void ain_check_data_node(AinLook *look);
/* models.c */
void ain_check_weights(AinLook *look);
void ain_check_models(AinLook *look);
