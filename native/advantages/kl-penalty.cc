#include "advantages/kl-penalty.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

namespace palm {

Tensor kl_shaped_reward(const Tensor& log_ratio, const Tensor& score, const Tensor& response_mask, double weight) {
  // The tokens of a response are contiguous: the last one is the true entry followed by a false one or by the end.
  const Tensor next = at::cat(
      {response_mask.narrow(1, 1, response_mask.size(1) - 1), at::zeros_like(response_mask.narrow(1, 0, 1))}, 1);
  const Tensor last = (response_mask & next.logical_not()).to(log_ratio.scalar_type());
  return -weight * log_ratio + last * score.to(log_ratio.scalar_type()).unsqueeze(1);
}

}  // namespace palm
