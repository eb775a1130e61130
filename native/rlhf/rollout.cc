#include "rlhf/rollout.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "advantages/gae.h"
#include "advantages/kl-penalty.h"
#include "base/masked.h"
#include "base/shape.h"

namespace palm {

static Tensor within(const Tensor& values, const Tensor& mask) { return values.masked_fill(mask.logical_not(), 0); }

Rollout rollout(ActorCritic& actor_critic, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                const std::vector<std::vector<int64_t>>& pieces, bool with_reference, bool recompute,
                const Cancel* cancel) {
  at::NoGradGuard no_grad;
  actor_critic.expect_evaluation_mode();
  const Generation drawn = generate(actor_critic.trunk(), actor_critic.actor(), prompts, lengths, options, cancel);
  Rollout all{.sequence = drawn.sequences,
              .response_mask = drawn.response_mask,
              .sampler_log_prob = drawn.log_probs,
              .rollout_log_prob = drawn.log_probs.clone(),
              .reference_log_prob = drawn.log_probs.clone(),
              .rollout_value = at::zeros_like(drawn.log_probs)};
  for (const auto& piece : pieces) {
    if (cancel && *cancel) break;
    const Tensor rows = at::tensor(piece, all.sequence.options());
    const Tensor sequence = all.sequence.index_select(0, rows);
    const auto put = [&](const Tensor& values, const Tensor& some) { values.index_copy_(0, rows, some); };
    if (recompute) {
      const Evaluation now = actor_critic.evaluate(sequence, options.temperature, Gradients::none);
      put(all.rollout_log_prob, now.log_prob);
      put(all.reference_log_prob, now.log_prob);
      put(all.rollout_value, now.value);
    } else {
      put(all.rollout_value, actor_critic.value(sequence));
    }
    if (with_reference) put(all.reference_log_prob, actor_critic.reference_log_prob(sequence, options.temperature));
  }
  for (Tensor* values : {&all.rollout_log_prob, &all.reference_log_prob, &all.rollout_value})
    *values = within(*values, all.response_mask);
  return all;
}

Judgement judge(const Rollout& rollout, const Tensor& score, const JudgeOptions& options) {
  at::NoGradGuard no_grad;
  const Tensor& mask = rollout.response_mask;
  expect_shape(score, "score", {mask.size(0)});
  const Tensor given = score.to(rollout.rollout_value.options());
  const Tensor log_ratio = rollout.rollout_log_prob - rollout.reference_log_prob;
  Judgement out;
  out.reward = kl_shaped_reward(log_ratio, given, mask, options.kl_weight);
  out.advantage = gae(out.reward, rollout.rollout_value, mask, options.gamma, options.lambda);
  out.returns = within(out.advantage + rollout.rollout_value, mask);

  const Tensor unexplained = masked_variance(out.returns - rollout.rollout_value, mask);
  const Tensor explained = 1 - unexplained / masked_variance(out.returns, mask).clamp_min(1e-8);
  const Tensor gap = within(rollout.sampler_log_prob - rollout.rollout_log_prob, mask).abs();
  out.metrics = {{"kl", log_ratio.sum(1).mean()},
                 {"score", given.mean()},
                 {"reward", out.reward.sum(1).mean()},
                 {"explained_variance", explained},
                 {"response_length", mask.sum(1).to(given.scalar_type()).mean()},
                 {"sampler_gap", gap.max()}};
  if (options.whiten) out.advantage = whiten(out.advantage, mask);
  return out;
}

}  // namespace palm
