#include "optim/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace palm {

static bool needs_master(const Tensor& tensor) { return tensor.scalar_type() == at::kBFloat16; }

Optimizer::Optimizer(ParameterList parameters) {
  for (auto& parameter : parameters) {
    const Tensor value = parameter->tensor.detach();
    const auto scalar = at::TensorOptions(at::kFloat).device(value.device());
    const Tensor weight = needs_master(value) ? at::empty_like(value, at::kFloat) : value;
    slots_.push_back({parameter, weight, at::zeros({}, scalar), at::zeros_like(weight), at::zeros_like(weight), 0});
  }
}

void Optimizer::initialise() {
  for (auto& slot : slots_) {
    if (needs_master(slot.parameter->tensor)) slot.weight.copy_(slot.parameter->tensor.detach());
    slot.version = version_of({slot.parameter});
  }
}

// Parameters of one buffer share a version counter, so a new version only means that something in the buffer may have
// changed. A master copy that still rounds to its weight is kept, since it has more digits than the weight; otherwise
// the weight replaces it.
void Optimizer::refresh_masters() {
  for (auto& slot : slots_) {
    if (slot.version == version_of({slot.parameter}) || !needs_master(slot.parameter->tensor)) continue;
    const Tensor now = slot.parameter->tensor.detach();
    const Tensor same = slot.weight.to(now.scalar_type()).eq(now);
    slot.weight.copy_(at::where(same, slot.weight, now.to(slot.weight.scalar_type())));
  }
}

// Copies several tensors to the host at once, as float64, which represents every float32 exactly.
static std::vector<std::vector<double>> numbers_of(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> flat;
  for (const Tensor& tensor : tensors) flat.push_back(tensor.detach().reshape({-1}).to(at::kDouble));
  const Tensor all = at::cat(flat).cpu();
  const double* next = all.const_data_ptr<double>();
  std::vector<std::vector<double>> numbers;
  for (const Tensor& tensor : tensors) {
    numbers.emplace_back(next, next + tensor.numel());
    next += tensor.numel();
  }
  return numbers;
}

// Marks the step as broken if any loss is not finite.
static void mark_broken_losses(const std::optional<double>& loss, const std::vector<Tensor>& losses,
                               const Tensor& broken) {
  if (loss && !std::isfinite(*loss)) broken.fill_(1);
  for (const Tensor& each : losses) broken.masked_fill_(each.detach().isfinite().all().logical_not(), 1);
}

Optimizer::StepResult Optimizer::step(double lr, std::optional<double> max_grad_norm, const StepInputs& inputs) {
  at::NoGradGuard no_grad;
  std::vector<Slot*> reached;
  std::vector<Tensor> gradients;
  StepResult result{};
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!*slot.parameter->has_grad) {
      result.unreached.push_back(static_cast<int64_t>(i));
      continue;
    }
    reached.push_back(&slot);
    gradients.push_back(slot.parameter->tensor.grad());
  }
  if (reached.empty())
    throw Error(ErrorKind::argument, "optimizer.step", "no gradients", "at least one parameter with a gradient",
                "Call backward() first, on a loss that was computed from these parameters.");
  refresh_masters();
  const GradNorm norm = grad_norm(gradients, max_grad_norm);
  mark_broken_losses(inputs.loss, inputs.losses, norm.broken);
  update(reached, norm, lr);
  for (auto& slot : slots_) slot.version = version_of({slot.parameter});

  std::vector<Tensor> wanted = {norm.norm, norm.broken};
  wanted.insert(wanted.end(), inputs.losses.begin(), inputs.losses.end());
  wanted.insert(wanted.end(), inputs.read.begin(), inputs.read.end());
  const auto numbers = numbers_of(wanted);
  result.grad_norm = numbers[0][0];
  result.skipped = numbers[1][0] != 0;
  for (size_t i = 0; i < inputs.losses.size(); ++i) result.losses.push_back(numbers[2 + i][0]);
  result.read.assign(numbers.begin() + 2 + static_cast<std::ptrdiff_t>(inputs.losses.size()), numbers.end());
  if (result.skipped) {
    const auto finite = [](double value) { return std::isfinite(value); };
    const bool of_loss = (inputs.loss && !finite(*inputs.loss)) || !std::ranges::all_of(result.losses, finite);
    result.non_finite = first_non_finite(reached, norm.each, of_loss);
  }
  return result;
}

std::optional<Optimizer::NonFinite> Optimizer::first_non_finite(const std::vector<Slot*>& reached, const Tensor& norms,
                                                                bool of_loss) const {
  for (size_t i = 0; i < slots_.size(); ++i)
    if (!slots_[i].parameter->tensor.isfinite().all().item<bool>()) return NonFinite{static_cast<int64_t>(i), false};
  const auto gradient_of = [&](size_t i) { return NonFinite{reached[i] - slots_.data(), true}; };
  const Tensor finite = norms.to(at::kFloat).isfinite().cpu();
  for (size_t i = 0; i < reached.size(); ++i)
    if (!finite[static_cast<int64_t>(i)].item<bool>()) return gradient_of(i);
  if (of_loss) return {};
  return gradient_of(static_cast<size_t>(norms.argmax().item<int64_t>()));  // finite, but its square overflows
}

std::vector<Tensor> Optimizer::gradients(const std::vector<Slot*>& slots) {
  std::vector<Tensor> all;
  for (const Slot* slot : slots) all.push_back(slot->parameter->tensor.grad().to(slot->weight.scalar_type()));
  return all;
}

void Optimizer::publish(const std::vector<Slot*>& slots, const GradNorm& norm) {
  for (const Slot* slot : slots) {
    if (!needs_master(slot->parameter->tensor)) continue;
    const Tensor published = slot->parameter->tensor.detach();
    published.copy_(at::where(norm.broken.ne(0), published, slot->weight.to(published.scalar_type())));
  }
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
