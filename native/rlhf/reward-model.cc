#include "rlhf/reward-model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "base/error.h"
#include "base/masked.h"
#include "base/shape.h"
#include "kernels/linear.h"
#include "losses/rating.h"
#include "losses/step.h"
#include "model/init.h"
#include "model/lora.h"

namespace palm {

static std::vector<NamedShape> shapes(int64_t dim, int64_t bins) {
  std::vector<NamedShape> all = {
      {"prompt_embedding", {dim}}, {"response_embedding", {dim}}, {"head.weight", {std::max<int64_t>(bins, 1), dim}}};
  if (bins > 0) all.push_back({"head.bias", {bins}});
  check_fits_in_memory(all, 1, "RewardModel.numBins");
  return all;
}

RewardModel::RewardModel(std::shared_ptr<LanguageModel> trunk, std::shared_ptr<Scope> scope, int64_t bins,
                         double dropout, Pooling pooling)
    : trunk_(std::move(trunk)),
      scope_(std::move(scope)),
      bins_(bins),
      dropout_(dropout),
      pooling_(pooling),
      buffer_(shapes(trunk_->shape().dim, bins), trunk_->shape().options.dtype().toScalarType(),
              trunk_->shape().options.device()),
      prompt_embedding_(buffer_.parameters()[0]->tensor),
      response_embedding_(buffer_.parameters()[1]->tensor),
      head_(buffer_.parameters()[2]->tensor) {
  if (bins > 0) bias_ = buffer_.parameters()[3]->tensor;
}

// Embeddings start at 0; the head starts with torch's default for linear layers, U(±1/√D).
void RewardModel::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  const double bound = 1 / std::sqrt(trunk_->shape().dim);
  prompt_embedding_.zero_();
  response_embedding_.zero_();
  fill_uniform(head_, bound, generator);
  if (bins_ > 0) fill_uniform(bias_, bound, generator);
}

void RewardModel::train(bool on, int64_t seed) {
  training_dropout_.reset();
  if (on)
    training_dropout_ = Dropout{.attention = dropout_,
                                .feed_forward = dropout_,
                                .generator = make_generator(trunk_->shape().options.device(), seed)};
}

void RewardModel::prepare(Gradients gradients) {
  if (gradients == Gradients::none) return;
  buffer_.prepare_gradients();
  if (scope_) scope_->prepare_gradients();
  if (gradients == Gradients::all) trunk_->prepare_gradients();
}

// [B, T] bool: the first lengths[i] positions of row i.
static Tensor up_to(const Tensor& lengths, const char* argument, int64_t low, const at::Device device, int64_t batch,
                    int64_t time) {
  expect_shape(lengths, argument, {batch});
  expect_range(lengths, argument, low, time + 1, "A length cannot exceed that of its row.");
  const Tensor here = to_ids(lengths, argument, device);
  return at::arange(time, here.options()).unsqueeze(0).lt(here.unsqueeze(1));
}

static Tensor accepted_mask(const Tensor& mask, const char* argument, const at::Device device, int64_t batch,
                            int64_t time) {
  expect_bool(mask, argument);
  expect_shape(mask, argument, {batch, time});
  return mask.to(device);
}

Tensor RewardModel::prompt_mask(const RewardInput& input, int64_t batch, int64_t time) const {
  const at::Device device = trunk_->shape().options.device();
  if (input.prompt_mask) return accepted_mask(*input.prompt_mask, "promptMask", device, batch, time);
  return input.prompt_lengths ? up_to(*input.prompt_lengths, "promptLengths", 0, device, batch, time) : Tensor();
}

Tensor RewardModel::real_mask(const RewardInput& input, int64_t batch, int64_t time) const {
  const at::Device device = trunk_->shape().options.device();
  if (input.mask) return accepted_mask(*input.mask, "mask", device, batch, time);
  return input.lengths ? up_to(*input.lengths, "lengths", 1, device, batch, time) : Tensor();
}

// The last true entry of each row.
static Tensor last_of(const Tensor& mask) { return mask & mask.flip({1}).cumsum(1).flip({1}).eq(1); }

// The positions to pool; undefined: all positions.
static Tensor pooled(const Tensor& real, const Tensor& prompt, Pooling pooling) {
  if (pooling == Pooling::all || !prompt.defined()) return real;
  const Tensor response = prompt.logical_not();
  return real.defined() ? real & response : response;
}

