#include "advantages/gae.h"

#include <ATen/ops/zeros_like.h>

namespace palm {

Tensor gae(const Tensor& reward, const Tensor& value, const Tensor& response_mask, double gamma, double lambda) {
  const Tensor advantage = at::zeros_like(value);
  const Tensor mask = response_mask.to(value.scalar_type());
  Tensor next_value = at::zeros_like(value.select(1, 0)), next_advantage = next_value;
  for (int64_t t = value.size(1) - 1; t >= 0; --t) {
    const Tensor now = value.select(1, t), here = mask.select(1, t);
    next_advantage = (reward.select(1, t) + gamma * next_value - now + gamma * lambda * next_advantage) * here;
    next_value = now * here;
    advantage.select(1, t).copy_(next_advantage);
  }
  return advantage;
}

}  // namespace palm
