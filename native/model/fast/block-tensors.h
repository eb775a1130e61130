// What blocks with a hand-written backward pass share: the tensors that a block has, in the order in which autograd
// sees them, and the gradients of adapters.
#pragma once
#include <torch/csrc/autograd/variable.h>

#include <vector>

#include "model/lora.h"
#include "model/weights.h"

namespace palm {

// The weights of a block and of the adapters on it; or their gradients.
struct BlockTensors {
  Block block;
  LayerAdapters adapters;
};

// Those that are defined, always in the same order.
torch::autograd::variable_list defined_tensors(BlockTensors tensors);

// Which tensors a block has, without the tensors: a node saves these separately.
class BlockPlaces {
 public:
  explicit BlockPlaces(BlockTensors tensors);

  // The block with `saved`, as `defined_tensors` lists them, from index `first` on.
  BlockTensors filled(const torch::autograd::variable_list& saved, size_t first) const;
  // Gradients in the order of `defined_tensors`.
  torch::autograd::variable_list flat(BlockTensors gradients) const;
  // No gradients yet, with room for those of all adapters.
  BlockTensors empty() const { return empty_; }

 private:
  BlockTensors empty_;
  std::vector<bool> present_;
};

// The gradients of adapter y = scale · x A B: adds to dx, returns those of A and B in their places.
Adapter adapter_gradient(const Tensor& x, const Tensor& dy, const Adapter& adapter, Tensor dx);

}  // namespace palm
