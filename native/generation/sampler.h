// Samples the next token: temperature, then top-k, top-p and min-p, renormalised; then the first token whose cumulative
// probability exceeds a random number from [0, 1). Each row uses one random number, so its token depends on nothing
// else.
#pragma once
#include "base/tensor.h"

#include <optional>

namespace palm {

// So low that the token has probability 0 at any temperature, but finite: non-finite logits indicate a fault.
constexpr double kNeverDrawn = -3e38;

struct SamplerOptions {
  double temperature;  // below 1e-6 sampling is greedy: the most likely token has probability 1
  std::optional<int64_t> top_k;
  std::optional<double> top_p, min_p;

  bool operator==(const SamplerOptions&) const = default;
  bool greedy() const { return temperature < 1e-6; }  // smaller temperatures would overflow in float32
};

struct Draw {
  Tensor token;     // [B] int64
  Tensor log_prob;  // [B], of the distribution sampled from; NaN if any logit of the row is not finite
};

Draw sample(const Tensor& logits,  // [B, V]
            const SamplerOptions& options,
            const Tensor& uniform);  // [B] float64 in [0, 1); undefined for greedy sampling

}  // namespace palm
