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

namespace palm {

enum class NormKind { layer, rms, l2 };

struct NormDescription {
  NormKind kind;
  double eps, offset;
  bool weight, bias;  // which of w and b exist
};

// Whether it is the norm of layer-norm.h.
inline bool is_centred(const NormDescription& norm) {
  return norm.kind == NormKind::layer && norm.eps == 1e-5 && norm.offset == 1 && norm.weight && !norm.bias;
}

struct Norm {
  Tensor weight, bias;  // [D], or of the shape of the last axes; undefined if absent
};

Tensor norm(const Tensor& x,  // [..., D]
            const Norm& weights, const NormDescription& description);

}  // namespace palm
