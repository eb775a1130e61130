// Table rows for tensors: creating, filling, reading, differentiating.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>

#include "base/number-formats.h"
#include "base/shape.h"
#include "binding/bindings.h"

namespace palm::binding {

static Tensor tensor_empty(const std::vector<int64_t>& shape, at::ScalarType dtype, at::Device device) {
  return at::empty(shape, at::TensorOptions(dtype).device(device));
}

static Napi::Value tensor_open(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  try {
    const Tensor tensor =
        tensor_empty(Js<std::vector<int64_t>>::from(info[0]), Js<at::ScalarType>::from(info[1]), at::kCPU);
    environment.hold(tensor.unsafeGetTensorImpl());
    return Js<Tensor>::to(info.Env(), tensor);
  } catch (...) {
    throw environment.error(std::current_exception());
  }
}

static Napi::Value tensor_seal(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  try {
    environment.release(Js<Tensor>::from(info[0]).unsafeGetTensorImpl());
  } catch (...) {
    throw environment.error(std::current_exception());
  }
  return info.Env().Undefined();
}

// The bytes of a typed array, to be copied at once.
struct Elements {
  const uint8_t* data;
  size_t bytes, element_size;
};
template <>
struct Js<Elements> {
  static Elements from(const Napi::Value& value) {
    if (!value.IsTypedArray()) throw_mismatch("a typed array", value);
    const auto array = value.As<Napi::TypedArray>();
    void* data = nullptr;  // works for shared buffers too, which have no Napi::ArrayBuffer
    napi_get_typedarray_info(value.Env(), value, nullptr, nullptr, &data, nullptr, nullptr);
    return {static_cast<const uint8_t*>(data), array.ByteLength(), array.ElementSize()};
  }
};

static void tensor_write(const Tensor& tensor, const Elements& source, int64_t offset) {
  const size_t begin = static_cast<size_t>(offset) * source.element_size;
  if (!tensor.device().is_cpu() || offset < 0 || source.element_size != static_cast<size_t>(tensor.element_size()) ||
      begin + source.bytes > tensor.nbytes())
    throw Error(ErrorKind::shape, "source", std::to_string(source.bytes) + " bytes at " + std::to_string(begin),
                "a range within the " + std::to_string(tensor.nbytes()) + " bytes of a CPU tensor");
  if (source.bytes > 0) std::memcpy(static_cast<uint8_t*>(tensor.data_ptr()) + begin, source.data, source.bytes);
}

static std::vector<int64_t> tensor_shape(const Tensor& tensor) { return tensor.sizes().vec(); }
static at::ScalarType tensor_dtype(const Tensor& tensor) { return tensor.scalar_type(); }
static at::Device tensor_device(const Tensor& tensor) { return tensor.device(); }

static Tensor tensor_narrow(const Tensor& tensor, int64_t dim, int64_t start, int64_t length) {
  if (dim < 0 || dim >= tensor.dim() || start < 0 || length < 0 || length > tensor.size(dim) - start)
    throw Error(ErrorKind::shape, "tensor",
                std::to_string(length) + " entries of dimension " + std::to_string(dim) + " from " +
                    std::to_string(start) + " on",
                "a range within the tensor");
  return tensor.detach().narrow(dim, start, length);
}

static std::vector<Tensor> tensors_rows(const std::vector<Tensor>& tensors, const std::vector<int64_t>& rows) {
  const Tensor here = at::tensor(rows, at::kLong);
  std::vector<Tensor> some;
  for (const Tensor& tensor : tensors) {
    if (tensor.dim() == 0) throw Error(ErrorKind::shape, "tensor", "a scalar", "a tensor with rows");
    expect_range(here, "rows", 0, tensor.size(0), "Row indices start at 0.");
    some.push_back(tensor.index_select(0, here.to(tensor.device())));
  }
  return some;
}

// The rows of tensors [., T] of different widths in one tensor, padded on the right with zeros.
static Tensor tensors_joined(const std::vector<Tensor>& tensors) {
  int64_t width = 0;
  for (const Tensor& tensor : tensors) {
    expect_shape(tensor, "tensor", {-1, -1});
    width = std::max(width, tensor.size(1));
  }
  std::vector<Tensor> wide;
  for (const Tensor& tensor : tensors) wide.push_back(at::constant_pad_nd(tensor, {0, width - tensor.size(1)}));
  return at::cat(wide);
}

// A fresh host copy that becomes the memory of a typed array.
struct HostCopy {
  Tensor tensor;
};
template <>
struct Js<HostCopy> {
  // The array takes ownership of this memory: a second copy on this thread would block the event loop.
  static Napi::ArrayBuffer buffer(Napi::Env env, const Tensor& tensor) {
    if (tensor.nbytes() == 0) return Napi::ArrayBuffer::New(env, 0);
    auto* const owner = new Tensor(tensor);
    return Napi::ArrayBuffer::New(
        env, tensor.data_ptr(), tensor.nbytes(), [](Napi::Env, void*, Tensor* owned) { delete owned; }, owner);
  }
  static Napi::Value to(Napi::Env env, const HostCopy& copy) {
    const Tensor& tensor = copy.tensor;
    const auto array = buffer(env, tensor);
    const size_t length = static_cast<size_t>(tensor.numel());
    switch (tensor.scalar_type()) {
      case at::kFloat:
        return Napi::Float32Array::New(env, length, array, 0);
      case at::kDouble:
        return Napi::Float64Array::New(env, length, array, 0);
      case at::kLong:
        return Napi::BigInt64Array::New(env, length, array, 0);
      case at::kInt:
        return Napi::Int32Array::New(env, length, array, 0);
      default:
        return Napi::Uint8Array::New(env, length, array, 0);
    }
  }
};

static HostCopy tensor_data(const Tensor& tensor) {
  at::NoGradGuard no_grad;
  count_read();
  const at::ScalarType dtype = tensor.scalar_type() == at::kBFloat16 ? at::kFloat : tensor.scalar_type();
  return {at::empty(tensor.sizes(), at::TensorOptions(dtype)).copy_(tensor)};
}

static void tensor_copy(const Tensor& target, const Tensor& source) {
  at::NoGradGuard no_grad;
  expect_shape(source, "source", target.sizes());
  target.copy_(source);
}

// A range of a contiguous tensor, as bytes on its device.
static Tensor stretch(const Tensor& tensor, int64_t begin, const Bytes& bytes) {
  if (!tensor.is_contiguous() || begin < 0 || begin + bytes.length > tensor.nbytes())
    throw Error(ErrorKind::shape, "bytes", std::to_string(bytes.length) + " from " + std::to_string(begin),
                "a range within a contiguous tensor of " + std::to_string(tensor.nbytes()) + " bytes");
  return tensor.detach().reshape({-1}).view(at::kByte).narrow(0, begin, static_cast<int64_t>(bytes.length));
}

static Tensor lent(const Bytes& bytes) {
  return at::from_blob(bytes.data, {static_cast<int64_t>(bytes.length)}, at::TensorOptions(at::kByte));
}

static void tensor_read_bytes(const Tensor& tensor, int64_t begin, Bytes target) {
  if (target.length > 0) lent(target).copy_(stretch(tensor, begin, target));
}

static void tensor_write_bytes(const Tensor& tensor, int64_t begin, Bytes source) {
  at::NoGradGuard no_grad;
  if (source.length > 0) stretch(tensor, begin, source).copy_(lent(source));
}

static void tensor_decode(const Tensor& target, const std::string& format, Bytes source) {
  at::NoGradGuard no_grad;
  decode_numbers(format, source.data, static_cast<int64_t>(source.length), target);
}

static void tensor_backward(const Tensor& tensor) {
  if (tensor.numel() != 1)
    throw Error(ErrorKind::shape, "backward", std::to_string(tensor.numel()) + " elements", "one element",
                "Call backward() on a scalar loss.");
  if (!tensor.requires_grad())
    throw Error(ErrorKind::argument, "backward", "a tensor without a graph", "a tensor computed with gradients",
                "Use model.loss, or model.forward with { grad: true }, and leave at least one parameter unfrozen.");
  tensor.backward();
}

void tensor_rows(Table& table) {
  table.now<&tensor_empty>("tensorEmpty");
  table.raw("tensorOpen", tensor_open);
  table.now<&tensor_write>("tensorWrite");
  table.raw("tensorSeal", tensor_seal);
  table.now<&tensor_shape>("tensorShape");
  table.now<&tensor_dtype>("tensorDtype");
  table.now<&tensor_device>("tensorDevice");
  table.now<&tensor_narrow>("tensorNarrow");
  table.job<&tensor_data>("tensorData");
  table.job<&tensors_rows>("tensorsRows");
  table.job<&tensors_joined>("tensorsJoined");
  table.job<&tensor_copy>("tensorCopy");
  table.job<&tensor_read_bytes>("tensorReadBytes");
  table.job<&tensor_write_bytes>("tensorWriteBytes");
  table.job<&tensor_decode>("tensorDecode");
  table.job<&tensor_backward>("tensorBackward");
}

}  // namespace palm::binding
