#include "model/language-model.h"

#include <ATen/core/grad_mode.h>

#include <limits>

#include "base/error.h"
#include "base/shape.h"
#include "losses/language.h"
#include "model/segments.h"

namespace palm {

Tensor detached_unless_trained(Gradients gradients, const Tensor& weight) {
  return gradients == Gradients::adapters && weight.defined() ? weight.detach() : weight;
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

Tensor LanguageModel::loss(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& mask,
                           const std::optional<Tensor>& segments, std::optional<double> denominator,
                           Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  if (gradients == Gradients::all) prepare_gradients();
  const Tensor ids = accept(tokens, "tokens");
  if (ids.size(1) < 2)
    throw Error(ErrorKind::shape, "tokens", "rows of 1 token", "rows of at least 2 tokens",
                "A loss needs a next token to predict.");
  if (mask) {
    expect_bool(*mask, "mask");
    expect_shape(*mask, "mask", ids.sizes());
  }
  const int64_t time = ids.size(1) - 1;
  const Tensor sequences = accept_segments(segments, ids);
  Tensor targets = mask ? mask->to(ids.device()).narrow(1, 1, time) : Tensor();
  ForwardOptions options{.scope = scope, .gradients = gradients};
  if (sequences.defined()) {
    options.segments = sequences.narrow(1, 0, time);
    const Tensor predicted = starts_sequence(sequences).narrow(1, 1, time).logical_not();
    targets = targets.defined() ? targets & predicted : predicted;
  }
  const Tensor read = hidden(ids.narrow(1, 0, time), options);
  const Tensor labels = language_labels(ids.narrow(1, 1, time), targets, shape().ignore_index);
  const Tensor total = head(gradients).cross_entropy(read.flatten(0, 1), labels.flatten());
  return language_loss(total, labels, denominator);
}

}  // namespace palm
