#include "base/shape.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/stack.h>

#include <limits>
#include <sstream>

#include "base/error.h"

namespace palm {

static std::string text(at::IntArrayRef sizes) {
  std::ostringstream out;
  out << "[";
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (i) out << ", ";
    if (sizes[i] < 0)
      out << "at least 1";
    else
      out << sizes[i];
  }
  out << "]";
  return out.str();
}

void expect_shape(const Tensor& tensor, const char* argument, at::IntArrayRef sizes) {
  bool fits = tensor.dim() == static_cast<int64_t>(sizes.size());
  for (size_t i = 0; fits && i < sizes.size(); ++i)
    fits = sizes[i] < 0 ? tensor.size(i) > 0 : tensor.size(i) == sizes[i];
  if (!fits) throw Error(ErrorKind::shape, argument, "shape " + text(tensor.sizes()), "shape " + text(sizes));
}

static bool is_integer(const Tensor& tensor) {
  return tensor.scalar_type() == at::kLong || tensor.scalar_type() == at::kInt;
}

static void expect_integer(const Tensor& ids, const char* argument) {
  if (!is_integer(ids))
    throw Error(ErrorKind::dtype, argument, std::string("dtype ") + at::toString(ids.scalar_type()), "int64 or int32",
                "Pass integers, or a tensor created with { dtype: 'int64' }.");
}

void expect_token_shape(const Tensor& tokens, const char* argument) {
  expect_integer(tokens, argument);
  expect_shape(tokens, argument, {-1, -1});
}

void expect_range(const Tensor& ids, const char* argument, int64_t low, int64_t high, const char* fix) {
  expect_integer(ids, argument);
  if (ids.numel() == 0) return;
  const auto [smallest, largest] = at::aminmax(ids);
  const Tensor both = at::stack({smallest, largest}).cpu();  // one synchronisation
  if (both[0].item<int64_t>() >= low && both[1].item<int64_t>() < high) return;
  const Tensor first = ids.lt(low).logical_or(ids.ge(high)).nonzero()[0].cpu();
  Tensor entry = ids;
  std::string place = argument;
  for (int64_t axis = 0; axis < first.numel(); ++axis) {
    const int64_t at = first[axis].item<int64_t>();
    entry = entry[at];
    (place += '[') += std::to_string(at);
    place += ']';
  }
  const bool bounded = low > std::numeric_limits<int64_t>::min();
  throw Error(ErrorKind::argument, place, std::to_string(entry.item<int64_t>()),
              "a number " + (bounded ? ">= " + std::to_string(low) + " and " : "") + "< " + std::to_string(high), fix);
}

void expect_bool(const Tensor& mask, const char* argument) {
  if (mask.scalar_type() != at::kBool)
    throw Error(ErrorKind::dtype, argument, std::string("dtype ") + at::toString(mask.scalar_type()), "bool");
}

Tensor to_ids(const Tensor& ids, const char* argument, at::Device device) {
  expect_integer(ids, argument);
  return ids.to(device, at::kLong);
}

Tensor shifted_right(const Tensor& flat, int64_t batch) {
  return at::constant_pad_nd(flat.view({batch, -1}), {1, 0}, 0);
}

}  // namespace palm
