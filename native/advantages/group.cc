#include "advantages/group.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include "base/error.h"
#include "base/masked.h"
#include "base/shape.h"

namespace palm {

// [G, n] of values [G · n].
static Tensor by_group(const Tensor& values, int64_t samples_per_prompt) {
  if (samples_per_prompt < 1 || values.size(0) % samples_per_prompt != 0)
    throw Error(ErrorKind::argument, "samplesPerPrompt", std::to_string(samples_per_prompt),
                "a divisor of the number of rows, " + std::to_string(values.size(0)));
  return values.view({-1, samples_per_prompt});
}

static Tensor all_equal(const Tensor& group) { return group.amax(1, true).eq(group.amin(1, true)); }

// [G, 1]; 0 in groups of one.
static Tensor deviation(const Tensor& group) {
  return group.size(1) > 1 ? group.std(1, /*unbiased=*/true, /*keepdim=*/true) : at::zeros_like(group);
}

Tensor group_advantage(const Tensor& reward, int64_t samples_per_prompt, bool scale) {
  const Tensor group = by_group(reward, samples_per_prompt);
  const Tensor centred = (group - group.mean(1, /*keepdim=*/true)).masked_fill(all_equal(group), 0);
  return (scale ? centred / (deviation(group) + 1e-4) : centred).flatten();
}

GroupAdvantages group_advantages(const Tensor& sampler_log_prob, const Tensor& rollout_log_prob,
                                 const Tensor& reference_log_prob, const Tensor& response_mask, const Tensor& score,
                                 const GroupOptions& options) {
  at::NoGradGuard no_grad;
  expect_shape(score, "score", {response_mask.size(0)});
  const Tensor given = score.to(rollout_log_prob.options());
  const Tensor kl = within(rollout_log_prob - reference_log_prob, response_mask).sum(1);
  const Tensor reward = given - options.kl_weight * kl;
  const Tensor of_row = group_advantage(reward, options.samples_per_prompt, options.scale);
  const Tensor scores = by_group(given, options.samples_per_prompt),
               rewards = by_group(reward, options.samples_per_prompt);
  return {within(of_row.unsqueeze(1).expand_as(response_mask), response_mask),
          {{"kl", kl.mean()},
           {"score", given.mean()},
           {"reward", reward.mean()},
           {"score_std", deviation(scores).mean()},
           {"zero_std_share", all_equal(rewards).to(given.scalar_type()).mean()},
           {"response_length", response_mask.sum(1).to(given.scalar_type()).mean()},
           {"sampler_gap", within(sampler_log_prob - rollout_log_prob, response_mask).abs().max()}}};
}

}  // namespace palm
