#include "kernels/swiglu.h"

#include <ATen/ops/silu.h>

namespace palm {

Tensor swiglu(const Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return at::silu(halves[1]) * halves[0];
}

}  // namespace palm
