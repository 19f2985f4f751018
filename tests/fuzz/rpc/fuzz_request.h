/* The fuzzer's entry, as libFuzzer calls it: any bytes, as a frame with its length in front. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
