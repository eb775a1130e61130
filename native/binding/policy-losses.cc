// Rows about the losses of methods that learn from their own answers without a critic.
#include "binding/bindings.h"
#include "binding/losses.h"
#include "losses/flowrl.h"
#include "losses/kl.h"
#include "losses/off-policy.h"
#include "losses/policy.h"
#include "losses/target-policy.h"

namespace palm::binding {

template <>
struct Js<KlEstimator> {
  static KlEstimator from(const Napi::Value& value) {
    return one_of<KlEstimator>(value, "estimator",
                               {{"k1", KlEstimator::k1},
                                {"k2", KlEstimator::k2},
                                {"k3", KlEstimator::k3},
                                {"k3+", KlEstimator::k3_plus},
                                {"unbiased", KlEstimator::unbiased}});
  }
};
template <>
struct Js<PolicyKind> {
  static PolicyKind from(const Napi::Value& value) {
    return one_of<PolicyKind>(value, "kind",
                              {{"clip", PolicyKind::clip}, {"cispo", PolicyKind::cispo}, {"spo", PolicyKind::spo}});
  }
};
template <>
struct Js<RatioLevel> {
  static RatioLevel from(const Napi::Value& value) {
    return one_of<RatioLevel>(value, "level",
                              {{"token", RatioLevel::token},
                               {"sequence", RatioLevel::sequence_mean},
                               {"sequence-sum", RatioLevel::sequence_sum}});
  }
};
template <>
struct Js<Aggregation> {
  static Aggregation from(const Napi::Value& value) {
    return one_of<Aggregation>(value, "aggregation",
                               {{"dapo", Aggregation::token_mean}, {"row-mean", Aggregation::row_mean}});
  }
};
template <>
struct Js<Correction> {
  static Correction from(const Napi::Value& value) {
    return one_of<Correction>(value, "mode",
                              {{"token-truncate", Correction::token_truncate},
                               {"token-mask", Correction::token_mask},
                               {"sequence-truncate", Correction::sequence_truncate},
                               {"sequence-mask", Correction::sequence_mask},
                               {"geometric-mask", Correction::geometric_mask}});
  }
};
PALM_FIELDS(PolicyOptions, PALM_FIELD(kind), PALM_FIELD(level), PALM_FIELD(aggregation), PALM_FIELD(clip_low),
            PALM_FIELD(clip_high), PALM_FIELD(ratio_max), PALM_FIELD(dual_clip), PALM_FIELD(ratio_cap), PALM_FIELD(kl),
            PALM_FIELD(kl_weight), PALM_FIELD(entropy_weight), PALM_FIELD(top_entropy), PALM_FIELD(off_policy_kl));
PALM_FIELDS(CorrectionOptions, PALM_FIELD(mode), PALM_FIELD(min), PALM_FIELD(max));
PALM_FIELDS(TargetOptions, PALM_FIELD(samples_per_prompt), PALM_FIELD(eta));
PALM_FIELDS(FlowrlOptions, PALM_FIELD(samples_per_prompt), PALM_FIELD(beta), PALM_FIELD(clip_low),
            PALM_FIELD(clip_high));

// What JavaScript compares.
struct Compared {
  Tensor rollout_log_prob, advantage, response_mask;
  std::optional<Tensor> reference_log_prob, weight;
};
PALM_FIELDS(Compared, PALM_FIELD(rollout_log_prob), PALM_FIELD(advantage), PALM_FIELD(response_mask),
            PALM_FIELD(reference_log_prob), PALM_FIELD(weight));

static Loss policy_loss_of(const LogProb& now, const Compared& then, const PolicyOptions& options,
                           std::optional<double> denominator, std::optional<double> tokens) {
  expect_alike({{"logProb", &now.log_prob},
                {"entropy", &now.entropy},
                {"rolloutLogProb", &then.rollout_log_prob},
                {"advantage", &then.advantage}},
               then.response_mask);
  if (options.kl && !then.reference_log_prob)
    throw Error(ErrorKind::argument, "referenceLogProb", "nothing", "log-probabilities of the reference, for kl");
  if (then.reference_log_prob)
    expect_alike({{"logProb", &now.log_prob}, {"referenceLogProb", &*then.reference_log_prob}}, then.response_mask);
  if (then.weight) expect_alike({{"logProb", &now.log_prob}, {"weight", &*then.weight}}, then.response_mask);
  const PolicyInputs inputs = {now.log_prob,
                               now.entropy,
                               then.rollout_log_prob,
                               then.advantage,
                               then.response_mask,
                               then.reference_log_prob.value_or(Tensor()),
                               then.weight.value_or(Tensor())};
  return policy_loss(inputs, options, denominator, tokens);
}

static Loss kl_loss_of(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& rollout_log_prob,
                       const Tensor& response_mask, KlEstimator estimator, std::optional<double> denominator) {
  expect_alike(
      {{"logProb", &log_prob}, {"referenceLogProb", &reference_log_prob}, {"rolloutLogProb", &rollout_log_prob}},
      response_mask);
  return kl_loss(log_prob, reference_log_prob, rollout_log_prob, response_mask, estimator, denominator);
}

// Throws unless there is a number for every row of the mask.
static void expect_row_numbers(const Tensor& numbers, const char* argument, const Tensor& mask) {
  expect_floating(numbers, argument);
  expect_shape(numbers, argument, {mask.size(0)});
}

static Loss target_policy_loss_of(const LogProb& now, const Tensor& rollout_log_prob, const Tensor& response_mask,
                                  const Tensor& score, const TargetOptions& options, std::optional<double> denominator,
                                  std::optional<double> tokens) {
  expect_alike({{"logProb", &now.log_prob}, {"entropy", &now.entropy}, {"rolloutLogProb", &rollout_log_prob}},
               response_mask);
  expect_row_numbers(score, "score", response_mask);
  return target_policy_loss(now.log_prob, now.entropy, rollout_log_prob, response_mask, score, options, denominator,
                            tokens);
}

// What JavaScript has of the rollout.
struct FlowrlRollout {
  Tensor rollout_log_prob, reference_log_prob, response_mask;
};
PALM_FIELDS(FlowrlRollout, PALM_FIELD(rollout_log_prob), PALM_FIELD(reference_log_prob), PALM_FIELD(response_mask));

static Loss flowrl_loss_of(const FlowrlEvaluation& now, const FlowrlRollout& then, const Tensor& score,
                           const FlowrlOptions& options, std::optional<double> denominator,
                           std::optional<double> tokens) {
  expect_alike({{"logProb", &now.log_prob},
                {"entropy", &now.entropy},
                {"rolloutLogProb", &then.rollout_log_prob},
                {"referenceLogProb", &then.reference_log_prob}},
               then.response_mask);
  expect_row_numbers(now.log_partition, "logPartition", then.response_mask);
  expect_row_numbers(score, "score", then.response_mask);
  if (options.samples_per_prompt < 2)
    throw Error(ErrorKind::argument, "samplesPerPrompt", std::to_string(options.samples_per_prompt), "at least 2",
                "The scores of the responses to a prompt are compared with each other.");
  return flowrl_loss({.log_prob = now.log_prob,
                      .entropy = now.entropy,
                      .log_partition = now.log_partition,
                      .rollout_log_prob = then.rollout_log_prob,
                      .reference_log_prob = then.reference_log_prob,
                      .response_mask = then.response_mask,
                      .score = score},
                     options, denominator, tokens);
}

static Tensor off_policy_weight_of(const Tensor& rollout_log_prob, const Tensor& sampler_log_prob,
                                   const Tensor& response_mask, const CorrectionOptions& options) {
  expect_alike({{"rolloutLogProb", &rollout_log_prob}, {"samplerLogProb", &sampler_log_prob}}, response_mask);
  return off_policy_weight(rollout_log_prob, sampler_log_prob, response_mask, options);
}

void policy_loss_rows(Table& table) {
  table.job<&policy_loss_of>("policyLoss");
  table.job<&kl_loss_of>("klLoss");
  table.job<&target_policy_loss_of>("targetPolicyLoss");
  table.job<&flowrl_loss_of>("flowrlLoss");
  table.job<&off_policy_weight_of>("offPolicyWeight");
}

}  // namespace palm::binding
