#include "optim/adopt-atan2.h"

#include <ATen/ops/atan2.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/where.h>

namespace palm {

AdoptAtan2::AdoptAtan2(ParameterList parameters, const Atan2Options& options)
    : Optimizer(std::move(parameters)), options_(options) {}

void AdoptAtan2::update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) {
  const std::vector<Tensor> wanted = gradients(slots);
  const Tensor broken = norm.broken.ne(0);
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = *slots[i];
    const Tensor gradient = wanted[i] / norm.divisor, square = gradient.square(), first = slot.step.eq(0);
    const Tensor average = slot.exp_avg.lerp(at::atan2(gradient, slot.exp_avg_sq.sqrt()), 1 - options_.beta1);
    const Tensor decayed = slot.weight * (1 - options_.weight_decay * lr / options_.lr);
    const Tensor moved = decayed - lr * kAtan2Scale * average;

    slot.weight.copy_(at::where(broken, slot.weight, at::where(first, decayed, moved)));
    slot.exp_avg.copy_(at::where(broken | first, slot.exp_avg, average));
    slot.exp_avg_sq.copy_(
        at::where(broken, slot.exp_avg_sq, at::where(first, square, slot.exp_avg_sq.lerp(square, 1 - options_.beta2))));
    slot.step.add_(1 - norm.broken);
  }
  publish(slots, norm);
}

}  // namespace palm
