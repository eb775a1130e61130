// Next-token cross entropy.
//
//   loss = −Σ log softmax(logits)[target] / denominator   over targets that are neither masked nor ignore_index
//
// The denominator defaults to the number of such targets (at least 1). If every micro-batch is given the count of the
// whole step, their losses add up to the step's mean.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

// Labels in the form the head expects (model/head.h): −1 for tokens that are not targets.
Tensor language_labels(const Tensor& target,   // [B, T] int64
                       const Tensor& mask,     // [B, T] bool, true if a token is a target; undefined: all are
                       int64_t ignore_index);  // → [B, T]

Tensor language_loss(const Tensor& total,                 // scalar: −Σ log_prob over non-negative labels
                     const Tensor& labels,                // [B, T]
                     std::optional<double> denominator);  // → scalar, float32 for bfloat16 models

}  // namespace palm
