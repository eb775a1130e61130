#include "losses/grpo.h"

#include "base/masked.h"
#include "losses/policy.h"

namespace palm {

static Tensor aggregated(const Tensor& values, const Tensor& mask, Aggregation aggregation,
                         std::optional<double> denominator) {
  if (aggregation == Aggregation::token_mean) return masked_mean(values, mask, denominator);
  const Tensor answered = mask.any(1);
  return masked_mean(masked_mean_rows(values, mask), answered, denominator);
}

Loss grpo_loss(const Tensor& log_prob, const Tensor& entropy, const Tensor& rollout_log_prob, const Tensor& advantage,
               const Tensor& response_mask, const GrpoOptions& options, std::optional<double> denominator) {
  const auto mean = [&](const Tensor& x) { return aggregated(x, response_mask, options.aggregation, denominator); };
  const auto share = [&](const Tensor& x) { return mean(x.to(log_prob.scalar_type())); };
  const ClippedObjective policy =
      clipped_objective(log_prob, rollout_log_prob, advantage, options.clip_low, options.clip_high);
  const Tensor loss = -mean(policy.objective);
  const Tensor low = policy.ratio.lt(1 - options.clip_low) & advantage.lt(0);
  const Tensor high = policy.ratio.gt(1 + options.clip_high) & advantage.gt(0);
  return {loss,
          {{"policy_loss", loss},
           {"entropy", mean(entropy)},
           {"approx_kl", mean(approx_kl(policy))},
           {"clip_fraction", share(low | high)},
           {"clipped_low", share(low)},
           {"clipped_high", share(high)},
           {"max_log_ratio", max_log_ratio(log_prob, rollout_log_prob, response_mask)}}};
}

}  // namespace palm
