// Losses of single responses, each labelled desirable or not: Kahneman-Tversky optimisation (KTO, Ethayarajh et al. 2024) and
// binary classifier optimisation (BCO, Jung et al. 2024).
//
//   h     = Σ log_prob − reference_log_prob over a response
//   z0    = max(0, mean of `mismatched`): the log-ratios of responses to other prompts, an estimate of the KL to the reference
//   r     = beta · (h − z0) − delta
//   loss  = Σ over rows of weight · term / denominator, where weight is desirable_weight or undesirable_weight and term is
//   kto     1 − σ(r) if desirable, 1 − σ(−r) if not        with delta 0; without `mismatched` it is APO's unpaired zero loss
//   bco     −log σ(r) if desirable, −log σ(−r) if not      with delta the mean of beta · h over the run, without `mismatched`
//
// No gradient flows through z0. A row with an empty response has loss 0 and does not count. Denominators default to the counts
// of this batch, so that pieces given the counts of the whole step add up to its mean.
#pragma once
#include <optional>
#include <vector>

#include "losses/loss.h"

namespace palm {

enum class KtoTerm { kto, bco };

struct KtoOptions {
  KtoTerm loss;
  double beta, desirable_weight, undesirable_weight, delta;
};

struct KtoDenominators {
  std::optional<double> rows, desirable, undesirable;
};

Loss kto_loss(const Tensor& log_prob,                 // [B, T]
              const Tensor& reference_log_prob,       // [B, T]
              const Tensor& response_mask,            // [B, T] bool
              const Tensor& desirable,                // [B] bool
              const std::vector<Tensor>& mismatched,  // each [rows]; z0 is 0 if there are none
              const KtoOptions& options, const KtoDenominators& denominators);
// metrics: accuracy (r above 0 if desirable, below 0 if not; 0 counts half), kl (z0 times the rows here / rows),
// desirable_reward and undesirable_reward (mean of beta · h over such rows)

}  // namespace palm
