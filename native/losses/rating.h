// Losses of a reward model on ratings of single answers, as in PaLM-rlhf-pytorch.
//
//   regression:      Σ (prediction − label)² / denominator
//   classification:  −Σ log softmax(logits)[label] / denominator
//
// The denominator defaults to the number of rows.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

Tensor regression_loss(const Tensor& prediction,  // [B]
                       const Tensor& label,       // [B]
                       std::optional<double> denominator);
Tensor classification_loss(const Tensor& logits,  // [B, N]
                           const Tensor& label,   // [B] int64, 0 … N − 1
                           std::optional<double> denominator);

}  // namespace palm
