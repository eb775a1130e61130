// Table rows for optimizers.
#include "binding/bindings.h"
#include "optim/adam-atan2.h"
#include "optim/adam-w.h"

namespace palm::binding {

PALM_FIELDS(AdamWOptions, PALM_FIELD(beta1), PALM_FIELD(beta2), PALM_FIELD(eps), PALM_FIELD(weight_decay));
PALM_FIELDS(Atan2Options, PALM_FIELD(lr), PALM_FIELD(beta1), PALM_FIELD(beta2), PALM_FIELD(weight_decay));
PALM_FIELDS(Optimizer::NonFinite, PALM_FIELD(parameter), PALM_FIELD(gradient));
PALM_FIELDS(Optimizer::StepResult, PALM_FIELD(grad_norm), PALM_FIELD(skipped), PALM_FIELD(non_finite),
            PALM_FIELD(unreached), PALM_FIELD(losses), PALM_FIELD(read));
PALM_FIELDS(NamedTensor, PALM_FIELD(name), PALM_FIELD(tensor));

static Optimizer::StepResult optimizer_step(Optimizer& optimizer, double lr, std::optional<double> max_grad_norm,
                                            std::optional<double> loss, const std::vector<Tensor>& losses,
                                            const std::vector<Tensor>& read) {
  for (const Tensor& each : losses)
    if (each.numel() != 1) throw Error(ErrorKind::shape, "loss", "a tensor with several elements", "a scalar");
  count_read();
  return optimizer.step(lr, max_grad_norm, {.loss = loss, .losses = losses, .read = read});
}

void optim_rows(Table& table) {
  table.now<&make<AdamW, Optimizer, ParameterList, AdamWOptions>>("adamWCreate");
  table.now<&make<AdoptAtan2, Optimizer, ParameterList, Atan2Options>>("adoptAtan2Create");
  table.now<&make<AdamAtan2, Optimizer, ParameterList, Atan2Options>>("adamAtan2Create");
  table.job<&Optimizer::initialise>("optimizerInitialise");
  table.job<&optimizer_step>("optimizerStep");
  table.job<&Optimizer::zero_grad>("optimizerZeroGrad");
  table.now<&Optimizer::state>("optimizerState");
}

}  // namespace palm::binding
