#include "kernels/norm.h"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/rsqrt.h>

#include "kernels/layer-norm.h"
#include "kernels/linear.h"

namespace palm {

static Tensor normalised(const Tensor& x, const NormDescription& description) {
  switch (description.kind) {
    case NormKind::layer:
      return at::layer_norm(x, x.sizes().slice(x.dim() - 1), /*weight=*/{}, /*bias=*/{}, description.eps);
    case NormKind::rms:
      return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + description.eps);
    default:
      return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(description.eps);
  }
}

Tensor norm(const Tensor& x, const Norm& weights, const NormDescription& description) {
  if (is_centred(description)) return layer_norm(x, weights.weight);
  const Tensor wide = x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
  Tensor y = normalised(wide, description);
  if (weights.weight.defined()) {
    const Tensor scale = widened(weights.weight);
    y = y * (description.offset == 0 ? scale : scale + description.offset);
  }
  if (weights.bias.defined()) y = y + widened(weights.bias);
  return y.to(x.scalar_type());
}

}  // namespace palm
