#include "base/parameter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "base/error.h"
#include "base/shape.h"

namespace palm {

static Tensor sliced(const Tensor& tensor, const std::optional<Slice>& slice) {
  return slice ? tensor.narrow(slice->dim, slice->start, slice->length) : tensor;
}

// Steps are summed over micro-batches, which bfloat16 would round each time.
static at::ScalarType gradient_dtype(at::ScalarType dtype) { return dtype == at::kBFloat16 ? at::kFloat : dtype; }

std::vector<int64_t> Parameter::shape() const { return sliced(tensor.detach(), slice).sizes().vec(); }

Tensor Parameter::value() const { return sliced(tensor.detach(), slice); }

std::optional<Tensor> Parameter::grad() const {
  if (!*seen || !tensor.grad().defined()) return {};
  return sliced(tensor.grad(), slice);
}

void Parameter::set_grad(const Tensor& grad) {
  at::NoGradGuard no_grad;
  expect_shape(grad, "gradient", shape());
  if (!tensor.grad().defined())
    tensor.mutable_grad() =
        gradient.defined() ? gradient : at::zeros_like(tensor, gradient_dtype(tensor.scalar_type()));
  sliced(tensor.mutable_grad(), slice).copy_(grad);
  *seen = true;
}

void Parameter::zero_grad() {
  at::NoGradGuard no_grad;
  if (tensor.grad().defined()) tensor.mutable_grad().zero_();
  *seen = false;
}

void Parameter::require_grad(bool on) {
  tensor.set_requires_grad(on);
  if (!on) *seen = false;
}

static void watch(Parameter& parameter) {
  parameter.tensor.set_requires_grad(true);
  parameter.tensor.set_grad_dtype(gradient_dtype(parameter.tensor.scalar_type()));
  parameter.seen = std::make_shared<bool>(false);
  parameter.tensor.register_hook([seen = parameter.seen](const Tensor&) { *seen = true; });
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

std::shared_ptr<Parameter> view_of(const std::shared_ptr<Parameter>& whole, std::string name,
                                   std::optional<Slice> slice) {
  auto view = std::make_shared<Parameter>(*whole);
  view->name = std::move(name);
  view->slice = slice ? slice : Slice{0, 0, whole->tensor.size(0)};
  return view;
}

// Views start at 64 bytes (256 on CUDA) so that vectorised kernels meet aligned rows.
static int64_t aligned(int64_t elements, at::ScalarType dtype, at::Device device) {
  const int64_t step = (device.is_cuda() ? 256 : 64) / static_cast<int64_t>(at::elementSize(dtype));
  return (elements + step - 1) / step * step;
}

ParameterBuffer::ParameterBuffer(const std::vector<Entry>& entries, at::ScalarType dtype, at::Device device) {
  int64_t total = 0;
  for (const auto& entry : entries) {
    offsets_.push_back(total);
    total += aligned(c10::multiply_integers(entry.shape), dtype, device);
  }
  values_ = at::empty({total}, at::TensorOptions().dtype(dtype).device(device));
  for (size_t i = 0; i < entries.size(); ++i) {
    auto parameter = std::make_shared<Parameter>();
    parameter->name = entries[i].name;
    // detach() makes a leaf that shares memory and its version counter's safety; `.data` would lose the latter.
    parameter->tensor =
        values_.narrow(0, offsets_[i], c10::multiply_integers(entries[i].shape)).view(entries[i].shape).detach();
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
