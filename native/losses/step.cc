#include "losses/step.h"

#include <ATen/ops/log_sigmoid.h>

#include "base/masked.h"

namespace palm {

Loss step_loss(const Tensor& logit, const Tensor& label, std::optional<double> denominator) {
  const Tensor labelled = label.ge(0), known = within(logit, labelled);
  const auto mean = [&](const Tensor& x) { return masked_mean(x, labelled, denominator); };
  const Tensor sign = label.clamp_min(0).to(logit.scalar_type()) * 2 - 1;
  const Tensor side = (known * sign).detach();
  const Tensor right = (side.gt(0).to(logit.scalar_type()) + side.ge(0).to(logit.scalar_type())) / 2;
  return {-mean(at::log_sigmoid(known * sign)), {{"accuracy", mean(right)}, {"probability", mean(known.sigmoid())}}};
}

}  // namespace palm
