/* What the node fetches from the network: sources of CREATE MODEL, and weights when the configuration asks
 * for them. Loop thread, except where the registry calls the fetcher. */
#pragma once
#include "base/loop.h"
#include "config/config.h"
#include "registry/registry.h"

#include <glib.h>

typedef struct AinDownloads AinDownloads;

/* config and python (sys.executable) are borrowed and live longer. */
AinDownloads *ain_downloads_new(AinLoop *loop, const AinConfig *config, const char *python);
AinFetcher ain_downloads_fetcher(AinDownloads *downloads);
/* Once, at the start: fetches missing weights of the large built-in models into <directories[0]>/<id>, one
 * model after the other on a helper thread, or says in the log how to have that. directories: where weights
 * may lie, ends with NULL. */
void ain_downloads_weights(AinDownloads *downloads, const char *const *directories);
/* Ends what is under way; before the loop is freed. */
void ain_downloads_cancel(AinDownloads *downloads); /* NULL is allowed */
void ain_downloads_free(AinDownloads *downloads);   /* after the loop; NULL is allowed */
