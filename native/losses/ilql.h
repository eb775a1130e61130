// Implicit language Q-learning (Snell et al. 2022, section 4.3; as in trlX). Token a is an action, taken in the state of
// the tokens before it; an expectile of the target values Q̄ of actions in the data stands for the maximum over all.
//
//   q_bar     = min(target_q1(a), target_q2(a)),  gap = q_bar − value,          both without a gradient but for value's
//   return    = reward + gamma · value of the next action's state,              without a gradient; 0 after the last action
//   loss      = mean [ Σ_k (q_k(a) − return)²                                   k = 1, 2
//                    + (tau if gap ≥ 0, else 1 − tau) · gap²
//                    + cql_weight · Σ_k −log softmax(q_k)(a)
//                    + awac_weight · e^(beta · gap) · −log softmax(logits)(a) ], no gradient through the exponential
//
// Means are over response tokens: sums divided by `denominator`, by default the number of response tokens in the batch.
// beta · gap is cut to ±20 before the exponential.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

// What is read in the states where response tokens are chosen.
struct ActionValues {
  Tensor logits;                // [B, R, V]
  Tensor q1, q2;                // [B, R, V]
  Tensor target_q1, target_q2;  // [B, R, V], without a gradient
  Tensor value;                 // [B, R]
};

struct IlqlOptions {
  double tau, gamma, cql_weight, awac_weight, beta;
};

Loss ilql_loss(const ActionValues& read, const Tensor& response,  // [B, R] int64
               const Tensor& reward,                              // [B, R]
               const Tensor& response_mask,                       // [B, R] bool
               const IlqlOptions& options, std::optional<double> denominator);
// metrics, means that add up like the loss: q_loss, value_loss, cql_loss, awac_loss (each without its weight), q (q_bar),
// value, advantage (gap)

// The logits that ILQL samples from, [..., V]: logits + beta · min(target_q1, target_q2). Subtracting the value of the
// state, the same for every token, would not change the distribution.
Tensor ilql_logits(const Tensor& logits, const Tensor& target_q1, const Tensor& target_q2, double beta);

}  // namespace palm
