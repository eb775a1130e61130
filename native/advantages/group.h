// Advantages without a critic: how much better a response is than others to the same prompt, one number per response.
//
//   reward     = score − kl_weight · Σ log_ratio over the response
//
//   group      reward − mean of the group                                                          (Shao et al. 2024)
//   rloo       reward − mean of the others in the group                                           (Ahmadian et al. 2024)
//   max_rl     (reward − mean) / (mean + 1e-6), for rewards that are not negative                   (MaxRL 2026)
//   opo        reward − mean weighted by response lengths                                               (Hao et al. 2025)
//   pass_k     best − second best for the best response, 0 for the others                              (Chen et al. 2025)
//   baseline   reward − a given number per prompt, such as the score of the greedy response        (ReMax, Li et al. 2024)
//
// `group` is divided by the unbiased std of its group, or of all rewards of the batch, plus 1e-4; `rloo` by the std of all
// advantages plus 1e-4; the others are never scaled. Except against a given baseline, the advantage is exactly 0 if all
// rewards of a group are equal (rounding could make their std positive). It is 0 in a group of one, which rloo refuses.
//
// Several rewards [B, N] with weights [N] are compared one by one; the weighted sum of their advantages is then brought to
// mean 0 and, up to 1e-4, deviation 1 over the batch (GDPO 2026). The sum of rewards itself is a reward like any other.
#pragma once
#include "base/metrics.h"
#include "base/tensor.h"

#include <vector>

namespace palm {

enum class Estimator { group, rloo, max_rl, opo, pass_k, baseline };
enum class Scale { none, group, batch };

struct GroupOptions {
  int64_t samples_per_prompt;  // consecutive rows that form a group
  double kl_weight;            // penalty per nat of log-ratio to the reference
  Estimator estimator;
  Scale scale;
  std::vector<double> reward_weights;  // of several rewards; empty for one
};

struct GroupAdvantages {
  Tensor advantage;  // [B, T]: the row's advantage at every response token, 0 elsewhere
  // kl (mean over rows of Σ log-ratio), score, reward (means), score_std (mean over groups), zero_std_share (share of
  // groups whose rewards are all equal), response_length (mean), sampler_gap
  // (max |sampler_log_prob − rollout_log_prob|)
  Metrics metrics;
};

GroupAdvantages group_advantages(const Tensor& sampler_log_prob,  // [B, T], like the next two
                                 const Tensor& rollout_log_prob, const Tensor& reference_log_prob,
                                 const Tensor& response_mask,  // [B, T] bool
                                 const Tensor& score,          // [B]; [B, N] with reward_weights
                                 const Tensor& baseline,  // [prompts]; undefined unless the estimator is `baseline`
                                 const GroupOptions& options);

}  // namespace palm
