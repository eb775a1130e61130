#include "losses/histogram.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <string>

#include "base/error.h"

namespace palm {

static double step_of(const Histogram& histogram) {
  return (histogram.max - histogram.min) / static_cast<double>(histogram.bins - 1);
}
static double lowest(const Histogram& histogram) { return histogram.min - step_of(histogram) / 2; }
static double highest(const Histogram& histogram) { return histogram.max + step_of(histogram) / 2; }

// Evenly spaced numbers from `first` on, a step apart.
static Tensor spaced(double first, int64_t count, const Histogram& histogram, const at::TensorOptions& options) {
  return at::arange(count, options) * step_of(histogram) + first;
}

void check_histogram(const Histogram& histogram) {
  if (histogram.bins < 2)
    throw Error(ErrorKind::argument, "histogram.bins", std::to_string(histogram.bins), "at least 2");
  const auto expect = [](bool good, const char* argument, double value, const char* expected) {
    if (!good) throw Error(ErrorKind::argument, argument, std::to_string(value), expected);
  };
  expect(std::isfinite(histogram.min), "histogram.min", histogram.min, "a finite number");
  expect(std::isfinite(histogram.max) && histogram.max > histogram.min, "histogram.max", histogram.max,
         "a finite number above min");
  expect(std::isfinite(histogram.sigma) && histogram.sigma > 0, "histogram.sigma", histogram.sigma,
         "a finite number > 0");
}

Tensor histogram_value(const Tensor& logits, const Histogram& histogram) {
  const Tensor centres = spaced(histogram.min, histogram.bins, histogram, logits.options());
  return (at::softmax(logits, -1) * centres).sum(-1);
}

static Tensor target_shares(const Tensor& target, const Histogram& histogram) {
  const Tensor held = target.clamp(lowest(histogram), highest(histogram)).unsqueeze(-1);
  const Tensor edges = spaced(lowest(histogram), histogram.bins + 1, histogram, target.options());
  const double width = std::sqrt(2.0) * histogram.sigma * step_of(histogram);
  const Tensor below = ((edges - held) / width).erf();  // 2 · (share below each edge) − 1
  const Tensor total = below.narrow(-1, histogram.bins, 1) - below.narrow(-1, 0, 1);
  return (below.narrow(-1, 1, histogram.bins) - below.narrow(-1, 0, histogram.bins)) / total;
}

Tensor histogram_error(const Tensor& logits, const Tensor& target, const Histogram& histogram) {
  const Tensor shares = target_shares(target.to(logits.scalar_type()), histogram).detach();
  return -(shares * at::log_softmax(logits, -1)).sum(-1);
}

Tensor beyond_edges(const Tensor& target, const Histogram& histogram) {
  return target.lt(lowest(histogram)).logical_or(target.gt(highest(histogram)));
}

}  // namespace palm
