/* `ainode query`: asks the DataNode of the ain_cluster_ingress_ keys, for operators. Main thread. */
#pragma once
#include "app/app.h"

/* Without SQL: whether the DataNode is there and accepts the login. Prints the outcome and returns an
 * AinExit.
 */
int ain_app_query_command(AinAppOptions *options, int argc, char **argv);