// Replaces ids after the end of a row by padding the trunk accepts; for a causal trunk any token will do, as no earlier
// token attends to it.
Tensor RewardModel::padded(const Tensor& sequence, const Tensor& real) const {
  return sequence.masked_fill(real.to(sequence.device()).logical_not(), trunk_->shape().causal ? 0 : -1);
}

struct RewardModel::Read {
  Tensor hidden;        // [B, T, D], float32 or float64
  Tensor prompt, real;  // masks [B, T]; undefined if the input does not specify them
};

RewardModel::Read RewardModel::read(const RewardInput& input, Gradients gradients) {
  expect_token_shape(input.sequence, "sequence");
  const int64_t batch = input.sequence.size(0), time = input.sequence.size(1);
  const Tensor prompt = prompt_mask(input, batch, time), real = real_mask(input, batch, time);
  const Tensor tokens = trunk_->accept(input.lengths ? padded(input.sequence, real) : input.sequence, "sequence");
  ForwardOptions options{.scope = scope_.get(), .dropout = training_dropout_, .gradients = gradients};
  if (prompt.defined())
    options.extra_embedding = at::where(prompt.unsqueeze(-1), widened(prompt_embedding_), widened(response_embedding_))
                                  .to(head_.scalar_type());
  return {trunk_->hidden(tokens, options).to(widened(head_).scalar_type()), prompt, real};
}

Tensor RewardModel::head_of(const RewardInput& input, Gradients gradients) {
  const auto [hidden, prompt, real] = read(input, gradients);
  const Tensor weight = widened(head_), bias = bins_ > 0 ? widened(bias_) : bias_;
  Tensor mask = pooled(real, prompt, pooling_);
  if (pooling_ == Pooling::last) mask = last_of(real.defined() ? real : at::ones_like(hidden.select(2, 0), at::kBool));
  const Tensor mean = mask.defined() ? masked_mean_rows(hidden, mask) : hidden.mean(1);
  const Tensor out = at::linear(mean, weight, bias);
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
  const Tensor score = score_of(head_of(input, Gradients::none));
  return shift_ == 0 ? score : score + shift_;
}

Tensor RewardModel::loss(const RewardInput& input, const Tensor& labels, std::optional<double> denominator,
                         Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  prepare(gradients);
  expect_token_shape(input.sequence, "sequence");
  expect_shape(labels, "labels", {input.sequence.size(0)});
  if (bins_ > 0) {
    expect_range(labels, "labels", 0, bins_, "Labels start at 0; pass ratings 1 … N as { ratings }.");
    return classification_loss(head_of(input, gradients), to_ids(labels, "labels", trunk_->shape().options.device()),
                               denominator);
  }
  const Tensor head = head_of(input, gradients);
  return regression_loss(head, labels.to(head.options()), denominator);
}

Loss RewardModel::ranking_loss(const RewardInput& input, const Tensor& groups, const Tensor& ranks,
                               const RankingOptions& options, std::optional<double> denominator, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  prepare(gradients);
  expect_token_shape(input.sequence, "sequence");
  expect_shape(groups, "groups", {input.sequence.size(0)});
  expect_shape(ranks, "ranks", {input.sequence.size(0)});
  return palm::ranking_loss(score_of(head_of(input, gradients)), groups, ranks, options, denominator);
}

Tensor RewardModel::token_scores(const RewardInput& input, Gradients gradients) {
  at::AutoGradMode mode(gradients != Gradients::none);
  if (bins_ > 0)
    throw Error(ErrorKind::argument, "numBins", std::to_string(bins_), "none",
                "A model of ratings scores whole answers; create the model without numBins.");
  prepare(gradients);
  return at::linear(read(input, gradients).hidden, widened(head_)).squeeze(-1);
}

Loss RewardModel::step_loss(const RewardInput& input, const Tensor& labels, std::optional<double> denominator,
                            Gradients gradients) {
  const Tensor logit = token_scores(input, gradients);
  at::AutoGradMode mode(gradients != Gradients::none);
  expect_shape(labels, "labels", logit.sizes());
  return palm::step_loss(logit, to_ids(labels, "labels", logit.device()), denominator);
}

}  // namespace palm
