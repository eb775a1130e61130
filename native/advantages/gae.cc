#include "advantages/gae.h"

#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "base/masked.h"

namespace palm {

// `trace` is gamma · lambda, a number or a tensor [B].
template <class Trace>
static Tensor traced(const Tensor& reward, const Tensor& value, const Tensor& response_mask, double gamma,
                     const Trace& trace) {
  const Tensor advantage = at::zeros_like(value);
  Tensor next_value = at::zeros_like(value.select(1, 0)), next_advantage = next_value;
  for (int64_t t = value.size(1) - 1; t >= 0; --t) {
    const Tensor now = value.select(1, t), here = response_mask.select(1, t);
    const Tensor estimate = reward.select(1, t) + gamma * next_value - now + trace * next_advantage;
    next_advantage = at::where(here, estimate, next_advantage);
    next_value = at::where(here, now, next_value);
    advantage.select(1, t).copy_(next_advantage);
  }
  return within(advantage, response_mask);
}

Tensor gae(const Tensor& reward, const Tensor& value, const Tensor& response_mask, double gamma, double lambda) {
  return traced(reward, value, response_mask, gamma, gamma * lambda);
}

Tensor gae(const Tensor& reward, const Tensor& value, const Tensor& response_mask, double gamma, const Tensor& lambda) {
  return traced(reward, value, response_mask, gamma, gamma * lambda);
}

Tensor length_adaptive_lambda(const Tensor& response_mask, double alpha, at::ScalarType dtype) {
  const Tensor length = response_mask.sum(1).clamp_min(1).to(dtype);
  return (1 - 1 / (alpha * length)).clamp_min(0);
}

}  // namespace palm
