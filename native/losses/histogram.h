// A value as a distribution over bins (Imani & White 2018; HL-Gauss, Farebrother et al. 2024). The centres of the bins go
// from `min` to `max` in equal steps; each bin reaches half a step to both sides.
//
//   value      = Σ softmax(logits)[k] · centre[k]
//   target[k]  = the share of a normal distribution around the return that lies in bin k, of all that lies in the bins
//   error      = −Σ target[k] · log softmax(logits)[k]
//
// A return beyond the outer edges counts as one at the edge.
#pragma once
#include "base/tensor.h"

namespace palm {

struct Histogram {
  int64_t bins;     // at least 2
  double min, max;  // centres of the first and the last bin
  double sigma;     // standard deviation of targets, in steps
};

void check_histogram(const Histogram& histogram);

Tensor histogram_value(const Tensor& logits,         // [..., bins]
                       const Histogram& histogram);  // → [...]

Tensor histogram_error(const Tensor& logits,         // [..., bins]
                       const Tensor& target,         // [...]
                       const Histogram& histogram);  // → [...]

// Whether a return [...] lies beyond the outer edges.
Tensor beyond_edges(const Tensor& target, const Histogram& histogram);

}  // namespace palm
