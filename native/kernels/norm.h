// Norms over the last axis:
//
//   layer  y = (x − mean) / sqrt(var + eps) · (w + offset) + b, biased variance (Ba et al. 2016)
//   rms    y = x / sqrt(mean(x²) + eps) · (w + offset)          (Zhang & Sennrich 2019)
//   l2     y = x / max(‖x‖, eps) · (w + offset)
//
// With offset 1, w is stored around 0 (PaLM, Gemma), so that weight decay pulls the scale towards 1. bfloat16 rows are
// normalised and scaled in float32 and rounded once.
#pragma once
#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

struct NormDescription {
  NormKind kind;
  double eps, offset;
  bool weight, bias;  // which of w and b exist
};

// Whether it is PaLM's norm, the only one of fused parallel blocks.
inline bool is_centred(const NormDescription& norm) {
  return norm.kind == NormKind::layer && norm.eps == 1e-5 && norm.offset == 1 && norm.weight && !norm.bias;
}

struct Norm {
  Tensor weight, bias;  // [D], or of the shape of the last axes; undefined if absent
};

Tensor norm(const Tensor& x,  // [..., D]
            const Norm& weights, const NormDescription& description);

// Forward and backward of the fused kernel, for blocks with a hand-written backward pass; of layer and rms. Matrices
// have contiguous rows, `heads` rows of the norm side by side in each.
struct Normed {
  Tensor y;           // [M, heads · D]
  Tensor mean, rstd;  // [M · heads] float32; no mean for rms
};
Normed norm_forward(const Kernels& kernels,
                    const Tensor& x,  // [M, heads · D]
                    const Norm& weights, const NormDescription& description,
                    const Tensor& y = {},  // written, for example a part of a wider matrix; undefined: a new matrix
                    int64_t heads = 1);

struct NormGrad {
  Tensor dx;              // [M, heads · D], including the residual
  Tensor dweight, dbias;  // [D] float32; undefined if the norm has none
};
NormGrad norm_backward(const Kernels& kernels, const Tensor& x, const Norm& weights, const NormDescription& description,
                       const Normed& normed,
                       const Tensor& dy,             // [M, heads · D]
                       const Tensor& residual = {},  // [M, heads · D], the gradient past the norm; or undefined
                       const Tensor& dx = {},        // written, with the strides of residual; undefined: a new matrix
                       int64_t heads = 1);

}  // namespace palm
