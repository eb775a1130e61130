// Table rows for reward models and the losses that train them, policies and rollouts.
#include "rlhf/rollout.h"

#include <ATen/core/grad_mode.h>

#include "binding/bindings.h"
#include "losses/step.h"
#include "rlhf/reward-model.h"

namespace palm::binding {

PALM_FIELDS(RewardInput, PALM_FIELD(sequence), PALM_FIELD(prompt_lengths), PALM_FIELD(prompt_mask), PALM_FIELD(lengths),
            PALM_FIELD(mask));

template <>
struct Js<Pooling> {
  static Pooling from(const Napi::Value& value) {
    const std::string wanted = Js<std::string>::from(value);
    if (wanted == "all") return Pooling::all;
    if (wanted == "response") return Pooling::response;
    if (wanted == "last") return Pooling::last;
    throw Error(ErrorKind::argument, "pooling", wanted, "all, response or last");
  }
};
PALM_FIELDS(RankingOptions, PALM_FIELD(margin), PALM_FIELD(none_good), PALM_FIELD(label_smoothing),
            PALM_FIELD(center_weight), PALM_FIELD(l2_weight), PALM_FIELD(anchor_weight), PALM_FIELD(tie_width),
            PALM_FIELD(plackett_luce));

static Loss ranking_loss_of(const Tensor& score, const Tensor& groups, const Tensor& ranks,
                            const RankingOptions& options, std::optional<double> denominator) {
  expect_floating(score, "score");
  expect_shape(score, "score", {-1});
  expect_shape(groups, "groups", score.sizes());
  expect_shape(ranks, "ranks", score.sizes());
  return ranking_loss(score, groups, ranks, options, denominator);
}

static Loss step_loss_of(const Tensor& logit, const Tensor& label, std::optional<double> denominator) {
  expect_floating(logit, "logit");
  expect_shape(logit, "logit", {-1, -1});
  expect_shape(label, "label", logit.sizes());
  return step_loss(logit, to_ids(label, "label", logit.device()), denominator);
}

static LogProb policy_log_prob(Policy& policy, const Tensor& sequence, double temperature, Gradients gradients) {
  const Tensor tokens = policy.accept(sequence);
  at::AutoGradMode mode(gradients != Gradients::none);
  policy.prepare_gradients(gradients);
  return policy.log_prob(policy.hidden(tokens, gradients), tokens, temperature, gradients);
}

static Comparison policy_compare(Policy& policy, const Tensor& sequence, double temperature, Gradients gradients) {
  const Tensor tokens = policy.accept(sequence);
  at::AutoGradMode mode(gradients != Gradients::none);
  policy.prepare_gradients(gradients);
  return policy.compare(tokens, temperature, gradients);
}

static Tensor policy_reference_log_prob(Policy& policy, const Tensor& sequence, double temperature) {
  return policy.reference_log_prob(policy.accept(sequence), temperature);
}

static Evaluation actor_critic_evaluate(ActorCritic& actor_critic, const Tensor& sequence, double temperature,
                                        Gradients gradients, bool critic_only) {
  return actor_critic.evaluate(actor_critic.actor().accept(sequence), temperature, gradients, critic_only);
}

static std::vector<NamedParameter> ilql_targets(const IlqlPolicy& policy) { return named(policy.targets()); }

template <class Who>
static auto rollout_of(Who& who, const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                       const std::vector<std::vector<int64_t>>& pieces, bool with_reference, bool recompute,
                       const std::shared_ptr<Cancel>& cancel) {
  const RolloutEvaluation evaluation{.pieces = pieces, .with_reference = with_reference, .recompute = recompute};
  return rollout(who, prompts, lengths, options, evaluation, cancel.get());
}

void rlhf_rows(Table& table) {
  table.now<&make<IlqlPolicy, IlqlPolicy, std::shared_ptr<Policy>>>("ilqlPolicyCreate");
  table.now<&parameters_of<IlqlPolicy>>("ilqlPolicyParameters");
  table.now<&ilql_targets>("ilqlPolicyTargets");
  table.job<&IlqlPolicy::initialise>("ilqlPolicyInitialise");
  table.job<&IlqlPolicy::evaluate>("ilqlPolicyEvaluate");
  table.job<&IlqlPolicy::sync>("ilqlPolicySync");
  table.now<&make<IlqlReadout, Readout, std::shared_ptr<IlqlPolicy>, double>>("ilqlReadoutCreate");
  table.now<&make<FlowrlPolicy, FlowrlPolicy, std::shared_ptr<Policy>>>("flowrlPolicyCreate");
  table.now<&parameters_of<FlowrlPolicy>>("flowrlPolicyParameters");
  table.job<&FlowrlPolicy::initialise>("flowrlPolicyInitialise");
  table.job<&FlowrlPolicy::evaluate>("flowrlPolicyEvaluate");
  table.now<&make<RewardModel, RewardModel, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>, int64_t, double,
                  Pooling>>("rewardModelCreate");
  table.job<&RewardModel::initialise>("rewardModelInitialise");
  table.now<&parameters_of<RewardModel>>("rewardModelParameters");
  table.job<&RewardModel::train>("rewardModelTrain");
  table.job<&RewardModel::forward>("rewardModelForward");
  table.job<&RewardModel::score>("rewardModelScore");
  table.job<&RewardModel::loss>("rewardModelLoss");
  table.job<&RewardModel::ranking_loss>("rewardModelRankingLoss");
  table.job<&RewardModel::set_shift>("rewardModelSetShift");
  table.job<&RewardModel::token_scores>("rewardModelTokenScores");
  table.job<&RewardModel::step_loss>("rewardModelStepLoss");
  table.job<&ranking_loss_of>("rankingLoss");
  table.job<&step_loss_of>("stepLoss");
  table.now<
      &make<Policy, Policy, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>, std::shared_ptr<LanguageModel>>>(
      "policyCreate");
  table.job<&policy_log_prob>("policyLogProb");
  table.job<&policy_reference_log_prob>("policyReferenceLogProb");
  table.job<&policy_compare>("policyCompare");
  table.job<&rollout_of<Policy>>("policyRollout");
  table.now<&make<ActorCritic, ActorCritic, std::shared_ptr<Policy>, std::shared_ptr<Scope>, std::optional<Histogram>>>(
      "actorCriticCreate");
  table.now<&parameters_of<ActorCritic>>("actorCriticParameters");
  table.job<&ActorCritic::initialise>("actorCriticInitialise");
  table.job<&actor_critic_evaluate>("actorCriticEvaluate");
  table.job<&rollout_of<ActorCritic>>("actorCriticRollout");
}

}  // namespace palm::binding
