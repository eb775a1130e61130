#include "optim/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

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

Optimizer::StepResult Optimizer::step(double lr, std::optional<double> max_grad_norm, std::optional<double> loss) {
  at::NoGradGuard no_grad;
  std::vector<Slot*> reached;
  std::vector<Tensor> gradients;
  std::vector<int64_t> unreached;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!*slot.parameter->has_grad) {
      unreached.push_back(static_cast<int64_t>(i));
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
  const bool broken_loss = loss && !std::isfinite(*loss);
  if (broken_loss) norm.broken.fill_(1);
  update(reached, norm, lr);
  for (auto& slot : slots_) slot.version = version_of({slot.parameter});
  const Tensor outcome = at::stack({norm.norm, norm.broken}).cpu();
  const bool skipped = outcome[1].item<double>() != 0;
  return {outcome[0].item<double>(), skipped,
          skipped ? first_non_finite(reached, norm.each, broken_loss) : std::nullopt, std::move(unreached)};
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
