#include "rlhf/reward-model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "base/error.h"
#include "base/masked.h"
#include "base/shape.h"
#include "kernels/linear.h"
#include "losses/ranking.h"
#include "losses/rating.h"
#include "model/lora.h"
#include "model/palm.h"

namespace palm {

static std::vector<ParameterBuffer::Entry> entries(int64_t dim, int64_t bins) {
  std::vector<ParameterBuffer::Entry> all = {
      {"prompt_embedding", {dim}}, {"response_embedding", {dim}}, {"head.weight", {std::max<int64_t>(bins, 1), dim}}};
  if (bins > 0) all.push_back({"head.bias", {bins}});
  return all;
}

RewardModel::RewardModel(std::shared_ptr<LanguageModel> trunk, std::shared_ptr<Scope> scope, int64_t bins,
                         double dropout, bool pool_response)
    : trunk_(std::move(trunk)),
      scope_(std::move(scope)),
      bins_(bins),
      dropout_(dropout),
      pool_response_(pool_response),
      buffer_(entries(trunk_->dim(), bins), trunk_->options().dtype().toScalarType(), trunk_->options().device()),
      prompt_embedding_(buffer_.parameters()[0]->tensor),
      response_embedding_(buffer_.parameters()[1]->tensor),
      head_(buffer_.parameters()[2]->tensor) {
  if (bins > 0) bias_ = buffer_.parameters()[3]->tensor;
}

// Embeddings start at 0, the head with torch's default for linear layers, U(±1/√D).
void RewardModel::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  const double bound = 1 / std::sqrt(trunk_->dim());
  prompt_embedding_.zero_();
  response_embedding_.zero_();
  fill_uniform(head_, bound, generator);
  if (bins_ > 0) fill_uniform(bias_, bound, generator);
}

void RewardModel::train(bool on, int64_t seed) {
  training_dropout_.reset();
  if (on) training_dropout_ = Dropout{dropout_, dropout_, make_generator(trunk_->options().device(), seed)};
}

void RewardModel::prepare(Gradients gradients) {
  if (gradients == Gradients::none) return;
  buffer_.prepare_gradients();
  if (scope_) scope_->prepare_gradients();
  if (gradients == Gradients::all) trunk_->prepare_gradients();
}

Tensor RewardModel::prompt_mask(const RewardInput& input, int64_t batch, int64_t time) const {
  const at::Device device = trunk_->options().device();
  if (input.prompt_mask) {
    expect_bool(*input.prompt_mask, "promptMask");
    expect_shape(*input.prompt_mask, "promptMask", {batch, time});
    return input.prompt_mask->to(device);
  }
  expect_shape(*input.prompt_lengths, "promptLengths", {batch});
  expect_range(*input.prompt_lengths, "promptLengths", 0, time + 1, "A prompt cannot be longer than its sequence.");
  const Tensor lengths = to_ids(*input.prompt_lengths, "promptLengths", device);
  return at::arange(time, lengths.options()).unsqueeze(0).lt(lengths.unsqueeze(1));
}

Tensor RewardModel::pooled_mask(const RewardInput& input, const Tensor& tokens, const Tensor& prompt) const {
  Tensor mask;
  if (input.mask) {
    expect_bool(*input.mask, "mask");
    expect_shape(*input.mask, "mask", tokens.sizes());
    mask = input.mask->to(tokens.device());
  }
  if (!pool_response_ || !prompt.defined()) return mask;
  const Tensor response = prompt.logical_not();
  return mask.defined() ? mask & response : response;
}

Tensor RewardModel::head_of(const RewardInput& input, Gradients gradients) {
  const Tensor tokens = trunk_->accept(input.sequence, "sequence");
  ReadOptions reading{.scope = scope_.get(), .dropout = training_dropout_, .gradients = gradients};
  Tensor prompt;  // [B, T]; undefined where the input does not tell
  if (input.prompt_lengths || input.prompt_mask) {
    prompt = prompt_mask(input, tokens.size(0), tokens.size(1));
    reading.extra_embedding = at::where(prompt.unsqueeze(-1), widened(prompt_embedding_), widened(response_embedding_))
                                  .to(head_.scalar_type());
  }
  const Tensor weight = widened(head_), bias = bins_ > 0 ? widened(bias_) : bias_;
  const Tensor hidden = trunk_->hidden(tokens, reading).to(weight.scalar_type());
  const Tensor mask = pooled_mask(input, tokens, prompt);
  const Tensor pooled = mask.defined() ? masked_mean_rows(hidden, mask) : hidden.mean(1);
  const Tensor out = at::linear(pooled, weight, bias);
  return bins_ > 0 ? out : out.squeeze(-1);
}

Tensor RewardModel::forward(const RewardInput& input, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  prepare(gradients);
  return head_of(input, gradients);
}

Tensor RewardModel::score_of(const Tensor& head) const {
  if (bins_ == 0) return head;
  return (at::softmax(head, -1) * at::arange(bins_, head.options())).sum(-1);
}

Tensor RewardModel::score(const RewardInput& input) {
  at::NoGradGuard no_grad;
  return score_of(head_of(input, Gradients::none));
}

Tensor RewardModel::loss(const RewardInput& input, const Tensor& labels, std::optional<double> denominator,
                         Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  prepare(gradients);
  expect_token_shape(input.sequence, "sequence");
  expect_shape(labels, "labels", {input.sequence.size(0)});
  if (bins_ > 0) {
    expect_range(labels, "labels", 0, bins_, "Labels count from 0; pass ratings 1 … N as { ratings }.");
    return classification_loss(head_of(input, gradients), to_ids(labels, "labels", trunk_->options().device()),
                               denominator);
  }
  const Tensor head = head_of(input, gradients);
  return regression_loss(head, labels.to(head.options()), denominator);
}

Loss RewardModel::ranking_loss(const RewardInput& input, const Tensor& groups, const Tensor& ranks,
                               std::optional<double> denominator, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  prepare(gradients);
  expect_token_shape(input.sequence, "sequence");
  expect_shape(groups, "groups", {input.sequence.size(0)});
  expect_shape(ranks, "ranks", {input.sequence.size(0)});
  const Tensor score = score_of(head_of(input, gradients));
  return palm::ranking_loss(score, groups.to(score.device()), ranks.to(score.device()), denominator);
}

}  // namespace palm
