#include "optim/grad-norm.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "kernels/dispatch.h"

namespace palm {

// √Σ x² of one gradient, in float64. For bfloat16 input, libtorch's CUDA kernel sums in float32; with a float64 result
// it would first copy the gradient, at eight bytes per element.
static Tensor norm_of(const Tensor& gradient) {
  const Kernels* const kernels = gradient.is_contiguous() ? kernels_for(gradient) : nullptr;
  if (!kernels || !kernels->squares) {
    const bool narrow = gradient.is_cuda() && gradient.scalar_type() != at::kDouble;
    return at::linalg_vector_norm(gradient, 2, {}, /*keepdim=*/false, narrow ? at::kFloat : at::kDouble)
        .to(at::kDouble);
  }
  const Tensor totals = at::zeros({at::get_num_threads()}, gradient.options().dtype(at::kDouble));
  at::parallel_for(0, gradient.numel(), grain_of(1), [&](int64_t begin, int64_t end) {
    kernels->squares({gradient.const_data_ptr(), totals.mutable_data_ptr<double>() + at::get_thread_num()}, begin, end);
  });
  return totals.sum().sqrt();
}

GradNorm grad_norm(const std::vector<Tensor>& gradients, std::optional<double> max_norm) {
  std::vector<Tensor> norms;
  for (const Tensor& gradient : gradients) norms.push_back(norm_of(gradient));
  const Tensor each = at::stack(norms), norm = at::linalg_vector_norm(each).to(at::kFloat);
  const Tensor divisor = max_norm ? ((norm + 1e-6) / *max_norm).clamp_min(1) : at::ones_like(norm);
  // The squares must be finite too: an infinite second moment would stay infinite.
  return {each, norm, divisor, (norm / divisor).square().isfinite().logical_not().to(at::kFloat)};
}

}  // namespace palm
