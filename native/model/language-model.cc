#include "model/language-model.h"

#include <ATen/core/grad_mode.h>

#include <limits>

#include "base/error.h"
#include "base/masked.h"
#include "base/shape.h"
#include "losses/language.h"
#include "model/readout.h"
#include "model/segments.h"

namespace palm {

Tensor detached_unless_trained(Gradients gradients, const Tensor& weight) {
  return gradients == Gradients::adapters && weight.defined() ? weight.detach() : weight;
}

void LanguageModel::expect_tokens(const std::vector<int64_t>& tokens, const char* argument) const {
  const int64_t vocabulary = shape().num_tokens;
  for (const int64_t token : tokens)
    if (token < 0 || token >= vocabulary)
      throw Error(ErrorKind::argument, argument, std::to_string(token),
                  "a token id of the model, 0 to " + std::to_string(vocabulary - 1),
                  "Use the tokenizer that the model was trained with.");
}

Tensor LanguageModel::logits(const Tensor& hidden, const Readout* readout) const {
  return readout ? readout->logits(hidden) : head(Gradients::none).logits(hidden);
}

Tensor LanguageModel::accept(const Tensor& tokens, const char* argument) const {
  const ModelShape& own = shape();
  expect_token_shape(tokens, argument);
  expect_range(tokens, argument, own.causal ? 0 : std::numeric_limits<int64_t>::min(), own.num_tokens,
               "Encode with the tokenizer the model was trained with, or create the model with a larger vocabulary.");
  return to_ids(tokens, argument, own.options.device());
}

Tensor LanguageModel::accept_segments(const std::optional<Tensor>& segments, const Tensor& tokens) const {
  if (!segments) return {};
  expect_shape(*segments, "segments", tokens.sizes());
  return to_ids(*segments, "segments", tokens.device());
}

LanguageModel::Output LanguageModel::forward(const Tensor& tokens, const Scope* scope,
                                             const std::optional<Tensor>& segments, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  if (gradients == Gradients::all) prepare_gradients();
  const Tensor ids = accept(tokens, "tokens");
  const Tensor embeddings =
      hidden(ids, {.scope = scope, .segments = accept_segments(segments, ids), .gradients = gradients});
  return {head(gradients).logits(embeddings), embeddings};
}

// Every token but the last of a row predicts the one after it, unless that begins another sequence.
struct LanguageModel::Read {
  Tensor hidden;     // [B, T − 1, D], of the predicting tokens
  Tensor target;     // [B, T − 1] int64
  Tensor predicted;  // [B, T − 1] bool; undefined: all are
};

LanguageModel::Read LanguageModel::read(const Tensor& ids, const Scope* scope, const std::optional<Tensor>& segments,
                                        Gradients gradients) {
  if (gradients == Gradients::all) prepare_gradients();
  if (ids.size(1) < 2)
    throw Error(ErrorKind::shape, "tokens", "rows of 1 token", "rows of at least 2 tokens",
                "A loss needs a next token to predict.");
  const int64_t time = ids.size(1) - 1;
  const Tensor sequences = accept_segments(segments, ids);
  ForwardOptions options{.scope = scope, .gradients = gradients};
  Tensor predicted;
  if (sequences.defined()) {
    options.segments = sequences.narrow(1, 0, time);
    predicted = starts_sequence(sequences).narrow(1, 1, time).logical_not();
  }
  return {hidden(ids.narrow(1, 0, time), options), ids.narrow(1, 1, time), predicted};
}

Tensor LanguageModel::loss(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& mask,
                           const std::optional<Tensor>& segments, std::optional<double> denominator,
                           Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  const Tensor ids = accept(tokens, "tokens");
  if (mask) {
    expect_bool(*mask, "mask");
    expect_shape(*mask, "mask", ids.sizes());
  }
  const Read now = read(ids, scope, segments, gradients);
  Tensor targets = mask ? mask->to(ids.device()).narrow(1, 1, ids.size(1) - 1) : Tensor();
  if (now.predicted.defined()) targets = targets.defined() ? targets & now.predicted : now.predicted;
  const Tensor labels = language_labels(now.target, targets, shape().ignore_index);
  const Tensor total = head(gradients).cross_entropy(now.hidden.flatten(0, 1), labels.flatten());
  return language_loss(total, labels, denominator);
}

LanguageModel::Prediction LanguageModel::predict(const Tensor& tokens, const Scope* scope,
                                                 const std::optional<Tensor>& segments, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  if (!shape().causal)
    throw Error(ErrorKind::argument, "model", "a model whose tokens attend to later tokens", "a causal model",
                "It sees the token that it is to predict.");
  const Tensor ids = accept(tokens, "tokens");
  const Read now = read(ids, scope, segments, gradients);
  const TokenLogProb token =
      head(gradients).log_prob(now.hidden.flatten(0, 1), now.target.flatten(), /*temperature=*/1, /*with_right=*/true);
  const auto aligned = [&](const Tensor& flat) {
    return shifted_right(now.predicted.defined() ? within(flat, now.predicted.flatten()) : flat, ids.size(0));
  };
  return {aligned(token.log_prob), aligned(token.entropy), aligned(token.right)};
}

}  // namespace palm
