#include "rlhf/flowrl-policy.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/masked.h"
#include "base/shape.h"
#include "model/init.h"

namespace palm {

static std::vector<NamedShape> shapes(const ModelShape& shape) {
  const std::vector<NamedShape> all = perceptron_shapes("partition", shape.dim, 1);
  check_fits_in_memory(all, 1, "FlowrlPolicy");
  return all;
}

FlowrlPolicy::FlowrlPolicy(std::shared_ptr<Policy> policy)
    : policy_(std::move(policy)),
      buffer_(shapes(policy_->model()->shape()), policy_->model()->shape().options.dtype().toScalarType(),
              policy_->model()->shape().options.device()),
      partition_(buffer_.parameters(), 0) {}

// The hidden layer as torch's linear layers, U(±1/√in); the output at 0, so that log Z is 0 while the policy is the reference.
void FlowrlPolicy::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  const ParameterList& all = parameters();
  const double bound = 1 / std::sqrt(policy_->model()->shape().dim);
  for (size_t i : {0, 1}) fill_uniform(all[i]->tensor, bound, generator);
  for (size_t i : {2, 3}) all[i]->tensor.zero_();
}

FlowrlEvaluation FlowrlPolicy::evaluate(const Tensor& sequence, const Tensor& response_mask, double temperature,
                                        Gradients gradients) {
  const Tensor tokens = policy_->accept(sequence);
  expect_bool(response_mask, "responseMask");
  expect_shape(response_mask, "responseMask", tokens.sizes());
  at::AutoGradMode mode(gradients != Gradients::none);
  policy_->prepare_gradients(gradients);
  if (gradients != Gradients::none) buffer_.prepare_gradients();

  const Tensor hidden = policy_->hidden(tokens, gradients);
  const LogProb policy = policy_->log_prob(hidden, tokens, temperature, gradients);
  const Tensor in_prompt = response_mask.to(at::kLong).cumsum(1).eq(0);
  const Tensor precise = hidden.to(c10::promoteTypes(hidden.scalar_type(), at::kFloat));
  const Tensor log_partition = partition_(masked_mean_rows(precise, in_prompt)).squeeze(-1);
  return {policy.log_prob, policy.entropy, log_partition};
}

}  // namespace palm
