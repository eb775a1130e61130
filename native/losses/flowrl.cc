#include "losses/flowrl.h"

#include "base/masked.h"
#include "losses/policy.h"

namespace palm {

// Measured from the first of a group, equal scores are exactly 0: rounding cannot make their deviation positive.
static Tensor standardised(const Tensor& group) {
  const Tensor shifted = group - group.narrow(1, 0, 1);
  return (shifted - shifted.mean(1, /*keepdim=*/true)) / (shifted.std(1, /*unbiased=*/true, /*keepdim=*/true) + 1e-6);
}

Loss flowrl_loss(const FlowrlInputs& in, const FlowrlOptions& options, std::optional<double> denominator,
                 std::optional<double> tokens) {
  const Tensor& mask = in.response_mask;
  const Tensor now = within(in.log_prob, mask), then = within(in.rollout_log_prob, mask);
  const Tensor has_response = mask.any(1);
  const auto of_rows = [&](const Tensor& x) { return masked_mean(x.to(now.options()), has_response, denominator); };

  const Tensor r = standardised(by_group(in.score.to(now.options()), options.samples_per_prompt)).flatten();
  const Tensor above_reference = masked_mean_rows(now - in.reference_log_prob, mask);
  const Tensor balance = in.log_partition + above_reference - options.beta * r;
  const Tensor ratio = masked_mean_rows(now - then, mask).clamp(-20, 20).exp().detach();
  const Tensor weight = ratio.clamp(1 - options.clip_low, 1 + options.clip_high);
  const Tensor loss = of_rows(weight * balance.square());

  const Tensor log_ratio = (now - then).clamp(-20, 20);
  return {loss,
          {{"policy_loss", loss},
           {"balance", of_rows(balance)},
           {"log_partition", of_rows(in.log_partition)},
           {"weight", of_rows(weight)},
           {"clip_fraction", of_rows(ratio.ne(weight))},
           {"entropy", masked_mean(in.entropy, mask, tokens)},
           {"approx_kl", masked_mean(log_ratio.exp() - 1 - log_ratio, mask, tokens)},
           {"max_log_ratio", max_log_ratio(now, then, mask)}}};
}

}  // namespace palm
