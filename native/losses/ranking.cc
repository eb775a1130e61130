#include "losses/ranking.h"

#include <ATen/ops/log_sigmoid.h>

#include "base/masked.h"

namespace palm {

Loss ranking_loss(const Tensor& score, const Tensor& group, const Tensor& rank, std::optional<double> denominator) {
  const Tensor same = group.unsqueeze(1).eq(group.unsqueeze(0)).to(score.scalar_type());         // [B, B]
  const Tensor better = rank.unsqueeze(1).lt(rank.unsqueeze(0)).to(score.scalar_type()) * same;  // i over j
  const Tensor pairs_in_group = same.mv(better.sum(1));                                          // [B]
  const Tensor weight = better / pairs_in_group.clamp_min(1).unsqueeze(1);  // sums to 1 in every group with a pair
  const Tensor groups = weight.sum().clamp_min(1);
  const Tensor margin = score.unsqueeze(1) - score.unsqueeze(0);
  const Tensor total = -(at::log_sigmoid(margin) * weight).sum();

  const Tensor far = margin.detach();
  return {denominator ? total / divisor(*denominator) : total / groups,
          {{"accuracy", (far.gt(0) * weight).sum() / groups}, {"margin", (far * weight).sum() / groups}}};
}

}  // namespace palm
