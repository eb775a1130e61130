#include "rlhf/ilql-policy.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/shape.h"
#include "model/init.h"

namespace palm {

static std::vector<NamedShape> joined(std::vector<std::vector<NamedShape>> groups) {
  std::vector<NamedShape> all;
  for (auto& group : groups) all.insert(all.end(), group.begin(), group.end());
  check_fits_in_memory(all, 1, "IlqlPolicy");
  return all;
}

static std::vector<NamedShape> trained_shapes(const ModelShape& shape) {
  return joined({perceptron_shapes("ilql.q1", shape.dim, shape.num_tokens),
                 perceptron_shapes("ilql.q2", shape.dim, shape.num_tokens),
                 perceptron_shapes("ilql.value", shape.dim, 1)});
}

static std::vector<NamedShape> slow_shapes(const ModelShape& shape) {
  return joined({perceptron_shapes("ilql.target_q1", shape.dim, shape.num_tokens),
                 perceptron_shapes("ilql.target_q2", shape.dim, shape.num_tokens)});
}

static at::ScalarType dtype_of(const Policy& policy) { return policy.model()->shape().options.dtype().toScalarType(); }

// Targets move by small steps, which bfloat16 would round away.
static at::ScalarType slow_dtype_of(const Policy& policy) {
  return dtype_of(policy) == at::kBFloat16 ? at::kFloat : dtype_of(policy);
}

IlqlPolicy::IlqlPolicy(std::shared_ptr<Policy> policy)
    : policy_(std::move(policy)),
      trained_(trained_shapes(policy_->model()->shape()), dtype_of(*policy_),
               policy_->model()->shape().options.device()),
      slow_(slow_shapes(policy_->model()->shape()), slow_dtype_of(*policy_),
            policy_->model()->shape().options.device()),
      q1_(trained_.parameters(), 0),
      q2_(trained_.parameters(), 4),
      value_(trained_.parameters(), 8),
      target_q1_(slow_.parameters(), 0),
      target_q2_(slow_.parameters(), 4) {
  for (const auto& target : targets()) target->require_grad(false);
}

// Each layer starts with torch's default for linear layers, U(±1/√in).
void IlqlPolicy::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  double bound = 0;
  for (const auto& parameter : parameters()) {
    if (parameter->tensor.dim() == 2) bound = 1 / std::sqrt(parameter->tensor.size(1));  // a weight, then its bias
    fill_uniform(parameter->tensor, bound, generator);
  }
  for (size_t i = 0; i < targets().size(); ++i) targets()[i]->tensor.copy_(parameters()[i]->tensor);
}

ActionValues IlqlPolicy::evaluate(const Tensor& sequence, const Tensor& state, Gradients gradients) {
  const Tensor tokens = policy_->accept(sequence);
  expect_shape(state, "state", {tokens.size(0), -1});
  expect_range(state, "state", 0, tokens.size(1), "A state ends with a token of its row.");
  at::AutoGradMode mode(gradients != Gradients::none);
  policy_->prepare_gradients(gradients);
  if (gradients != Gradients::none) trained_.prepare_gradients();

  const Tensor hidden = policy_->hidden(tokens, gradients);
  const Tensor place = to_ids(state, "state", hidden.device()).unsqueeze(-1).expand({-1, -1, hidden.size(2)});
  const Tensor read = hidden.gather(1, place);  // [B, R, D]
  const auto slow = [&](const Perceptron& target) { return target(read.detach()); };
  const Tensor value = value_(read).squeeze(-1);
  return {.logits = policy_->model()->head(gradients).logits(read).to(value.scalar_type()),
          .q1 = q1_(read),
          .q2 = q2_(read),
          .target_q1 = slow(target_q1_),
          .target_q2 = slow(target_q2_),
          .value = value};
}

void IlqlPolicy::sync(double alpha) { move_towards(targets(), parameters(), alpha); }

Tensor IlqlPolicy::logits(const Tensor& hidden, double beta) const {
  const Tensor q1 = target_q1_(hidden), q2 = target_q2_(hidden);
  return ilql_logits(policy_->model()->head(Gradients::none).logits(hidden).to(q1.scalar_type()), q1, q2, beta);
}

}  // namespace palm
