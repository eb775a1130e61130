// Trainable tensors. The parameters of one layer or scope share a flat buffer, and their gradients another with the
// same layout: one kernel can process all of them, and a checkpoint or all-reduce finds them contiguous. Gradients of
// bfloat16 parameters are float32.
#pragma once
#include "base/tensor.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace palm {

// Name and shape of a tensor that is not allocated yet.
struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
};

// Throws if `groups` such groups of parameters cannot fit on any machine: sizes whose product exceeds an int64 would
// overflow before any allocator saw them. Every group has a small cost even if it has no elements.
void check_fits_in_memory(const std::vector<NamedShape>& group, int64_t groups, const char* argument);

struct Parameter {
  std::string name;
  Tensor tensor;                   // the autograd leaf
  Tensor gradient;                 // its slice of the flat gradient buffer; undefined until needed
  std::shared_ptr<bool> has_grad;  // whether a backward pass has reached it since its gradient was last zeroed

  Tensor value() const { return tensor.detach(); }
  std::optional<Tensor> grad() const;  // nothing if no backward pass has reached it
  void set_grad(const Tensor& grad);
  void zero_grad();
  void require_grad(bool on);
};
using ParameterList = std::vector<std::shared_ptr<Parameter>>;

// Increases with every write to one of them by libtorch, or by a kernel that bumps the version.
int64_t version_of(const ParameterList& parameters);

// Moves each target a share of the way to its source, in the target's precision.
void move_towards(const ParameterList& targets, const ParameterList& sources, double share);

// A standalone parameter that takes over the memory of `values`, whose contents may still be in transfer.
std::shared_ptr<Parameter> make_parameter(const Tensor& values);

class ParameterBuffer {
 public:
  ParameterBuffer(const std::vector<NamedShape>& shapes, at::ScalarType dtype, at::Device device);

  const ParameterList& parameters() const { return parameters_; }
  // Assigns each trainable parameter its slice of the gradient buffer. Called before a graph is recorded.
  void prepare_gradients();
  const Tensor& storage() const { return values_; }

 private:
  Tensor values_, gradients_;
  std::vector<int64_t> offsets_;
  ParameterList parameters_;
};

}  // namespace palm
