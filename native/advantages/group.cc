#include "advantages/group.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "base/error.h"
#include "base/masked.h"
#include "base/shape.h"

namespace palm {

static Tensor all_equal(const Tensor& group) { return group.amax(1, true).eq(group.amin(1, true)); }

// [G, 1]; 0 in groups of one.
static Tensor deviation(const Tensor& group) {
  return group.size(1) > 1 ? group.std(1, /*unbiased=*/true, /*keepdim=*/true) : at::zeros_like(group);
}

// reward − the given mean, exactly 0 where all rewards of a group are equal.
static Tensor above(const Tensor& group, const Tensor& mean) { return (group - mean).masked_fill(all_equal(group), 0); }

static Tensor against_others(const Tensor& group) {
  const int64_t size = group.size(1);
  if (size < 2)
    throw Error(ErrorKind::argument, "samplesPerPrompt", std::to_string(size), "at least 2 with rloo",
                "The baseline of a response is the mean of the others.");
  return above(group, group.mean(1, true)) * size / (size - 1);
}

static Tensor relative(const Tensor& group) {
  if (group.lt(0).any().item<bool>())
    throw Error(ErrorKind::argument, "score", "a negative reward", "rewards of at least 0 with max-rl",
                "It divides by the mean reward: use rewards of 0 and 1, and no KL penalty in the reward.");
  const Tensor mean = group.mean(1, true);
  return above(group, mean) / (mean + 1e-6);
}

static Tensor best_alone(const Tensor& group) {
  if (group.size(1) < 2) return at::zeros_like(group);
  const auto [values, places] = group.topk(2, 1);
  return at::zeros_like(group).scatter(1, places.narrow(1, 0, 1), values.narrow(1, 0, 1) - values.narrow(1, 1, 1));
}

static Tensor against_baseline(const Tensor& group, const Tensor& baseline) {
  if (!baseline.defined())
    throw Error(ErrorKind::argument, "baseline", "nothing", "a number per prompt with the estimator baseline");
  expect_shape(baseline, "baseline", {group.size(0)});
  return group - baseline.to(group.options()).unsqueeze(1);
}

// [groups, samples], before scaling.
static Tensor unscaled(const Tensor& group, const Tensor& length, const Tensor& baseline, Estimator estimator) {
  switch (estimator) {
    case Estimator::group:
      return above(group, group.mean(1, true));
    case Estimator::rloo:
      return against_others(group);
    case Estimator::max_rl:
      return relative(group);
    case Estimator::opo:
      return above(group, (group * length).sum(1, true) / length.sum(1, true).clamp_min(1));
    case Estimator::pass_k:
      return best_alone(group);
    case Estimator::baseline:
      return against_baseline(group, baseline);
  }
  return group;
}

static Tensor spread(const Tensor& values) { return values.numel() > 1 ? values.std() : at::zeros_like(values.sum()); }

// What the advantages are divided by.
static Tensor divided(const Tensor& advantage, const Tensor& group, const GroupOptions& options) {
  const bool of_rewards = options.estimator == Estimator::group;
  if (options.scale == Scale::none) return advantage;
  if (options.scale == Scale::group && of_rewards) return advantage / (deviation(group) + 1e-4);
  if (options.scale == Scale::batch && of_rewards) return advantage / (spread(group) + 1e-4);
  if (options.scale == Scale::batch && options.estimator == Estimator::rloo)
    return advantage / (spread(advantage) + 1e-4);
  throw Error(ErrorKind::argument, "scale", options.scale == Scale::group ? "group" : "batch",
              "none with this estimator; rloo also takes batch, and group takes all");
}

static void expect_scores(const Tensor& score, int64_t rows, const GroupOptions& options) {
  const int64_t several = static_cast<int64_t>(options.reward_weights.size());
  if (several == 0) return expect_shape(score, "score", {rows});
  expect_shape(score, "score", {rows, several});
  if (options.kl_weight != 0)
    throw Error(ErrorKind::argument, "klWeight", std::to_string(options.kl_weight), "0 with rewardWeights");
}

GroupAdvantages group_advantages(const Tensor& sampler_log_prob, const Tensor& rollout_log_prob,
                                 const Tensor& reference_log_prob, const Tensor& response_mask, const Tensor& score,
                                 const Tensor& baseline, const GroupOptions& options) {
  at::NoGradGuard no_grad;
  expect_scores(score, response_mask.size(0), options);
  const std::vector<double>& weights = options.reward_weights;
  const Tensor scores = score.to(rollout_log_prob.options());
  const auto grouped = [&](const Tensor& of_rows) { return by_group(of_rows, options.samples_per_prompt); };
  const Tensor kl = within(rollout_log_prob - reference_log_prob, response_mask).sum(1);
  const Tensor length = response_mask.sum(1).to(kl.scalar_type());
  const auto advantage_of = [&](const Tensor& reward) {
    const Tensor group = grouped(reward);
    return divided(unscaled(group, grouped(length), baseline, options.estimator), group, options).flatten();
  };
  const auto weighted = [&](const auto& of_reward) {
    Tensor sum = at::zeros_like(kl);
    for (size_t i = 0; i < weights.size(); ++i)
      sum = sum + weights[i] * of_reward(scores.select(1, static_cast<int64_t>(i)).contiguous());
    return sum;
  };
  const Tensor given = weights.empty() ? scores : weighted([](const Tensor& one) { return one; });
  const Tensor reward = given - options.kl_weight * kl;
  Tensor of_row;
  if (weights.empty()) {
    of_row = advantage_of(reward);
  } else {
    const Tensor sum = weighted(advantage_of);
    of_row = (sum - sum.mean()) / (spread(sum) + 1e-4);
  }
  return {within(of_row.unsqueeze(1).expand_as(response_mask), response_mask),
          {{"kl", kl.mean()},
           {"score", given.mean()},
           {"reward", reward.mean()},
           {"score_std", deviation(grouped(given)).mean()},
           {"zero_std_share", all_equal(grouped(reward)).to(given.scalar_type()).mean()},
           {"response_length", length.mean()},
           {"sampler_gap", within(sampler_log_prob - rollout_log_prob, response_mask).abs().max()}}};
}

}  // namespace palm
