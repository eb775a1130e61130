#include "kernels/layer-norm.h"

#include <ATen/ops/layer_norm.h>

namespace palm {

Tensor layer_norm(const Tensor& x, const Tensor& gamma) {
  return at::layer_norm(x, gamma.sizes(), gamma + 1, /*bias=*/{}, /*eps=*/1e-5);
}

}  // namespace palm
