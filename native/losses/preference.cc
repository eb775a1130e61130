#include "losses/preference.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "base/error.h"
#include "base/masked.h"
#include "losses/sequence.h"

namespace palm {

// Largest exponent, so that exp stays finite.
constexpr double kMaxExponent = 20;
// Largest mean log-probability of ORPO: a certain response has infinite odds.
constexpr double kMaxMeanLogProb = -1e-6;

// A quantity of both responses of every pair.
struct Both {
  Tensor chosen, rejected;  // [N]
  Tensor difference() const { return chosen - rejected; }
};

static Both split(const Tensor& rows) {
  const int64_t pairs = rows.size(0) / 2;
  return {rows.narrow(0, 0, pairs), rows.narrow(0, pairs, pairs)};
}

// log_prob with the tokens beyond the length of the pair's shorter response multiplied by `tail_weight`.
static Tensor weigh_tails(const Tensor& log_prob, const Tensor& response_mask, double tail_weight) {
  if (tail_weight == 1) return log_prob;
  const Both length = split(response_mask.sum(1));
  const Tensor shorter = at::minimum(length.chosen, length.rejected);
  const Tensor tail = response_mask.cumsum(1).gt(at::cat({shorter, shorter}).unsqueeze(1));
  return at::where(tail, tail_weight * log_prob, log_prob);
}

static Tensor diverge(const Tensor& h, Divergence divergence, double alpha) {
  const auto exp = [](const Tensor& x) { return x.clamp(-kMaxExponent, kMaxExponent).exp(); };
  switch (divergence) {
    case Divergence::reverse_kl:
      return h;
    case Divergence::forward_kl:
      return -exp(-h);
    case Divergence::jensen_shannon:
      return at::log_sigmoid(h);
    case Divergence::alpha:
      break;
  }
  return exp((alpha - 1) * h) / (alpha - 1);
}

static Tensor log_odds(const Tensor& mean_log_prob) {
  const Tensor a = mean_log_prob.clamp_max(kMaxMeanLogProb);
  return a - (-a.expm1()).log();
}

static Tensor term(const Both& score, const PreferenceOptions& options) {
  const double beta = options.beta, smoothing = options.label_smoothing;
  const Tensor z = beta * score.difference() - options.target_margin;
  const auto right = [&] { return at::log_sigmoid(z); };
  const auto wrong = [&] { return at::log_sigmoid(-z); };
  switch (options.loss) {
    case PreferenceTerm::sigmoid:
      return -(1 - smoothing) * right() - smoothing * wrong();
    case PreferenceTerm::robust:
      return (-(1 - smoothing) * right() + smoothing * wrong()) / (1 - 2 * smoothing);
    case PreferenceTerm::hinge:
      return (1 - z).clamp_min(0);
    case PreferenceTerm::ipo:
      return (score.difference() - 1 / (2 * beta)).square();
    case PreferenceTerm::apo_zero:
      return 1 - at::sigmoid(beta * score.chosen) + at::sigmoid(beta * score.rejected);
    case PreferenceTerm::apo_down:
      return at::sigmoid(beta * score.chosen) + at::sigmoid(-z);
    case PreferenceTerm::exo:
      return at::sigmoid(z) * (right() - std::log1p(-smoothing)) + at::sigmoid(-z) * (wrong() - std::log(smoothing));
    case PreferenceTerm::odds_ratio:
      break;
  }
  return -beta * at::log_sigmoid(log_odds(score.chosen) - log_odds(score.rejected));
}

static Tensor bco(const Both& score, const PreferenceOptions& options) {
  const auto reward = [&](const Tensor& of) { return options.beta * of - options.delta; };
  return -at::log_sigmoid(reward(score.chosen)) - at::log_sigmoid(-reward(score.rejected));
}

static void expect_pairs(const Tensor& log_prob) {
  if (log_prob.size(0) % 2 == 0) return;
  throw Error(ErrorKind::shape, "logProb", std::to_string(log_prob.size(0)) + " rows",
              "chosen rows and as many rejected");
}

Loss preference_loss(const Tensor& log_prob, const std::optional<Tensor>& reference_log_prob,
                     const Tensor& response_mask, const PreferenceOptions& options, std::optional<double> denominator,
                     std::optional<double> nll_denominator) {
  expect_pairs(log_prob);
  const auto sum = [&](const Tensor& of_tokens) {
    return sequence_log_prob(weigh_tails(of_tokens, response_mask, options.tail_weight), response_mask);
  };
  const Tensor length = response_mask.sum(1);  // [2N]
  const Tensor counted = split(length).chosen.gt(0) & split(length).rejected.gt(0);
  const auto mean = [&](const Tensor& of_pairs) { return masked_mean(of_pairs, counted, denominator); };

  const Tensor sums = sum(log_prob);
  const Tensor h = reference_log_prob ? sums - sum(*reference_log_prob) : sums;
  const Tensor scores =
      options.length_normalised ? h / length.clamp_min(1) : diverge(h, options.divergence, options.alpha);
  const Both score = split(scores);
  const Tensor nll = -masked_mean(split(log_prob).chosen, split(response_mask).chosen, nll_denominator);
  Tensor loss = mean(term(score, options));
  if (options.loss_weight != 1) loss = options.loss_weight * loss;
  if (options.bco_weight != 0) loss = loss + options.bco_weight * mean(bco(score, options));
  if (options.nll_weight != 0) loss = loss + options.nll_weight * nll;

  const Both reward = split(options.beta * (reference_log_prob ? h : scores)), total = split(sums);
  const Tensor margin = reward.difference();
  const Tensor right = (margin.gt(0).to(margin.scalar_type()) + margin.ge(0).to(margin.scalar_type())) / 2;
  std::vector<std::pair<const char*, Tensor>> named = {{"accuracy", mean(right)},
                                                       {"margin", mean(margin)},
                                                       {"chosen_reward", mean(reward.chosen)},
                                                       {"rejected_reward", mean(reward.rejected)},
                                                       {"chosen_log_prob", mean(total.chosen)},
                                                       {"rejected_log_prob", mean(total.rejected)},
                                                       {"nll", nll}};
  if (options.loss == PreferenceTerm::odds_ratio) {
    const Tensor odds = log_odds(score.chosen) - log_odds(score.rejected);
    named.emplace_back("log_odds", mean(odds));
    named.emplace_back("log_odds_ratio", mean(at::log_sigmoid(odds)));
  }
  return {loss, Metrics(named)};
}

}  // namespace palm
