#include "optim/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "base/error.h"

namespace palm {

static bool needs_master(const Tensor& tensor) { return tensor.scalar_type() == at::kBFloat16; }

Optimizer::Optimizer(ParameterList parameters) {
  for (auto& parameter : parameters) {
    if (parameter->slice)
      throw Error(ErrorKind::argument, "parameters", "the view " + parameter->name, "parameters themselves",
                  "Views under the Python library's names can be read, not trained: pass palm.parameters().");
    const Tensor value = parameter->tensor.detach();
    const auto scalar = at::TensorOptions(at::kFloat).device(value.device());
    const Tensor weight = needs_master(value) ? at::empty_like(value, at::kFloat) : value;
    slots_.push_back({parameter, weight, at::zeros({}, scalar), at::zeros_like(weight), at::zeros_like(weight)});
  }
}

void Optimizer::initialise() {
  for (auto& slot : slots_)
    if (needs_master(slot.parameter->tensor)) slot.weight.copy_(slot.parameter->tensor.detach());
}

Optimizer::StepResult Optimizer::step(double lr, std::optional<double> max_grad_norm) {
  at::NoGradGuard no_grad;
  std::vector<Slot*> reached;
  std::vector<Tensor> gradients;
  for (auto& slot : slots_) {
    if (!*slot.parameter->seen || !slot.parameter->tensor.requires_grad()) continue;
    reached.push_back(&slot);
    gradients.push_back(slot.parameter->tensor.grad());
  }
  if (reached.empty())
    throw Error(ErrorKind::argument, "optimizer.step", "no gradients", "at least one parameter with a gradient",
                "Call backward() on a loss first, and check that its parameters are not frozen.");
  const GradNorm norm = grad_norm(gradients, max_grad_norm);
  update(reached, norm, lr);
  const double value = norm.norm.item<double>();
  return {value, !std::isfinite(value)};
}

std::vector<Tensor> Optimizer::gradients(const std::vector<Slot*>& slots) {
  std::vector<Tensor> all;
  for (const Slot* slot : slots) all.push_back(slot->parameter->tensor.grad().to(slot->weight.scalar_type()));
  return all;
}

void Optimizer::publish(const std::vector<Slot*>& slots) {
  for (const Slot* slot : slots)
    if (needs_master(slot->parameter->tensor)) slot->parameter->tensor.detach().copy_(slot->weight);
}

void Optimizer::zero_grad() {
  for (auto& slot : slots_) slot.parameter->zero_grad();
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> all;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const std::string prefix = std::to_string(i) + ".";
    const Slot& slot = slots_[i];
    all.push_back({prefix + "step", slot.step});
    all.push_back({prefix + "exp_avg", slot.exp_avg});
    all.push_back({prefix + "exp_avg_sq", slot.exp_avg_sq});
    if (needs_master(slot.parameter->tensor)) all.push_back({prefix + "weight", slot.weight});
  }
  return all;
}

}  // namespace palm
