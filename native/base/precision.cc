#include "base/precision.h"

#include <cstdlib>

namespace palm {

bool routed_to_onednn() {
  return at::globalContext().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL) ==
         at::Float32Precision::BF16;
}

void route_to_onednn(bool on) {
  at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                          on ? at::Float32Precision::BF16 : at::Float32Precision::IEEE);
}

bool multiplies_in_tf32() {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) ==
         at::Float32Precision::TF32;
}

bool sums_bfloat16_in_float32() {
  return at::globalContext().allowBF16ReductionCuBLAS() != at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK;
}

void use_deterministic(bool on) {
  if (on) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // else every new tensor is written twice
  at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/false);
}

bool deterministic() { return at::globalContext().deterministicAlgorithms(); }

void route_matrix_products() {
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_is("intel")) route_to_onednn(true);
#endif
}

}  // namespace palm
