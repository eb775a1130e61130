// Direct preference optimisation (Rafailov et al. 2023, eq. 7), with the likelihood of chosen responses beside it (Pang et
// al. 2024).
//
//   h     = Σ log_prob − reference_log_prob over a response
//   loss  = −Σ over pairs of log σ(beta · (h_chosen − h_rejected)) / denominator
//           − nll_weight · Σ log_prob over tokens of chosen responses / nll_denominator
//
// Denominators default to the pairs and the chosen tokens of this batch, so that pieces given the counts of the whole step
// add up to its mean.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

struct DpoOptions {
  double beta;
  double nll_weight;
};

// Rows 0 … N − 1 are chosen, N … 2N − 1 rejected responses to the same prompts.
Loss dpo_loss(const Tensor& log_prob,            // [2N, T]
              const Tensor& reference_log_prob,  // [2N, T]
              const Tensor& response_mask,       // [2N, T] bool
              const DpoOptions& options, std::optional<double> denominator, std::optional<double> nll_denominator);
// metrics, means over pairs that add up like the loss: accuracy (h_chosen above h_rejected; equal ones count half), margin
// (beta · (h_chosen − h_rejected)), chosen_reward and rejected_reward (beta · h), chosen_log_prob and rejected_log_prob
// (sums over the response), nll (mean over chosen tokens)

}  // namespace palm
