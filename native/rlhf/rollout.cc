#include "rlhf/rollout.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

namespace palm {

static Rollout sampled(Policy& policy, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                       const Cancel* cancel) {
  policy.expect_evaluation_mode();
  const Generation drawn = generate(policy.model(), policy.scope(), prompts, lengths, options, cancel);
  return {.sequence = drawn.sequences,
          .response_mask = drawn.response_mask,
          .sampler_log_prob = drawn.log_probs,
          .rollout_log_prob = drawn.log_probs.clone(),
          .reference_log_prob = drawn.log_probs.clone()};
}

// Processes `all` in pieces: each(tokens [b, T], from, put), where put(target [B, T], values [b, T]) writes the rows of
// the piece and `from` is what policy and reference share. `each` returns the policy's log-probs, or undefined if they
// are not recomputed.
template <class Each>
static void evaluate_pieces(Policy& policy, Rollout& all, const RolloutEvaluation& evaluation, double temperature,
                            const Cancel* cancel, const Each& each) {
  for (const auto& piece : evaluation.pieces) {
    if (cancel && *cancel) break;
    const Tensor rows = at::tensor(piece, all.sequence.options());
    const Tensor tokens = all.sequence.index_select(0, rows);
    const auto put = [&](const Tensor& target, const Tensor& values) { target.index_copy_(0, rows, values); };
    const Midway from = policy.shared(tokens);
    if (const Tensor log_prob = each(tokens, from, put); log_prob.defined()) {
      put(all.rollout_log_prob, log_prob);
      put(all.reference_log_prob, log_prob);
    }
    if (evaluation.with_reference) put(all.reference_log_prob, policy.reference_log_prob(tokens, temperature, from));
  }
}

static void clear_outside(const Tensor& response_mask, std::initializer_list<Tensor*> all) {
  for (Tensor* values : all) *values = values->masked_fill(response_mask.logical_not(), 0);
}

Rollout rollout(Policy& policy, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                const RolloutEvaluation& evaluation, const Cancel* cancel) {
  at::NoGradGuard no_grad;
  Rollout all = sampled(policy, prompts, lengths, options, cancel);
  const auto each = [&](const Tensor& tokens, const Midway& from, const auto&) {
    if (!evaluation.recompute) return Tensor();
    const Tensor hidden = policy.hidden(tokens, Gradients::none, from);
    return policy.log_prob(hidden, tokens, options.temperature, Gradients::none).log_prob;
  };
  evaluate_pieces(policy, all, evaluation, options.temperature, cancel, each);
  clear_outside(all.response_mask, {&all.rollout_log_prob, &all.reference_log_prob});
  return all;
}

ValuedRollout rollout(ActorCritic& actor_critic, const Tensor& prompts, const Tensor& lengths,
                      const GenerateOptions& options, const RolloutEvaluation& evaluation, const Cancel* cancel) {
  at::NoGradGuard no_grad;
  Policy& actor = actor_critic.actor();
  ValuedRollout all{sampled(actor, prompts, lengths, options, cancel), {}};
  all.rollout_value = at::zeros_like(all.sampler_log_prob);
  const auto each = [&](const Tensor& tokens, const Midway& from, const auto& put) {
    if (!evaluation.recompute) {
      put(all.rollout_value, actor_critic.value(tokens, from));
      return Tensor();
    }
    const Evaluation now =
        actor_critic.evaluate(tokens, options.temperature, Gradients::none, /*critic_only=*/false, from);
    put(all.rollout_value, now.value);
    return now.log_prob;
  };
  evaluate_pieces(actor, all, evaluation, options.temperature, cancel, each);
  clear_outside(all.response_mask, {&all.rollout_log_prob, &all.reference_log_prob, &all.rollout_value});
  return all;
}

}  // namespace palm
