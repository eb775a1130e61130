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
  const Tensor least = std::get<0>(logits.topk(std::min(k, logits.size(-1)), -1)).narrow(-1, -1, 1);
  const Tensor larger = logits.gt(least), equal = logits.eq(least);
  const Tensor places = k - larger.sum(-1, true);  // left for those that are equal to the least
  return logits.masked_fill((larger | (equal & equal.cumsum(-1).le(places))).logical_not(), kRemoved);
}

Tensor top_p(const Tensor& logits, double p) {
  const auto [sorted, index] = logits.sort(/*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const Tensor weight = (sorted - sorted.narrow(-1, 0, 1)).to(at::kDouble).exp();
  const Tensor before = weight.cumsum(-1) - weight;  // 0 for the most likely token, which is always kept
  return at::empty_like(logits).scatter_(-1, index, sorted.masked_fill(before.ge(p * weight.sum(-1, true)), kRemoved));
}

Tensor min_p(const Tensor& logits, double p) {
  const Tensor probability = at::softmax(logits, -1);
  return logits.masked_fill(probability.lt(probability.amax(-1, true) * p), kRemoved);
}

}  // namespace palm
