#include "kernels/dropout.h"

#include <ATen/Context.h>
#include <ATen/ops/bernoulli.h>
#include <ATen/ops/empty_like.h>

namespace palm {

at::Generator make_generator(at::Device device, uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(seed);
  return generator;
}

Tensor Dropout::apply(const Tensor& x, double probability) const {
  if (!generator || probability == 0) return x;
  return x * at::empty_like(x).bernoulli_(1 - probability, generator).div_(1 - probability);
}

}  // namespace palm
