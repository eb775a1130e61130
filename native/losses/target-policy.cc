#include "losses/target-policy.h"

#include <ATen/ops/where.h>

#include "base/masked.h"
#include "base/shape.h"
#include "losses/policy.h"

namespace palm {

static Tensor standardised(const Tensor& group) {
  const Tensor centred = group - group.mean(1, /*keepdim=*/true);
  const Tensor deviation = group.std(1, /*unbiased=*/false, /*keepdim=*/true);
  return at::where(deviation.lt(1e-6), centred, centred / deviation);
}

Loss target_policy_loss(const Tensor& log_prob, const Tensor& entropy, const Tensor& rollout_log_prob,
                        const Tensor& response_mask, const Tensor& score, const TargetOptions& options,
                        std::optional<double> denominator, std::optional<double> tokens) {
  const auto grouped = [&](const Tensor& of_rows) { return by_group(of_rows, options.samples_per_prompt); };
  const Tensor now = within(log_prob, response_mask), then = within(rollout_log_prob, response_mask);
  const Tensor z = standardised(grouped(score.to(now.options())));
  const Tensor log_target = (grouped(then.sum(1)).log_softmax(1) + z / options.eta).log_softmax(1);
  const Tensor target = log_target.exp();
  const double groups = divisor(denominator.value_or(static_cast<double>(z.size(0))));
  const Tensor loss = -(target * grouped(now.sum(1)).log_softmax(1)).sum() / groups;

  const Tensor log_ratio = (now - then).clamp(-20, 20);
  return {loss,
          {{"policy_loss", loss},
           {"target_entropy", -(target * log_target).sum() / groups},
           {"entropy", masked_mean(entropy, response_mask, tokens)},
           {"approx_kl", masked_mean(log_ratio.exp() - 1 - log_ratio, response_mask, tokens)},
           {"max_log_ratio", max_log_ratio(now, then, response_mask)}}};
}

}  // namespace palm
