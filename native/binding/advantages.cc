// Table rows that compute advantages from scores.
#include "advantages/group.h"
#include "advantages/ppo.h"
#include "advantages/returns.h"
#include "binding/losses.h"

namespace palm::binding {

PALM_FIELDS(PpoAdvantageOptions, PALM_FIELD(kl_weight), PALM_FIELD(gamma), PALM_FIELD(lambda), PALM_FIELD(whiten),
            PALM_FIELD(length_adaptive));
PALM_FIELDS(PpoAdvantages, PALM_FIELD(reward), PALM_FIELD(advantage), PALM_FIELD(returns), PALM_FIELD(metrics));

template <>
struct Js<Estimator> {
  static Estimator from(const Napi::Value& value) {
    return one_of<Estimator>(value, "estimator",
                             {{"group", Estimator::group},
                              {"rloo", Estimator::rloo},
                              {"max-rl", Estimator::max_rl},
                              {"opo", Estimator::opo},
                              {"pass-k", Estimator::pass_k},
                              {"baseline", Estimator::baseline}});
  }
};
template <>
struct Js<Scale> {
  static Scale from(const Napi::Value& value) {
    return one_of<Scale>(value, "scale", {{"none", Scale::none}, {"group", Scale::group}, {"batch", Scale::batch}});
  }
};
PALM_FIELDS(GroupOptions, PALM_FIELD(samples_per_prompt), PALM_FIELD(kl_weight), PALM_FIELD(estimator),
            PALM_FIELD(scale), PALM_FIELD(reward_weights));
PALM_FIELDS(GroupAdvantages, PALM_FIELD(advantage), PALM_FIELD(metrics));
PALM_FIELDS(ReturnOptions, PALM_FIELD(samples_per_prompt), PALM_FIELD(kl_weight), PALM_FIELD(gamma),
            PALM_FIELD(group_baseline));
PALM_FIELDS(ReturnAdvantages, PALM_FIELD(advantage), PALM_FIELD(returns), PALM_FIELD(metrics));

static PpoAdvantages judge(const ValuedRollout& rollout, const Tensor& score, const std::optional<Tensor>& dense,
                           const PpoAdvantageOptions& options) {
  expect_batch(rollout);
  expect_floating(score, "score");
  if (dense) expect_alike({{"rolloutLogProb", &rollout.rollout_log_prob}, {"dense", &*dense}}, rollout.response_mask);
  return ppo_advantages(rollout.sampler_log_prob, rollout.rollout_log_prob, rollout.reference_log_prob,
                        rollout.rollout_value, rollout.response_mask, score, dense.value_or(Tensor()), options);
}

static GroupAdvantages group_advantages_of(const Rollout& rollout, const Tensor& score,
                                           const std::optional<Tensor>& baseline, const GroupOptions& options) {
  expect_batch(rollout);
  expect_floating(score, "score");
  if (baseline) expect_floating(*baseline, "baseline");
  return group_advantages(rollout.sampler_log_prob, rollout.rollout_log_prob, rollout.reference_log_prob,
                          rollout.response_mask, score, baseline.value_or(Tensor()), options);
}

static ReturnAdvantages return_advantages_of(const Rollout& rollout, const Tensor& score,
                                             const ReturnOptions& options) {
  expect_batch(rollout);
  expect_floating(score, "score");
  return return_advantages(rollout.sampler_log_prob, rollout.rollout_log_prob, rollout.reference_log_prob,
                           rollout.response_mask, score, options);
}

void advantage_rows(Table& table) {
  table.job<&judge>("judge");
  table.job<&group_advantages_of>("groupAdvantages");
  table.job<&return_advantages_of>("returnAdvantages");
}

}  // namespace palm::binding
