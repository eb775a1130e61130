// Draws the next token: temperature, then top-k, top-p and min-p, renormalised; one draw with a generator of its own.
#pragma once
#include <ATen/core/Generator.h>
#include "base/tensor.h"

#include <optional>

namespace palm {

struct SamplerOptions {
  double temperature;  // 0 is greedy: all probability on the likeliest token
  std::optional<int64_t> top_k;
  std::optional<double> top_p, min_p;
};

struct Draw {
  Tensor token;     // [B] int64
  Tensor log_prob;  // [B], of the distribution that was sampled from
};

Draw sample(const Tensor& logits,  // [B, V]
            const SamplerOptions& options, at::Generator& generator);

}  // namespace palm
