// Rows about reward models, actor and critic, and experience.
#include "rlhf/rollout.h"

#include <ATen/ops/tensor.h>

#include "binding/bindings.h"

namespace palm::binding {

PALM_FIELDS(RewardInput, PALM_FIELD(sequence), PALM_FIELD(prompt_lengths), PALM_FIELD(prompt_mask), PALM_FIELD(lengths),
            PALM_FIELD(mask));
PALM_FIELDS(Rollout, PALM_FIELD(sequence), PALM_FIELD(response_mask), PALM_FIELD(sampler_log_prob),
            PALM_FIELD(rollout_log_prob), PALM_FIELD(reference_log_prob), PALM_FIELD(rollout_value));
PALM_FIELDS(JudgeOptions, PALM_FIELD(kl_weight), PALM_FIELD(gamma), PALM_FIELD(lambda), PALM_FIELD(whiten));
PALM_FIELDS(Judgement, PALM_FIELD(reward), PALM_FIELD(advantage), PALM_FIELD(returns), PALM_FIELD(metrics));

static Rollout rollout_all(ActorCritic& actor_critic, const Tensor& prompts, const Tensor& lengths,
                           const GenerateOptions& options, const std::vector<std::vector<int64_t>>& pieces,
                           bool with_reference, bool recompute, const std::shared_ptr<Cancel>& cancel) {
  return rollout(actor_critic, prompts, lengths, options, pieces, with_reference, recompute, cancel.get());
}

static Experience rollout_rows(const Experience& all, const std::vector<int64_t>& rows) {
  expect_batch(all);
  const Tensor here = at::tensor(rows, at::kLong);
  expect_range(here, "rows", 0, all.sequence.size(0), "Rows count from 0.");
  const Tensor index = here.to(all.sequence.device());
  Experience some = all;
  Fields<Experience>::visit(some, [&](const char*, Tensor& member) { member = member.index_select(0, index); });
  return some;
}

static Judgement judge_all(const Rollout& rollout, const Tensor& score, const JudgeOptions& options) {
  expect_batch(rollout);
  expect_floating(score, "score");
  return judge(rollout, score, options);
}

static Evaluation evaluate_all(ActorCritic& actor_critic, const Tensor& sequence, double temperature,
                               Gradients gradients, bool critic_only) {
  return actor_critic.evaluate(actor_critic.accept(sequence), temperature, gradients, critic_only);
}

void rlhf_rows(Table& table) {
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
  table.now<&make<ActorCritic, ActorCritic, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>,
                  std::shared_ptr<Scope>, std::shared_ptr<LanguageModel>>>("actorCriticCreate");
  table.now<&parameters_of<ActorCritic>>("actorCriticParameters");
  table.job<&ActorCritic::initialise>("actorCriticInitialise");
  table.job<&evaluate_all>("actorCriticEvaluate");
  table.job<&rollout_all>("actorCriticRollout");
  table.job<&rollout_rows>("rolloutRows");
  table.job<&judge_all>("judge");
}

}  // namespace palm::binding
