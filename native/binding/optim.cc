// Rows about optimizers.
#include "binding/bindings.h"
#include "optim/adam-atan2.h"
#include "optim/adam-w.h"

namespace palm::binding {

PALM_FIELDS(AdamWOptions, PALM_FIELD(beta1), PALM_FIELD(beta2), PALM_FIELD(eps), PALM_FIELD(weight_decay));
PALM_FIELDS(Atan2Options, PALM_FIELD(lr), PALM_FIELD(beta1), PALM_FIELD(beta2), PALM_FIELD(weight_decay));
PALM_FIELDS(Optimizer::NonFinite, PALM_FIELD(parameter), PALM_FIELD(gradient));
PALM_FIELDS(Optimizer::StepResult, PALM_FIELD(grad_norm), PALM_FIELD(skipped), PALM_FIELD(non_finite),
            PALM_FIELD(unreached));
PALM_FIELDS(NamedTensor, PALM_FIELD(name), PALM_FIELD(tensor));

void optim_rows(Table& table) {
  table.now<&make<AdamW, Optimizer, ParameterList, AdamWOptions>>("adamWCreate");
  table.now<&make<AdoptAtan2, Optimizer, ParameterList, Atan2Options>>("adoptAtan2Create");
  table.now<&make<AdamAtan2, Optimizer, ParameterList, Atan2Options>>("adamAtan2Create");
  table.job<&Optimizer::initialise>("optimizerInitialise");
  table.job<&Optimizer::step>("optimizerStep");
  table.job<&Optimizer::zero_grad>("optimizerZeroGrad");
  table.now<&Optimizer::state>("optimizerState");
}

}  // namespace palm::binding
