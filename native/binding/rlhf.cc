// Table rows for reward models, policies and rollouts.
#include "rlhf/rollout.h"

#include <ATen/core/grad_mode.h>

#include "binding/bindings.h"
#include "rlhf/reward-model.h"

namespace palm::binding {

PALM_FIELDS(RewardInput, PALM_FIELD(sequence), PALM_FIELD(prompt_lengths), PALM_FIELD(prompt_mask), PALM_FIELD(lengths),
            PALM_FIELD(mask));

static LogProb policy_log_prob(Policy& policy, const Tensor& sequence, double temperature, Gradients gradients) {
  const Tensor tokens = policy.accept(sequence);
  at::AutoGradMode mode(gradients != Gradients::none);
  policy.prepare_gradients(gradients);
  return policy.log_prob(policy.hidden(tokens, gradients), tokens, temperature, gradients);
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
  table.now<
      &make<RewardModel, RewardModel, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>, int64_t, double, bool>>(
      "rewardModelCreate");
  table.job<&RewardModel::initialise>("rewardModelInitialise");
  table.now<&parameters_of<RewardModel>>("rewardModelParameters");
  table.job<&RewardModel::train>("rewardModelTrain");
  table.job<&RewardModel::forward>("rewardModelForward");
  table.job<&RewardModel::score>("rewardModelScore");
  table.job<&RewardModel::loss>("rewardModelLoss");
  table.job<&RewardModel::ranking_loss>("rewardModelRankingLoss");
  table.now<
      &make<Policy, Policy, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>, std::shared_ptr<LanguageModel>>>(
      "policyCreate");
  table.job<&policy_log_prob>("policyLogProb");
  table.job<&policy_reference_log_prob>("policyReferenceLogProb");
  table.job<&rollout_of<Policy>>("policyRollout");
  table.now<&make<ActorCritic, ActorCritic, std::shared_ptr<Policy>, std::shared_ptr<Scope>>>("actorCriticCreate");
  table.now<&parameters_of<ActorCritic>>("actorCriticParameters");
  table.job<&ActorCritic::initialise>("actorCriticInitialise");
  table.job<&actor_critic_evaluate>("actorCriticEvaluate");
  table.job<&rollout_of<ActorCritic>>("actorCriticRollout");
}

}  // namespace palm::binding
