#include "model/fast/block-tensors.h"

#include <ATen/ops/mm.h>

#include "kernels/linear.h"

namespace palm {

using torch::autograd::variable_list;

static std::vector<Tensor*> slots(BlockTensors& tensors) {
  std::vector<Tensor*> all = tensors_of(tensors.block);
  for (auto* side : {&tensors.adapters.input, &tensors.adapters.output}) {
    for (Adapter& adapter : *side) {
      all.push_back(&adapter.a);
      all.push_back(&adapter.b);
    }
  }
  return all;
}

variable_list defined_tensors(BlockTensors tensors) {
  variable_list all;
  for (const Tensor* slot : slots(tensors))
    if (slot->defined()) all.push_back(*slot);
  return all;
}

BlockPlaces::BlockPlaces(BlockTensors tensors) : empty_(std::move(tensors)) {
  for (Tensor* slot : slots(empty_)) {
    present_.push_back(slot->defined());
    slot->reset();
  }
}

BlockTensors BlockPlaces::filled(const variable_list& saved, size_t first) const {
  BlockTensors tensors = empty_;
  const std::vector<Tensor*> all = slots(tensors);
  for (size_t i = 0; i < all.size(); ++i)
    if (present_[i]) *all[i] = saved[first++];
  return tensors;
}

variable_list BlockPlaces::flat(BlockTensors gradients) const {
  variable_list found;
  const std::vector<Tensor*> all = slots(gradients);
  for (size_t i = 0; i < all.size(); ++i)
    if (present_[i]) found.push_back(*all[i]);
  return found;
}

Adapter adapter_gradient(const Tensor& x, const Tensor& dy, const Adapter& adapter, Tensor dx) {
  const Tensor inner = at::mm(dy, adapter.up().t());
  Adapter gradient;
  gradient.b = weight_gradient(adapter.down(x), dy);
  gradient.a = weight_gradient(x, inner);
  dx.addmm_(inner, adapter.a.t());
  return gradient;
}

}  // namespace palm
