#include "sampling/sampler.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "sampling/filters.h"

namespace palm {

Draw sample(const Tensor& logits, const SamplerOptions& options, at::Generator& generator) {
  Tensor filtered = logits.scalar_type() == at::kBFloat16 ? logits.to(at::kFloat) : logits;
  if (options.temperature == 0) {
    return {filtered.argmax(-1), at::zeros({logits.size(0)}, filtered.options())};
  }
  filtered = filtered / options.temperature;
  if (options.top_k) filtered = top_k(filtered, *options.top_k);
  if (options.top_p) filtered = top_p(filtered, *options.top_p);
  if (options.min_p) filtered = min_p(filtered, *options.min_p);
  const Tensor log_prob = at::log_softmax(filtered, -1);

  // argmax(log p − log e) with e ~ Exp(1) is a draw from p (the Gumbel trick), without a cumulative sum.
  const Tensor noise = at::empty_like(log_prob).exponential_(1, generator).log_();
  const Tensor contest = (log_prob - noise).masked_fill_(log_prob.isneginf(), -std::numeric_limits<double>::infinity());
  const Tensor token = contest.argmax(-1);
  return {token, log_prob.gather(-1, token.unsqueeze(-1)).squeeze(-1)};
}

}  // namespace palm
