// y = (x − mean) / sqrt(var + 1e-5) · (1 + gamma), biased variance over the last axis (Ba et al. 2016).
// gamma is stored around 0 so that weight decay pulls the scale towards 1.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

Tensor layer_norm(const Tensor& x,       // [..., D]
                  const Tensor& gamma);  // [D]

// Forward and backward of the fused kernel, for blocks with a hand-written backward pass.
struct LayerNormed {
  Tensor y;           // [M, D]
  Tensor mean, rstd;  // [M] float32
};
LayerNormed layer_norm_forward(const Kernels& kernels,
                               const Tensor& x,       // [M, D] contiguous
                               const Tensor& gamma);  // [D]

struct LayerNormGrad {
  Tensor dx;      // [M, D], including the residual
  Tensor dgamma;  // [D] float32
};
LayerNormGrad layer_norm_backward(const Kernels& kernels, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                  const Tensor& rstd,
                                  const Tensor& dy,         // [M, D] contiguous
                                  const Tensor& residual);  // [M, D], the gradient past the norm; may be undefined

}  // namespace palm
