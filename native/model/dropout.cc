#include "model/dropout.h"

#include <ATen/ops/bernoulli.h>
#include <ATen/ops/empty_like.h>

namespace palm {

Tensor Dropout::apply(const Tensor& x, double probability) const {
  if (!generator || probability == 0) return x;
  return x * at::empty_like(x).bernoulli_(1 - probability, generator).div_(1 - probability);
}

}  // namespace palm
