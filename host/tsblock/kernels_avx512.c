/* The kernels for x86-64 with AVX-512 as Ice Lake and Zen 4 have it (F, BW, DQ, VL, VBMI, VBMI2); earlier
 * ones slow down for wide vectors and keep to AVX2. Nothing else may live in this file, since all of it is
 * compiled for that processor. */
#define KERNELS_TABLE ain_tsblock_kernels_avx512
#define KERNELS_NAME "avx512"
#include "tsblock/kernels_template.h"
