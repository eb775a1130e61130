// Table rows for parameters.
#include <ATen/core/grad_mode.h>

#include "binding/bindings.h"

namespace palm::binding {

std::vector<NamedParameter> named(const ParameterList& parameters) {
  std::vector<NamedParameter> all;
  for (const auto& parameter : parameters) all.push_back({parameter->name, parameter->tensor.sizes().vec(), parameter});
  return all;
}

static NamedParameter parameter_create(const Tensor& value) { return named({make_parameter(value)}).front(); }

// The leaf itself: what is computed from it can be differentiated down to the parameter.
static Tensor parameter_leaf(const Parameter& parameter) { return parameter.tensor; }

static void parameters_copy(const ParameterList& targets, const ParameterList& sources) {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < targets.size(); ++i) targets[i]->value().copy_(sources[i]->value());
}

static void parameters_require_grad(const ParameterList& parameters, bool on) {
  for (const auto& parameter : parameters) parameter->require_grad(on);
}

// The index of the first parameter that has a non-finite value.
static std::optional<int64_t> parameters_first_non_finite(const ParameterList& parameters) {
  count_read();
  for (size_t i = 0; i < parameters.size(); ++i)
    if (!parameters[i]->tensor.isfinite().all().item<bool>()) return static_cast<int64_t>(i);
  return {};
}

void parameter_rows(Table& table) {
  table.now<&parameter_create>("parameterCreate");
  table.job<&Parameter::value>("parameterValue");
  table.job<&parameter_leaf>("parameterLeaf");
  table.job<&Parameter::grad>("parameterGrad");
  table.job<&Parameter::set_grad>("parameterSetGrad");
  table.job<&parameters_copy>("parametersCopy");
  table.job<&move_towards>("parametersMove");
  table.job<&parameters_require_grad>("parametersRequireGrad");
  table.job<&parameters_first_non_finite>("parametersFirstNonFinite");
}

}  // namespace palm::binding
