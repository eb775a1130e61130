// What losses of whole responses need of log-probabilities per token.
#pragma once
#include "base/tensor.h"

namespace palm {

// The log-probability of each response: Σ log_prob over its tokens, [B].
Tensor sequence_log_prob(const Tensor& log_prob,        // [B, T]
                         const Tensor& response_mask);  // [B, T] bool

// The log-ratio of each response to the reference: Σ log_prob − reference_log_prob over its tokens, [B].
Tensor sequence_log_ratio(const Tensor& log_prob,            // [B, T]
                          const Tensor& reference_log_prob,  // [B, T]
                          const Tensor& response_mask);      // [B, T] bool

}  // namespace palm
