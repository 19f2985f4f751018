/* The kernels for x86-64 with AVX2, BMI and POPCNT; nothing else may live in this file, since all of it is
 * compiled for that processor. */
#define KERNELS_TABLE ain_tsblock_kernels_avx2
#define KERNELS_NAME "avx2"
#include "tsblock/kernels_template.h"
