// Rows about losses and the reductions that users test theirs with.
#include "base/masked.h"
#include "base/shape.h"
#include "binding/rows.h"
#include "kernels/token-log-prob.h"
#include "losses/ppo.h"

namespace palm::binding {

PALM_FIELDS(PpoOptions, PALM_FIELD(clip), PALM_FIELD(value_clip), PALM_FIELD(value_weight), PALM_FIELD(entropy_weight));

static Loss ppo_loss_of(const Evaluation& now, const Experience& then, const PpoOptions& options,
                        std::optional<double> denominator) {
  return ppo_loss(now.log_prob, now.entropy, now.value, then.rollout_log_prob, then.rollout_value, then.advantage,
                  then.returns, then.response_mask, options, denominator);
}

static Tensor masked_mean_of(const Tensor& values, const std::optional<Tensor>& mask) {
  expect_shape(values, "values", {-1, -1});
  if (mask) {
    expect_bool(*mask, "mask");
    expect_shape(*mask, "mask", values.sizes());
  }
  return mask ? masked_mean_rows(values, *mask) : values.mean(1);
}

static Tensor whiten_of(const Tensor& values, const std::optional<Tensor>& mask) {
  return whiten(values, mask.value_or(Tensor()));
}

void loss_rows(Table& table) {
  table.job<&ppo_loss_of>("ppoLoss");
  table.job<&masked_mean_of>("maskedMean");
  table.job<&whiten_of>("whiten");
  table.job<&entropy>("entropy");
}

}  // namespace palm::binding
