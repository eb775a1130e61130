#include "kernels/precision.h"

namespace palm {

bool routed_to_onednn() {
  return at::globalContext().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL) ==
         at::Float32Precision::BF16;
}

void route_to_onednn(bool on) {
  at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                          on ? at::Float32Precision::BF16 : at::Float32Precision::IEEE);
}

void route_matrix_products() {
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_is("intel")) route_to_onednn(true);
#endif
}

}  // namespace palm
