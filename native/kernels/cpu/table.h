// The kernels of every instruction set that was compiled.
#pragma once
#include "kernels/kernels.h"

#define PALM_CPU_TABLE(isa)               \
  namespace palm::cpu::isa {              \
  extern const Kernels float32, bfloat16; \
  }

PALM_CPU_TABLE(plain)
#ifdef PALM_X86
PALM_CPU_TABLE(avx2)
PALM_CPU_TABLE(avx512)
PALM_CPU_TABLE(avx512_bf16)
#endif
