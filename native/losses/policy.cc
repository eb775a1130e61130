#include "losses/policy.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/quantile.h>
#include <ATen/ops/where.h>

#include "base/error.h"
#include "base/masked.h"

namespace palm {

// Ratios beyond e^±20 are clipped anyway; without this bound a single outlier token makes the loss infinite.
static Tensor bounded(const Tensor& log_ratio) { return log_ratio.clamp(-20, 20); }

ClippedObjective clipped_objective(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& advantage,
                                   double clip_low, double clip_high) {
  const Tensor log_ratio = bounded(log_prob - rollout_log_prob);
  const Tensor ratio = log_ratio.exp();
  const Tensor clipped = ratio.clamp(1 - clip_low, 1 + clip_high);
  return {log_ratio, ratio, at::minimum(ratio * advantage, clipped * advantage)};
}

Tensor dual_clipped(const Tensor& objective, const Tensor& advantage, double dual_clip) {
  return at::where(advantage.lt(0), at::maximum(objective, dual_clip * advantage), objective);
}

Tensor approx_kl(const ClippedObjective& policy) { return policy.ratio - 1 - policy.log_ratio; }

Tensor max_log_ratio(const Tensor& log_prob, const Tensor& rollout_log_prob, const Tensor& response_mask) {
  return (log_prob - rollout_log_prob).masked_fill(response_mask.logical_not(), 0).abs().max();
}

// [B, T], or [B, 1] at a sequence level, of the log-ratios of tokens, which are 0 outside the mask.
static Tensor at_level(const Tensor& log_ratio, const Tensor& mask, RatioLevel level) {
  if (level == RatioLevel::token) return log_ratio;
  if (level == RatioLevel::sequence_sum) return log_ratio.sum(1, /*keepdim=*/true);
  return masked_mean_rows(log_ratio, mask).unsqueeze(1);
}

static Tensor objective_of(const Tensor& ratio, const PolicyInputs& in, const PolicyOptions& options) {
  const Tensor& advantage = in.advantage;
  if (options.kind == PolicyKind::cispo) return ratio.detach().clamp_max(options.ratio_cap) * advantage * in.log_prob;
  if (options.kind == PolicyKind::spo)
    return ratio * advantage - advantage.abs() / (2 * options.clip_low) * (ratio - 1).square();
  const Tensor held = options.ratio_max ? ratio.clamp_max(*options.ratio_max) : ratio;
  const Tensor clipped = ratio.clamp(1 - options.clip_low, 1 + options.clip_high);
  return at::minimum(held * advantage, clipped * advantage);
}

// True for the tokens with the highest entropy: `share` of those in the mask.
static Tensor uncertain(const Tensor& entropy, const Tensor& mask, double share) {
  const Tensor own = entropy.detach().masked_select(mask);
  if (own.numel() == 0) return mask;
  return mask & entropy.ge(at::quantile(own, 1 - share));
}

// [B, 1]: true for the rows to learn from, with at most `limit` nats per token between rollout and policy, or good ones.
static Tensor near_enough(const Tensor& log_ratio, const Tensor& advantage, const Tensor& mask, double limit) {
  const Tensor drift = masked_mean_rows(-log_ratio.detach(), mask).unsqueeze(1);
  return advantage.ge(0) | drift.le(limit);
}

static PolicyInputs masked(const PolicyInputs& in) {
  const auto inside = [&](const Tensor& x) { return x.defined() ? within(x, in.response_mask) : x; };
  return {inside(in.log_prob),  inside(in.entropy), inside(in.rollout_log_prob),
          inside(in.advantage), in.response_mask,   inside(in.reference_log_prob),
          inside(in.weight)};
}

static Tensor aggregated(const Tensor& values, const Tensor& mask, Aggregation aggregation,
                         std::optional<double> denominator) {
  if (aggregation == Aggregation::token_mean) return masked_mean(values, mask, denominator);
  return masked_mean(masked_mean_rows(values, mask), mask.any(1), denominator);
}

static void check(const PolicyOptions& options) {
  if (options.level == RatioLevel::token || options.aggregation == Aggregation::row_mean) return;
  throw Error(ErrorKind::argument, "aggregation", "dapo", "row-mean",
              "With one ratio per response, the loss averages over responses.");
}

static void append(Metrics& metrics, const Metrics& more) {
  metrics.names.insert(metrics.names.end(), more.names.begin(), more.names.end());
  metrics.values = at::cat({metrics.values, more.values});
}

Loss policy_loss(const PolicyInputs& given, const PolicyOptions& options, std::optional<double> denominator,
                 std::optional<double> tokens) {
  check(options);
  const PolicyInputs in = masked(given);
  const Tensor& mask = in.response_mask;
  const auto mean = [&](const Tensor& x) { return aggregated(x, mask, options.aggregation, denominator); };
  const auto token_mean = [&](const Tensor& x) { return masked_mean(x, mask, tokens); };
  const Tensor log_ratio = bounded(in.log_prob - in.rollout_log_prob);
  const Tensor ratio = bounded(at_level(log_ratio, mask, options.level)).exp();

  const Tensor once = objective_of(ratio, in, options);
  const Tensor twice = options.dual_clip ? dual_clipped(once, in.advantage, *options.dual_clip) : once;
  Tensor objective = twice;
  if (in.weight.defined()) objective = objective * in.weight;
  if (options.top_entropy) objective = objective * uncertain(in.entropy, mask, *options.top_entropy);
  if (options.off_policy_kl) objective = objective * near_enough(log_ratio, in.advantage, mask, *options.off_policy_kl);

  const auto share = [&](const Tensor& x) {
    const Tensor counted = x.expand_as(mask).to(in.log_prob.scalar_type());
    return options.level == RatioLevel::token ? token_mean(counted) : mean(counted);
  };
  const bool capped = options.kind == PolicyKind::cispo;
  const Tensor low = ratio.lt(capped ? 0 : 1 - options.clip_low) & in.advantage.lt(0);
  const Tensor high = ratio.gt(capped ? options.ratio_cap : 1 + options.clip_high) & in.advantage.gt(0);
  const Tensor policy_loss = -mean(objective), mean_entropy = token_mean(in.entropy);
  Metrics metrics = {{"policy_loss", policy_loss},
                     {"entropy", mean_entropy},
                     {"approx_kl", token_mean(log_ratio.exp() - 1 - log_ratio)},
                     {"clip_fraction", share(low | high)},
                     {"clipped_low", share(low)},
                     {"clipped_high", share(high)},
                     {"max_log_ratio", max_log_ratio(in.log_prob, in.rollout_log_prob, mask)}};
  Tensor loss = policy_loss;
  if (options.entropy_weight != 0) loss = loss - options.entropy_weight * mean_entropy;
  if (options.dual_clip) append(metrics, {{"dual_clip_fraction", share(twice.gt(once))}});
  if (options.kl) {
    const Tensor kl = mean(kl_estimate(in.log_prob, in.reference_log_prob, log_ratio.exp(), *options.kl));
    append(metrics, {{"kl_loss", kl}});
    loss = loss + options.kl_weight * kl;
  }
  return {loss, metrics};
}

}  // namespace palm
