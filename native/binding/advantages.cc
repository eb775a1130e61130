// Table rows that compute advantages from scores.
#include "advantages/group.h"
#include "advantages/ppo.h"
#include "binding/bindings.h"

namespace palm::binding {

PALM_FIELDS(PpoAdvantageOptions, PALM_FIELD(kl_weight), PALM_FIELD(gamma), PALM_FIELD(lambda), PALM_FIELD(whiten));
PALM_FIELDS(PpoAdvantages, PALM_FIELD(reward), PALM_FIELD(advantage), PALM_FIELD(returns), PALM_FIELD(metrics));
PALM_FIELDS(GroupOptions, PALM_FIELD(samples_per_prompt), PALM_FIELD(kl_weight), PALM_FIELD(scale));
PALM_FIELDS(GroupAdvantages, PALM_FIELD(advantage), PALM_FIELD(metrics));

static PpoAdvantages judge(const ValuedRollout& rollout, const Tensor& score, const PpoAdvantageOptions& options) {
  expect_batch(rollout);
  expect_floating(score, "score");
  return ppo_advantages(rollout.sampler_log_prob, rollout.rollout_log_prob, rollout.reference_log_prob,
                        rollout.rollout_value, rollout.response_mask, score, options);
}

static GroupAdvantages group_advantages_of(const Rollout& rollout, const Tensor& score, const GroupOptions& options) {
  expect_batch(rollout);
  expect_floating(score, "score");
  return group_advantages(rollout.sampler_log_prob, rollout.rollout_log_prob, rollout.reference_log_prob,
                          rollout.response_mask, score, options);
}

void advantage_rows(Table& table) {
  table.job<&judge>("judge");
  table.job<&group_advantages_of>("groupAdvantages");
}

}  // namespace palm::binding
