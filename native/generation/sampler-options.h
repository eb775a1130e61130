// How a token is sampled from logits.
#pragma once
#include <cstdint>
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

}  // namespace palm
