#include "generation/row-filter.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <vector>

namespace palm {

namespace {

// A token in the order of a stable sort: the likeliest first, of equals the one with the lower id.
struct Ranked {
  float logit;
  int64_t token;

  bool operator<(const Ranked& other) const {
    return logit > other.logit || (logit == other.logit && token < other.token);
  }
};

constexpr int64_t kBuckets = 2048, kPerNat = 64;  // the last one has all that is less likely

class Row {
 public:
  Row(float* logits, float* weights, float top, int64_t width, double temperature)
      : logits_(logits),
        weights_(weights),
        top_(top),
        width_(width),
        scale_(kPerNat / static_cast<float>(temperature)) {}

  double total() const { return std::accumulate(weights_, weights_ + width_, 0.0); }
  float weight(int64_t token) const { return weights_[token]; }

  // Keeps the tokens, in order, before which the masses add up to less than `limit` > 0.
  template <class Mass>
  void keep(double limit, const Mass& mass) {
    std::array<double, kBuckets> masses{};
    for (int64_t i = 0; i < width_; ++i) masses[bucket(logits_[i])] += mass(i);
    double before = 0;
    int64_t crossed = 0;  // the bucket in which the limit is reached
    while (crossed < kBuckets && before + masses[crossed] < limit) before += masses[crossed++];
    if (crossed == kBuckets) return;
    std::vector<Ranked> near;
    for (int64_t i = 0; i < width_; ++i)
      if (bucket(logits_[i]) == crossed) near.push_back({logits_[i], i});
    std::ranges::sort(near, std::less());
    size_t kept = 0;
    while (kept < near.size() && before < limit) before += mass(near[kept++].token);
    const Ranked last = near[kept - 1];
    remove_if([&](int64_t i) { return last < Ranked{logits_[i], i}; });
  }

  template <class Removed>
  void remove_if(const Removed& removed) {
    for (int64_t i = 0; i < width_; ++i) {
      if (!removed(i)) continue;
      logits_[i] = static_cast<float>(kNeverDrawn);
      weights_[i] = 0;
    }
  }

 private:
  int64_t bucket(float logit) const {
    const float below = (top_ - logit) * scale_;
    return below < kBuckets - 1 ? static_cast<int64_t>(below) : kBuckets - 1;
  }

  float* const logits_;
  float* const weights_;
  const float top_;
  const int64_t width_;
  const float scale_;  // buckets per unit of logit
};

}  // namespace

void filter_row(float* logits, float* weights, float top, int64_t width, const SamplerOptions& options) {
  Row row(logits, weights, top, width, options.temperature);
  const auto weight = [&](int64_t token) { return static_cast<double>(row.weight(token)); };
  if (options.top_k) row.keep(static_cast<double>(*options.top_k), [](int64_t) { return 1.0; });
  if (options.top_p) row.keep(*options.top_p * row.total(), weight);
  if (options.min_p) row.remove_if([&](int64_t token) { return weight(token) < *options.min_p; });
}

}  // namespace palm
