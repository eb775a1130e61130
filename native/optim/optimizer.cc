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

// Parameters of one buffer share a version, so a new one says only that something there may have been written. A master
// that still rounds to its weight stays, with the digits that the weight does not have; where it does not, the weight
// is what counts.
void Optimizer::read_what_others_wrote() {
  for (auto& slot : slots_) {
    if (slot.version == version_of({slot.parameter}) || !needs_master(slot.parameter->tensor)) continue;
    const Tensor now = slot.parameter->tensor.detach();
    const Tensor same = slot.weight.to(now.scalar_type()).eq(now);
    slot.weight.copy_(at::where(same, slot.weight, now.to(slot.weight.scalar_type())));
  }
}

// Several tensors in one copy to the host, as float64, which holds every float32 as it is.
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

// Whether a loss is not finite: nothing may move then.
static void note_broken_losses(const std::optional<double>& loss, const std::vector<Tensor>& losses,
                               const Tensor& broken) {
  if (loss && !std::isfinite(*loss)) broken.fill_(1);
  for (const Tensor& each : losses) broken.masked_fill_(each.detach().isfinite().all().logical_not(), 1);
}

Optimizer::StepResult Optimizer::step(double lr, std::optional<double> max_grad_norm, const Told& told) {
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
                "Call backward() on a loss first, and check that it was read through these parameters.");
  read_what_others_wrote();
  const GradNorm norm = grad_norm(gradients, max_grad_norm);
  note_broken_losses(told.loss, told.losses, norm.broken);
  update(reached, norm, lr);
  for (auto& slot : slots_) slot.version = version_of({slot.parameter});

  std::vector<Tensor> wanted = {norm.norm, norm.broken};
  wanted.insert(wanted.end(), told.losses.begin(), told.losses.end());
  wanted.insert(wanted.end(), told.read.begin(), told.read.end());
  const auto numbers = numbers_of(wanted);
  result.grad_norm = numbers[0][0];
  result.skipped = numbers[1][0] != 0;
  for (size_t i = 0; i < told.losses.size(); ++i) result.losses.push_back(numbers[2 + i][0]);
  result.read.assign(numbers.begin() + 2 + static_cast<std::ptrdiff_t>(told.losses.size()), numbers.end());
  if (result.skipped) {
    const auto finite = [](double value) { return std::isfinite(value); };
    const bool of_loss = (told.loss && !finite(*told.loss)) || !std::ranges::all_of(result.losses, finite);
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
  return gradient_of(static_cast<size_t>(norms.argmax().item<int64_t>()));  // finite, but too large to be squared
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
