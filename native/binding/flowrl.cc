#include "binding/flowrl.h"

#include "binding/losses.h"
#include "losses/flowrl.h"
#include "rlhf/flowrl-policy.h"

namespace palm::binding {

template <>
struct HandleKind<FlowrlPolicy> {
  static constexpr const char* name = "FlowrlPolicy";
  static constexpr napi_type_tag tag = {0x9d0c5a64b1f74e21ULL, 13};  // the next after those in handle.h
  static std::vector<at::Tensor> storages(const FlowrlPolicy& value) { return {value.storage()}; }
};

PALM_FIELDS(FlowrlEvaluation, PALM_FIELD(log_prob), PALM_FIELD(entropy), PALM_FIELD(log_partition));
PALM_FIELDS(FlowrlOptions, PALM_FIELD(samples_per_prompt), PALM_FIELD(beta), PALM_FIELD(clip_low),
            PALM_FIELD(clip_high));

// What JavaScript has of the rollout.
struct FlowrlRollout {
  Tensor rollout_log_prob, reference_log_prob, response_mask;
};
PALM_FIELDS(FlowrlRollout, PALM_FIELD(rollout_log_prob), PALM_FIELD(reference_log_prob), PALM_FIELD(response_mask));

// Throws unless there is a number for every row of the mask.
static void expect_row_numbers(const Tensor& numbers, const char* argument, const Tensor& mask) {
  expect_floating(numbers, argument);
  expect_shape(numbers, argument, {mask.size(0)});
}

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

void flowrl_rows(Table& table) {
  table.now<&make<FlowrlPolicy, FlowrlPolicy, std::shared_ptr<Policy>>>("flowrlPolicyCreate");
  table.now<&parameters_of<FlowrlPolicy>>("flowrlPolicyParameters");
  table.job<&FlowrlPolicy::initialise>("flowrlPolicyInitialise");
  table.job<&FlowrlPolicy::evaluate>("flowrlPolicyEvaluate");
  table.job<&flowrl_loss_of>("flowrlLoss");
}

}  // namespace palm::binding
