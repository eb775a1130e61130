#include "optim/adam-atan2.h"

#include <ATen/ops/atan2.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>

namespace palm {

AdamAtan2::AdamAtan2(ParameterList parameters, const Atan2Options& options)
    : Optimizer(std::move(parameters)), options_(options) {}

void AdamAtan2::update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) {
  const std::vector<Tensor> wanted = gradients(slots);
  const Tensor broken = norm.broken.ne(0);
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = *slots[i];
    const Tensor gradient = wanted[i] / norm.divisor;
    const Tensor average = slot.exp_avg.lerp(gradient, 1 - options_.beta1);
    const Tensor square = slot.exp_avg_sq.lerp(gradient.square(), 1 - options_.beta2);
    const Tensor step = slot.step.to(at::kDouble) + 1;
    const Tensor average_hat = average / (1 - at::pow(options_.beta1, step));
    const Tensor square_hat = square / (1 - at::pow(options_.beta2, step));
    const Tensor decayed = slot.weight * (1 - options_.weight_decay * lr);
    const Tensor moved = decayed - lr * kAtan2Scale * at::atan2(average_hat, square_hat.sqrt());

    slot.weight.copy_(at::where(broken, slot.weight, moved));
    slot.exp_avg.copy_(at::where(broken, slot.exp_avg, average));
    slot.exp_avg_sq.copy_(at::where(broken, slot.exp_avg_sq, square));
    slot.step.add_(1 - norm.broken);
  }
  publish(slots, norm);
}

}  // namespace palm
