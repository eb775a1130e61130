// Samples the next token: temperature, then top-k, top-p and min-p, renormalised; then the first token whose cumulative
// probability exceeds a random number from [0, 1). Each row uses one random number, so its token depends on nothing
// else.
#pragma once
#include "base/tensor.h"
#include "generation/sampler-options.h"

namespace palm {

struct Draw {
  Tensor token;     // [B] int64
  Tensor log_prob;  // [B], of the distribution sampled from; NaN if any logit of the row is not finite
};

Draw sample(const Tensor& logits,  // [B, V]
            const SamplerOptions& options,
            const Tensor& uniform);  // [B] float64 in [0, 1); undefined for greedy sampling

}  // namespace palm
