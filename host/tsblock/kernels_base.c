/* The kernels for any processor of the target architecture. */
#define KERNELS_TABLE ain_tsblock_kernels_base
#define KERNELS_NAME "base"
#include "tsblock/kernels_template.h"
