// Bradley–Terry loss over all ordered pairs within each group (Ouyang et al. 2022, eq. 1; for two answers: Stiennon et
// al. 2020).
//
//   loss = 1/denominator · Σ over groups of mean over pairs (i better than j) of −log σ(score_i − score_j)
//
// Averaging within each group gives a prompt with many ranked answers the same weight as one with two. The denominator
// defaults to the number of groups with at least one pair.
#pragma once
#include "base/tensor.h"

#include <optional>

#include "losses/loss.h"

namespace palm {

Loss ranking_loss(const Tensor& score,  // [B]
                  const Tensor& group,  // [B] int64, equal for answers to the same prompt
                  const Tensor& rank,   // [B], lower is better; equal ranks are not compared
                  std::optional<double> denominator);
// metrics: accuracy (share of pairs in the right order), margin (mean score_i − score_j); both weighted like the loss

}  // namespace palm
