#include "base/parameter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "base/available-memory.h"
#include "base/error.h"
#include "base/shape.h"

namespace palm {

void check_fits_in_memory(const std::vector<NamedShape>& group, int64_t groups, const char* argument) {
  constexpr double kGroupBytes = 16384, kNumberBytes = 2, kMaxBytes = 1e14;
  double numbers = 0;
  for (const auto& [name, shape] : group) {
    double product = 1;
    for (const int64_t size : shape) product *= static_cast<double>(size);
    numbers += product;
  }
  const double count = static_cast<double>(groups), available = static_cast<double>(available_memory());
  const double bytes = count * (numbers * kNumberBytes + kGroupBytes);
  if (bytes > kMaxBytes || count * kGroupBytes > available) throw out_of_memory(argument, bytes, available);
}

void move_towards(const ParameterList& targets, const ParameterList& sources, double share) {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < targets.size(); ++i) {
    const Tensor& target = targets[i]->tensor;
    target.lerp_(sources[i]->tensor.to(target.scalar_type()), share);
  }
}

// Gradients are summed over micro-batches; bfloat16 would round at every addition.
static at::ScalarType gradient_dtype(at::ScalarType dtype) { return dtype == at::kBFloat16 ? at::kFloat : dtype; }

std::optional<Tensor> Parameter::grad() const {
  if (!*has_grad || !tensor.grad().defined()) return {};
  return tensor.grad();
}

void Parameter::set_grad(const Tensor& grad) {
  at::NoGradGuard no_grad;
  expect_shape(grad, "gradient", tensor.sizes());
  if (!tensor.grad().defined())
    tensor.mutable_grad() =
        gradient.defined() ? gradient : at::zeros_like(tensor, gradient_dtype(tensor.scalar_type()));
  tensor.mutable_grad().copy_(grad);
  *has_grad = true;
}

void Parameter::zero_grad() {
  at::NoGradGuard no_grad;
  if (tensor.grad().defined()) tensor.mutable_grad().zero_();
  *has_grad = false;
}

void Parameter::require_grad(bool on) {
  tensor.set_requires_grad(on);
  if (!on) *has_grad = false;
}

static void watch(Parameter& parameter) {
  parameter.tensor.set_requires_grad(true);
  parameter.tensor.set_grad_dtype(gradient_dtype(parameter.tensor.scalar_type()));
  parameter.has_grad = std::make_shared<bool>(false);
  parameter.tensor.register_hook([reached = parameter.has_grad](const Tensor&) { *reached = true; });
}

std::shared_ptr<Parameter> make_parameter(const Tensor& values) {
  if (!values.is_floating_point())
    throw Error(ErrorKind::dtype, "parameter", std::string("dtype ") + at::toString(values.scalar_type()),
                "a floating point dtype", "Pass { dtype: 'float32' }.");
  auto parameter = std::make_shared<Parameter>();
  parameter->name = "parameter";
  parameter->tensor = values.detach();
  watch(*parameter);
  return parameter;
}

int64_t version_of(const ParameterList& parameters) {
  int64_t sum = 0;
  for (const auto& parameter : parameters) sum += static_cast<int64_t>(parameter->tensor._version());
  return sum;
}

// Views are aligned to 64 bytes (256 on CUDA) so that vectorised kernels get aligned rows.
static int64_t aligned(int64_t elements, at::ScalarType dtype, at::Device device) {
  const int64_t step = (device.is_cuda() ? 256 : 64) / static_cast<int64_t>(at::elementSize(dtype));
  return (elements + step - 1) / step * step;
}

ParameterBuffer::ParameterBuffer(const std::vector<NamedShape>& shapes, at::ScalarType dtype, at::Device device) {
  int64_t total = 0;
  for (const auto& entry : shapes) {
    offsets_.push_back(total);
    total += aligned(c10::multiply_integers(entry.shape), dtype, device);
  }
  values_ = at::empty({total}, at::TensorOptions().dtype(dtype).device(device));
  for (size_t i = 0; i < shapes.size(); ++i) {
    auto parameter = std::make_shared<Parameter>();
    parameter->name = shapes[i].name;
    // detach() makes a leaf that shares memory and version counter; `.data` would lose the version counter.
    parameter->tensor =
        values_.narrow(0, offsets_[i], c10::multiply_integers(shapes[i].shape)).view(shapes[i].shape).detach();
    watch(*parameter);
    parameters_.push_back(std::move(parameter));
  }
}

void ParameterBuffer::prepare_gradients() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = *parameters_[i];
    if (!parameter.tensor.requires_grad() || parameter.tensor.grad().defined()) continue;
    if (!gradients_.defined()) gradients_ = at::zeros_like(values_, gradient_dtype(values_.scalar_type()));
    parameter.gradient = gradients_.narrow(0, offsets_[i], parameter.tensor.numel()).view(parameter.tensor.sizes());
    parameter.tensor.mutable_grad() = parameter.gradient;
  }
}

}  // namespace palm
