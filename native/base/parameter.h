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

// A tensor before it is made.
struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
};

// Refuses `groups` such groups of parameters where no machine could hold them: sizes that multiply to more than an
// int64 would overflow before any allocator saw them. A group costs a little even without numbers.
void check_fits_in_memory(const std::vector<NamedShape>& group, int64_t groups, const char* argument);

struct Parameter {
  std::string name;
  Tensor tensor;                   // the leaf that autograd sees
  Tensor gradient;                 // its preset place in the flat gradient buffer; undefined until needed
  std::shared_ptr<bool> has_grad;  // has a backward pass reached it since its gradient was last zeroed?

  Tensor value() const { return tensor.detach(); }
  std::optional<Tensor> grad() const;  // nothing where no backward pass has been
  void set_grad(const Tensor& grad);
  void zero_grad();
  void require_grad(bool on);
};
using ParameterList = std::vector<std::shared_ptr<Parameter>>;

// Grows with every write to one of them that libtorch, or a kernel that says so, makes.
int64_t version_of(const ParameterList& parameters);

// A parameter on its own, which takes over the memory of `values`: they may still be on their way there.
std::shared_ptr<Parameter> make_parameter(const Tensor& values);

class ParameterBuffer {
 public:
  ParameterBuffer(const std::vector<NamedShape>& shapes, at::ScalarType dtype, at::Device device);

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
