#include "optim/grad-norm.h"

#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>

namespace palm {

GradNorm grad_norm(const std::vector<Tensor>& gradients, std::optional<double> max_norm) {
  std::vector<Tensor> norms = at::_foreach_norm(gradients, 2, at::kDouble);
  const Tensor norm = at::linalg_vector_norm(at::stack(norms)).to(at::kFloat);
  const Tensor divisor = max_norm ? ((norm + 1e-6) / *max_norm).clamp_min(1) : at::ones_like(norm);
  return {norm, divisor, norm.isfinite().logical_not().to(at::kFloat)};
}

}  // namespace palm
