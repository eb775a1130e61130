// Supervised fine-tuning: how likely a model finds the tokens it should say.
//
//   nll:  loss = −Σ log_prob / denominator
//   dft:  loss = −Σ p · log_prob / denominator,   p = exp(log_prob), not differentiated     (Wu et al. 2025, eq. 9)
//
// Sums are over target tokens. The denominator defaults to their number, so that pieces given the count of the whole step
// add up to its mean.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

enum class SftKind { nll, dft };

Loss sft_loss(const Tensor& log_prob,  // [B, T]
              const Tensor& entropy,   // [B, T]
              const Tensor& right,     // [B, T] bool, whether no token was likelier
              const Tensor& mask,      // [B, T] bool, true if a token is a target
              SftKind kind, std::optional<double> denominator);
// metrics, averaged like the loss: entropy, token_accuracy (share of right)

}  // namespace palm
