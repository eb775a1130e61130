#include "losses/ppo.h"

#include "base/masked.h"
#include "losses/policy.h"
#include "losses/value.h"

namespace palm {

Loss ppo_loss(const Tensor& log_prob, const Tensor& entropy, const Tensor& value, const Tensor& rollout_log_prob,
              const Tensor& rollout_value, const Tensor& advantage, const Tensor& returns, const Tensor& response_mask,
              const PpoOptions& options, std::optional<double> denominator) {
  const auto mean = [&](const Tensor& x) { return masked_mean(x, response_mask, denominator); };
  const ClippedObjective policy = clipped_objective(log_prob, rollout_log_prob, advantage, options.clip, options.clip);
  const Tensor objective =
      options.dual_clip ? dual_clipped(policy.objective, advantage, *options.dual_clip) : policy.objective;
  const Tensor policy_loss = -mean(objective);
  const Tensor value_error = options.histogram ? histogram_error(value, returns, *options.histogram)
                                               : clipped_value_error(value, rollout_value, returns, options.value_clip);
  const Tensor value_loss = mean(value_error);
  const Tensor mean_entropy = mean(entropy);
  const Tensor loss = policy_loss + options.value_weight * value_loss - options.entropy_weight * mean_entropy;

  const auto share = [&](const Tensor& x) { return mean(x.to(log_prob.scalar_type())); };
  const std::pair<const char*, Tensor> limited =
      options.histogram ? std::pair{"value_beyond_share", share(beyond_edges(returns, *options.histogram))}
                        : std::pair{"value_clip_fraction", share((value - rollout_value).abs().gt(options.value_clip))};
  return {loss,
          {{"policy_loss", policy_loss},
           {"value_loss", value_loss},
           {"entropy", mean_entropy},
           {"approx_kl", mean(approx_kl(policy))},
           {"clip_fraction", share((policy.ratio - 1).abs().gt(options.clip))},
           limited,
           {"max_log_ratio", max_log_ratio(log_prob, rollout_log_prob, response_mask)}}};
}

}  // namespace palm
