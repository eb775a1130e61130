#include "optim/adam-w.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>

#include "kernels/dispatch.h"

namespace palm {

AdamW::AdamW(ParameterList parameters, const AdamWOptions& options)
    : Optimizer(std::move(parameters)), options_(options) {}

// One pass over a parameter: clip, moments, weight, and the rounded copy used by the model.
static void fused_step(const Kernels& kernels, const Tensor& parameter, const Tensor& gradient, AdamWArgs args) {
  args.parameter = parameter.mutable_data_ptr();
  args.gradient = gradient.const_data_ptr<float>();
  launch(kernels, kernels.adam_w, args, parameter.numel(), grain_of(1));
  parameter.unsafeGetTensorImpl()->bump_version();  // autograd does not notice writes through a pointer
}

void AdamW::update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) {
  std::vector<Tensor> steps;
  for (Slot* slot : slots) steps.push_back(slot->step);
  at::_foreach_add_(steps, 1 - norm.broken);  // a skipped step must not count
  std::vector<Slot*> rest;
  for (Slot* slot : slots) {
    const Tensor& parameter = slot->parameter->tensor;
    const Kernels* const kernels = parameter.is_contiguous() ? kernels_for(parameter) : nullptr;
    if (!kernels) {
      rest.push_back(slot);
      continue;
    }
    const auto real = [](double value) { return static_cast<float>(value); };
    const bool master = slot->weight.const_data_ptr() != parameter.const_data_ptr();
    const AdamWArgs args{.parameter = nullptr,
                         .gradient = nullptr,
                         .weight = master ? slot->weight.mutable_data_ptr<float>() : nullptr,
                         .exp_avg = slot->exp_avg.mutable_data_ptr<float>(),
                         .exp_avg_sq = slot->exp_avg_sq.mutable_data_ptr<float>(),
                         .step = slot->step.const_data_ptr<float>(),
                         .divisor = norm.divisor.const_data_ptr<float>(),
                         .broken = norm.broken.const_data_ptr<float>(),
                         .lr = real(lr),
                         .beta1 = real(options_.beta1),
                         .beta2 = real(options_.beta2),
                         .eps = real(options_.eps),
                         .weight_decay = real(options_.weight_decay)};
    fused_step(*kernels, parameter, parameter.grad().contiguous(), args);
  }
  if (!rest.empty()) reference_update(rest, norm, lr);
}

void AdamW::reference_update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) {
  std::vector<Tensor> weights, averages, squares, steps;
  for (Slot* slot : slots) {
    weights.push_back(slot->weight);
    averages.push_back(slot->exp_avg);
    squares.push_back(slot->exp_avg_sq);
    steps.push_back(slot->step);
  }
  std::vector<Tensor> gradient = gradients(slots);
  if (gradient[0].is_cuda())  // on CUDA the step writes the divided gradient back
    for (Tensor& each : gradient) each = each.clone();
  at::_fused_adamw_(weights, gradient, averages, squares, /*max_exp_avg_sqs=*/{}, steps, lr, options_.beta1,
                    options_.beta2, options_.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false,
                    norm.divisor, norm.broken);
  publish(slots, norm);
}

}  // namespace palm
