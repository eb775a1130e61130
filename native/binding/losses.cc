// Rows about losses and the reductions that users test theirs with.
#include "binding/losses.h"
#include "base/masked.h"
#include "kernels/token-log-prob.h"
#include "losses/ilql.h"
#include "losses/implicit-reward.h"
#include "losses/kto.h"
#include "losses/ppo.h"
#include "losses/preference.h"
#include "losses/sequence.h"
#include "losses/sft.h"
#include "model/language-model.h"

namespace palm::binding {

PALM_FIELDS(PpoOptions, PALM_FIELD(clip), PALM_FIELD(value_clip), PALM_FIELD(value_weight), PALM_FIELD(entropy_weight),
            PALM_FIELD(dual_clip), PALM_FIELD(histogram));

// A rollout with advantages and returns.
struct Experience : ValuedRollout {
  Tensor advantage, returns;
};
PALM_FIELDS(Experience, PALM_FIELD(sequence), PALM_FIELD(response_mask), PALM_FIELD(sampler_log_prob),
            PALM_FIELD(rollout_log_prob), PALM_FIELD(reference_log_prob), PALM_FIELD(rollout_value),
            PALM_FIELD(advantage), PALM_FIELD(returns));

static void expect_histogram(const Evaluation& now, const Tensor& sequence, const Histogram& histogram) {
  check_histogram(histogram);
  if (!now.value_logits)
    throw Error(ErrorKind::argument, "valueLogits", "nothing", "the logits of a critic with a histogram");
  expect_shape(*now.value_logits, "valueLogits", {sequence.size(0), sequence.size(1), histogram.bins});
  expect_floating(*now.value_logits, "valueLogits");
}

static Tensor histogram_value_of(const Tensor& logits, const Histogram& histogram) {
  check_histogram(histogram);
  expect_floating(logits, "logits");
  expect_shape(logits, "logits", {-1, histogram.bins});
  return histogram_value(logits, histogram);
}

static Loss ppo_loss_of(const Evaluation& now, const Experience& then, const PpoOptions& options,
                        std::optional<double> denominator) {
  expect_batch(then);
  for (const auto& [name, member] :
       {std::pair{"logProb", &now.log_prob}, {"entropy", &now.entropy}, {"value", &now.value}}) {
    expect_shape(*member, name, then.sequence.sizes());
    expect_floating(*member, name);
  }
  if (options.histogram) expect_histogram(now, then.sequence, *options.histogram);
  return ppo_loss(now.log_prob, now.entropy, options.histogram ? *now.value_logits : now.value, then.rollout_log_prob,
                  then.rollout_value, then.advantage, then.returns, then.response_mask, options, denominator);
}

template <>
struct Js<PreferenceTerm> {
  static PreferenceTerm from(const Napi::Value& value) {
    return one_of<PreferenceTerm>(value, "loss",
                                  {{"sigmoid", PreferenceTerm::sigmoid},
                                   {"robust", PreferenceTerm::robust},
                                   {"hinge", PreferenceTerm::hinge},
                                   {"ipo", PreferenceTerm::ipo},
                                   {"apo-zero", PreferenceTerm::apo_zero},
                                   {"apo-down", PreferenceTerm::apo_down},
                                   {"exo", PreferenceTerm::exo},
                                   {"odds-ratio", PreferenceTerm::odds_ratio}});
  }
};
template <>
struct Js<Divergence> {
  static Divergence from(const Napi::Value& value) {
    return one_of<Divergence>(value, "divergence",
                              {{"reverse-kl", Divergence::reverse_kl},
                               {"forward-kl", Divergence::forward_kl},
                               {"jensen-shannon", Divergence::jensen_shannon},
                               {"alpha", Divergence::alpha}});
  }
};
template <>
struct Js<KtoTerm> {
  static KtoTerm from(const Napi::Value& value) {
    return one_of<KtoTerm>(value, "loss", {{"kto", KtoTerm::kto}, {"bco", KtoTerm::bco}});
  }
};
PALM_FIELDS(PreferenceOptions, PALM_FIELD(loss), PALM_FIELD(beta), PALM_FIELD(label_smoothing),
            PALM_FIELD(target_margin), PALM_FIELD(loss_weight), PALM_FIELD(bco_weight), PALM_FIELD(delta),
            PALM_FIELD(nll_weight), PALM_FIELD(length_normalised), PALM_FIELD(tail_weight), PALM_FIELD(divergence),
            PALM_FIELD(alpha));
PALM_FIELDS(KtoOptions, PALM_FIELD(loss), PALM_FIELD(beta), PALM_FIELD(desirable_weight),
            PALM_FIELD(undesirable_weight), PALM_FIELD(delta));
PALM_FIELDS(KtoDenominators, PALM_FIELD(rows), PALM_FIELD(desirable), PALM_FIELD(undesirable));

void expect_alike(std::initializer_list<std::pair<const char*, const Tensor*>> numbers, const Tensor& mask,
                  const char* named) {
  const Tensor& first = *numbers.begin()->second;
  expect_shape(first, numbers.begin()->first, {-1, -1});
  for (const auto& [name, tensor] : numbers) {
    expect_shape(*tensor, name, first.sizes());
    expect_floating(*tensor, name);
  }
  expect_shape(mask, named, first.sizes());
  expect_bool(mask, named);
}

static Loss preference_loss_of(const Tensor& log_prob, const std::optional<Tensor>& reference_log_prob,
                               const Tensor& response_mask, const PreferenceOptions& options,
                               std::optional<double> denominator, std::optional<double> nll_denominator) {
  const Tensor& reference = reference_log_prob ? *reference_log_prob : log_prob;
  expect_alike({{"logProb", &log_prob}, {"referenceLogProb", &reference}}, response_mask);
  return preference_loss(log_prob, reference_log_prob, response_mask, options, denominator, nll_denominator);
}

static Tensor log_ratio_of(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask) {
  expect_alike({{"logProb", &log_prob}, {"referenceLogProb", &reference_log_prob}}, response_mask);
  return sequence_log_ratio(log_prob, reference_log_prob, response_mask);
}

static Loss kto_loss_of(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                        const Tensor& desirable, const std::vector<Tensor>& mismatched, const KtoOptions& options,
                        const KtoDenominators& denominators) {
  expect_alike({{"logProb", &log_prob}, {"referenceLogProb", &reference_log_prob}}, response_mask);
  expect_shape(desirable, "desirable", {log_prob.size(0)});
  expect_bool(desirable, "desirable");
  for (const Tensor& log_ratio : mismatched) {
    expect_shape(log_ratio, "mismatched", {-1});
    expect_floating(log_ratio, "mismatched");
  }
  return kto_loss(log_prob, reference_log_prob, response_mask, desirable, mismatched, options, denominators);
}

PALM_FIELDS(ImplicitRewardOptions, PALM_FIELD(beta), PALM_FIELD(per_token));
PALM_FIELDS(ImplicitRewardDenominators, PALM_FIELD(rows), PALM_FIELD(tokens), PALM_FIELD(desirable),
            PALM_FIELD(undesirable));

static Loss implicit_reward_loss_of(const Tensor& log_prob, const Tensor& reference_log_prob,
                                    const Tensor& response_mask, const Tensor& label,
                                    const ImplicitRewardOptions& options,
                                    const ImplicitRewardDenominators& denominators) {
  expect_alike({{"logProb", &log_prob}, {"referenceLogProb", &reference_log_prob}}, response_mask);
  expect_shape(label, "label", {log_prob.size(0)});
  return implicit_reward_loss(log_prob, reference_log_prob, response_mask, label, options, denominators);
}

static Tensor implicit_reward_of(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                                 double beta) {
  expect_alike({{"logProb", &log_prob}, {"referenceLogProb", &reference_log_prob}}, response_mask);
  return implicit_reward(log_prob, reference_log_prob, response_mask, beta);
}

static Tensor implicit_score_of(const Tensor& log_prob, const Tensor& reference_log_prob, const Tensor& response_mask,
                                double beta) {
  expect_alike({{"logProb", &log_prob}, {"referenceLogProb", &reference_log_prob}}, response_mask);
  return implicit_score(log_prob, reference_log_prob, response_mask, beta);
}

PALM_FIELDS(IlqlOptions, PALM_FIELD(tau), PALM_FIELD(gamma), PALM_FIELD(cql_weight), PALM_FIELD(awac_weight),
            PALM_FIELD(beta));

static Loss ilql_loss_of(const ActionValues& read, const Tensor& response, const Tensor& reward,
                         const Tensor& response_mask, const IlqlOptions& options, std::optional<double> denominator) {
  expect_alike({{"value", &read.value}, {"reward", &reward}}, response_mask);
  const int64_t rows = read.value.size(0), tokens = read.value.size(1);
  expect_shape(read.logits, "logits", {rows, tokens, -1});
  Fields<ActionValues>::visit(read, [&](const char* name, const Tensor& member) {
    const std::string argument = camel_case(name);
    if (&member != &read.value) expect_shape(member, argument.c_str(), read.logits.sizes());
    expect_floating(member, argument.c_str());
  });
  expect_shape(response, "response", {rows, tokens});
  const Tensor known = to_ids(response, "response", read.logits.device());
  expect_range(known.masked_fill(response_mask.logical_not(), 0), "response", 0, read.logits.size(2),
               "Pass the tokens of the responses.");
  return ilql_loss(read, known, reward, response_mask, options, denominator);
}

static Tensor ilql_logits_of(const Tensor& logits, const Tensor& target_q1, const Tensor& target_q2, double beta) {
  for (const auto& [name, tensor] :
       {std::pair{"logits", &logits}, {"targetQ1", &target_q1}, {"targetQ2", &target_q2}}) {
    expect_shape(*tensor, name, logits.sizes());
    expect_floating(*tensor, name);
  }
  return ilql_logits(logits, target_q1, target_q2, beta);
}

template <>
struct Js<SftKind> {
  static SftKind from(const Napi::Value& value) {
    return one_of<SftKind>(value, "loss", {{"nll", SftKind::nll}, {"dft", SftKind::dft}});
  }
};

static Loss sft_loss_of(const LanguageModel::Prediction& now, const Tensor& mask, SftKind kind,
                        std::optional<double> denominator) {
  expect_alike({{"logProb", &now.log_prob}, {"entropy", &now.entropy}}, mask, "mask");
  expect_bool(now.right, "right");
  expect_shape(now.right, "right", now.log_prob.sizes());
  return sft_loss(now.log_prob, now.entropy, now.right, mask, kind, denominator);
}

static LanguageModel::Prediction prediction_of(const Tensor& logits, const Tensor& tokens) {
  expect_floating(logits, "logits");
  expect_shape(logits, "logits", {-1, -1, -1});
  expect_shape(tokens, "tokens", {logits.size(0), logits.size(1)});
  expect_range(tokens, "tokens", 0, logits.size(2), "Every token has one of the logits.");
  const TokenLogProb all = token_log_prob(logits.flatten(0, 1), to_ids(tokens, "tokens", logits.device()).flatten());
  return {all.log_prob.view(tokens.sizes()), all.entropy.view(tokens.sizes()), all.right.view(tokens.sizes())};
}

void expect_floating(const Tensor& tensor, const char* argument) {
  if (!tensor.is_floating_point())
    throw Error(ErrorKind::dtype, argument, std::string("dtype ") + at::toString(tensor.scalar_type()),
                "a floating point dtype", "Pass { dtype: 'float32' }.");
}

static void expect_reducible(const Tensor& values, const char* argument, const std::optional<Tensor>& mask) {
  expect_floating(values, argument);
  if (!mask) return;
  expect_bool(*mask, "mask");
  expect_shape(*mask, "mask", values.sizes());
}

static Tensor masked_mean_of(const Tensor& values, const std::optional<Tensor>& mask) {
  expect_shape(values, "values", {-1, -1});
  expect_reducible(values, "values", mask);
  return mask ? masked_mean_rows(values, *mask) : values.mean(1);
}

static Tensor whiten_of(const Tensor& values, const std::optional<Tensor>& mask) {
  expect_reducible(values, "values", mask);
  return whiten(values, mask.value_or(Tensor()));
}

static Tensor entropy_of(const Tensor& logits) {
  expect_reducible(logits, "logits", {});
  if (logits.dim() == 0 || logits.size(-1) == 0)
    throw Error(ErrorKind::shape, "logits", "no dimension of at least one entry", "[..., V]");
  return entropy(logits);
}

void loss_rows(Table& table) {
  table.job<&ppo_loss_of>("ppoLoss");
  table.job<&histogram_value_of>("histogramValue");
  table.job<&preference_loss_of>("preferenceLoss");
  table.job<&kto_loss_of>("ktoLoss");
  table.job<&log_ratio_of>("logRatio");
  table.job<&ilql_loss_of>("ilqlLoss");
  table.job<&ilql_logits_of>("ilqlLogits");
  table.job<&sft_loss_of>("sftLoss");
  table.job<&prediction_of>("predictionOf");
  table.job<&implicit_reward_loss_of>("implicitRewardLoss");
  table.job<&implicit_reward_of>("implicitReward");
  table.job<&implicit_score_of>("implicitScore");
  table.job<&masked_mean_of>("maskedMean");
  table.job<&whiten_of>("whiten");
  table.job<&entropy_of>("entropy");
}

}  // namespace palm::binding
