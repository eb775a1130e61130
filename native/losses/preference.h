// Losses of pairs, a chosen and a rejected response to the same prompt: one equation, in which methods fill in other terms.
//
//   P, Q   = Σ weight · log_prob and Σ weight · reference_log_prob over the n tokens of a response
//   h      = P − Q, or P without a reference
//   score  = f(h), or h / n if length_normalised
//   z      = beta · (score_chosen − score_rejected) − target_margin
//   loss   = Σ over pairs of (loss_weight · term + bco_weight · bco) / denominator
//            − nll_weight · Σ log_prob over tokens of chosen responses / nll_denominator
//
//   term, where σ is the logistic function, ε is label_smoothing and s is beta · score:
//   sigmoid     −(1 − ε) log σ(z) − ε log σ(−z)               DPO (Rafailov et al. 2023), cDPO, CPO, SimPO (Meng et al. 2024)
//   robust      (−(1 − ε) log σ(z) + ε log σ(−z)) / (1 − 2ε)  robust DPO (Chowdhury et al. 2024)
//   hinge       max(0, 1 − z)                                 SLiC (Zhao et al. 2023)
//   ipo         (score_chosen − score_rejected − 1/(2 beta))² IPO (Azar et al. 2023)
//   apo_zero    1 − σ(s_chosen) + σ(s_rejected)               APO (D'Oosterlinck et al. 2024)
//   apo_down    σ(s_chosen) + 1 − σ(z)                        APO
//   exo         σ(z) log(σ(z)/(1 − ε)) + σ(−z) log(σ(−z)/ε)   EXO on pairs (Ji et al. 2024)
//   odds_ratio  −beta · log σ(o_chosen − o_rejected)          ORPO (Hong et al. 2024); o = a − log(1 − eᵃ), a = P/n ≤ −1e-6
//
//   bco         −log σ(s_chosen − delta) − log σ(delta − s_rejected): each response by itself (Jung et al. 2024), where delta is
//               the mean of s over the run; beside sigmoid and nll it is MPO (Wang et al. 2024)
//
//   f is the identity (reverse_kl), −e^−h (forward_kl), log σ(h) (jensen_shannon) or e^((α − 1)h)/(α − 1) (alpha), without the
//   constants, which cancel (f-DPO, Wang et al. 2023). Exponents are limited to ±20.
//   weight is 1, or tail_weight for the tokens beyond the length of the pair's shorter response (LD-DPO, Liu et al. 2024).
//
// A pair with an empty response has loss 0 and does not count. Denominators default to the pairs and the chosen tokens of this
// batch, so that pieces given the counts of the whole step add up to its mean.
#pragma once
#include <optional>

#include "losses/loss.h"

namespace palm {

enum class PreferenceTerm { sigmoid, robust, hinge, ipo, apo_zero, apo_down, exo, odds_ratio };
enum class Divergence { reverse_kl, forward_kl, jensen_shannon, alpha };

struct PreferenceOptions {
  PreferenceTerm loss;
  double beta, label_smoothing, target_margin, loss_weight, bco_weight, delta, nll_weight;
  bool length_normalised;
  double tail_weight;
  Divergence divergence;
  double alpha;
};

// Rows 0 … N − 1 are chosen, N … 2N − 1 rejected responses to the same prompts.
Loss preference_loss(const Tensor& log_prob,                           // [2N, T]
                     const std::optional<Tensor>& reference_log_prob,  // [2N, T]
                     const Tensor& response_mask,                      // [2N, T] bool
                     const PreferenceOptions& options, std::optional<double> denominator,
                     std::optional<double> nll_denominator);
// metrics, means over pairs that add up like the loss: accuracy (reward of the chosen response above that of the rejected one;
// equal ones count half), margin (their difference), chosen_reward and rejected_reward (beta · h; without a reference, beta ·
// score), chosen_log_prob and rejected_log_prob (P), nll (mean over chosen tokens); of odds_ratio also log_odds (o_chosen −
// o_rejected) and log_odds_ratio (its log σ)

}  // namespace palm
