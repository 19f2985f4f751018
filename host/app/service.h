/* What the node answers: hands every call to the module that knows, and spells models and states for the
 * caller's release. Loop thread. */
#pragma once
#include "observe/observe.h"
#include "registry/registry.h"
#include "rpc/server.h"
#include "runtime/runtime.h"
#include "schedule/scheduler.h"

#include <glib.h>

typedef struct AinService AinService;

typedef struct {
  AinRegistry *registry;
  AinScheduler *scheduler;
  AinRuntime *runtime;
  const AinLoadMeter *meter;
  /* The cluster asked the node to stop (REMOVE AINODE); called after the answer was queued. */
  void (*stop)(gpointer data);
  gpointer data;
} AinServiceParts; /* all borrowed */

AinService *ain_service_new(const AinServiceParts *parts);
void ain_service_free(AinService *service);

/* The server is needed for the release's spelling; it exists before the parts that can fail later. */
void ain_service_set_server(AinService *service, AinRpcServer *server);

/* From now on models are not run any more and heartbeats say Unknown with this reason. */
void ain_service_drain(AinService *service, const char *reason);
/* Heartbeats answered since draining began: the cluster knows. */
guint ain_service_heartbeats_while_draining(const AinService *service);

/* An AinCallHandler; data is the AinService. */
void ain_service_handle(AinCall *call, gpointer data);
