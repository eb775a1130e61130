// Losses of a reward model on answers that were compared. Every answer has a rank within its group, the answers to one
// prompt; lower is better. By default Bradley–Terry over all ordered pairs (Ouyang et al. 2022, eq. 1; for two answers
// Stiennon et al. 2020):
//
//   gap   = score_i − score_j − margin_i                                            for a pair, i better than j
//   pair  = −(1 − label_smoothing) · log σ(gap) − label_smoothing · log σ(−gap)
//           + center_weight · (score_i + score_j)² + l2_weight / 2 · (score_i² + score_j²)
//   loss  = 1/denominator · Σ over groups of mean over pairs of pair
//
// Averaging within each group gives a prompt with many ranked answers the same weight as one with two. Equal ranks are no
// pair, unless tie_width w is given; then, with x = score_i − score_j − w and y = score_j − score_i − w (Rao & Kupper 1967):
//
//   −log P(i better) = −log σ(x) (w adds to the margin),   −log P(tie) = −log(e^2w − 1) − log σ(x) − log σ(y)
//
// Plackett–Luce (Luce 1959; Plackett 1975), for answers without ties, replaces the mean over pairs by
//
//   −Σ over answers i of the group of [score_i − log Σ over answers j not better than i of e^score_j]
//
// Answers can also be compared with a score of 0. anchor_weight · anchor is added for every group:
//
//   anchor = mean over answers of −log σ(−score) if none of them is good, else mean over the best of −log σ(score)
//
// The denominator defaults to the number of groups with at least one pair (with an anchor: of groups).
#pragma once
#include "base/tensor.h"

#include <optional>

#include "losses/loss.h"

namespace palm {

struct RankingOptions {
  std::optional<Tensor> margin;     // [B], by which an answer should beat those below it; nothing: 0
  std::optional<Tensor> none_good;  // [B] bool, equal within a group; required for an anchor
  double label_smoothing = 0, center_weight = 0, l2_weight = 0, anchor_weight = 0;
  std::optional<double> tie_width;  // > 0
  bool plackett_luce = false;
};

Loss ranking_loss(const Tensor& score,  // [B]
                  const Tensor& group,  // [B] int64, equal for answers to the same prompt
                  const Tensor& rank,   // [B]
                  const RankingOptions& options, std::optional<double> denominator);
// metrics over ordered pairs, both weighted like the loss: accuracy (share in the right order; equal scores count half),
// margin (mean score_i − score_j)

}  // namespace palm
