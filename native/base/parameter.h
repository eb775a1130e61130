// Trained tensors. Those of one layer or one scope share a flat buffer, and their gradients another of the same layout:
// one kernel can then reach all of them, and a checkpoint or an all-reduce finds them side by side. Gradients of
// bfloat16 are float32.
#pragma once
#include "base/tensor.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace palm {

// Part of a parameter under a name of the Python library: `length` entries of dimension `dim` from `start` on.
struct Slice {
  int64_t dim, start, length;
};

struct Parameter {
  std::string name;
  Tensor tensor;               // the leaf that autograd sees
  Tensor gradient;             // its preset place in the flat gradient buffer; undefined until needed
  std::shared_ptr<bool> seen;  // has a backward pass reached it since its gradient was last zeroed?
  std::optional<Slice> slice;  // set for views, which can be read but not trained

  std::vector<int64_t> shape() const;
  Tensor value() const;                // what `name` stands for
  std::optional<Tensor> grad() const;  // nothing where no backward pass has been
  void set_grad(const Tensor& grad);
  void zero_grad();
  void require_grad(bool on);
};
using ParameterList = std::vector<std::shared_ptr<Parameter>>;

// Parameter `whole` (or a slice of it) under another name; value and gradient are shared with it.
std::shared_ptr<Parameter> view_of(const std::shared_ptr<Parameter>& whole, std::string name,
                                   std::optional<Slice> slice);
// A parameter on its own, which takes over the memory of `values`: they may still be on their way there.
std::shared_ptr<Parameter> make_parameter(const Tensor& values);

class ParameterBuffer {
 public:
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
  };
  ParameterBuffer(const std::vector<Entry>& entries, at::ScalarType dtype, at::Device device);

  const ParameterList& parameters() const { return parameters_; }
  // Gives every parameter that wants a gradient its place in the gradient buffer. Called before a graph is recorded.
  void prepare_gradients();
  const Tensor& storage() const { return values_; }

 private:
  Tensor values_, gradients_;
  std::vector<int64_t> offsets_;
  ParameterList parameters_;
};

}  // namespace palm
