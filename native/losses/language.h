// Next-token cross entropy.
//
//   loss = −Σ log softmax(logits)[target] / denominator   over targets that are neither masked nor ignore_index
//
// The denominator defaults to the number of such targets (at least 1), so that pieces given the count of the whole step
// add up to its mean.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

// Targets as the model's head reads them (model/head.h): −1 where there is none.
Tensor language_labels(const Tensor& target,   // [B, T] int64
                       const Tensor& mask,     // [B, T] bool, true where a token is a target; undefined: all are
                       int64_t ignore_index);  // → [B, T]

Tensor language_loss(const Tensor& total,                 // scalar: −Σ log_prob over labels that are not negative
                     const Tensor& labels,                // [B, T]
                     std::optional<double> denominator);  // → scalar, float32 for bfloat16

}  // namespace palm
