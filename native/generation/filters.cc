#include "generation/filters.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <limits>

namespace palm {

constexpr double kRemoved = -std::numeric_limits<double>::infinity();

Tensor top_k(const Tensor& logits, int64_t k) {
  const auto [largest, index] = logits.topk(std::min(k, logits.size(-1)), -1);
  return at::empty_like(logits).fill_(kRemoved).scatter_(-1, index, largest);
}

Tensor top_p(const Tensor& logits, double p) {
  const auto [sorted, index] = logits.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const Tensor probability = at::softmax(sorted, -1);
  const Tensor before = probability.cumsum(-1) - probability;  // 0 for the most likely token, which is always kept
  return at::empty_like(logits).scatter_(-1, index, sorted.masked_fill(before.ge(p), kRemoved));
}

Tensor min_p(const Tensor& logits, double p) {
  const Tensor probability = at::softmax(logits, -1);
  return logits.masked_fill(probability.lt(probability.amax(-1, true) * p), kRemoved);
}

}  // namespace palm
