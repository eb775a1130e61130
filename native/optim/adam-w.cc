#include "optim/adam-w.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>

namespace palm {

AdamW::AdamW(ParameterList parameters, const AdamWOptions& options)
    : Optimizer(std::move(parameters)), options_(options) {}

void AdamW::update(const std::vector<Slot*>& slots, const std::vector<Tensor>& gradients, const GradNorm& norm,
                   double lr) {
  std::vector<Tensor> weights, averages, squares, steps;
  for (Slot* slot : slots) {
    weights.push_back(slot->weight);
    averages.push_back(slot->exp_avg);
    squares.push_back(slot->exp_avg_sq);
    steps.push_back(slot->step);
  }
  // The fused kernel reads the step count but does not advance it; a step that moves nothing must not count.
  at::_foreach_add_(steps, 1 - norm.broken);
  at::_fused_adamw_(weights, gradients, averages, squares, /*max_exp_avg_sqs=*/{}, steps, lr, options_.beta1,
                    options_.beta2, options_.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false,
                    norm.divisor, norm.broken);
}

}  // namespace palm
