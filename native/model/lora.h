// Low-rank adapters (Hu et al. 2021) on the attention of every layer: a scope. A model is read through at most one
// scope at a time; through none it is the reference policy. alpha = r, so the scale is 1; A ~ N(0, 1) and B = 0 as in
// PaLM-rlhf-pytorch, hence a fresh scope changes nothing.
#pragma once
#include "base/parameter.h"

namespace palm {

struct PalmConfig;

struct Adapter {
  Tensor a;  // [in, r]
  Tensor b;  // [r, out]
  Tensor operator()(const Tensor& x) const;
  Tensor weight() const;  // [in, out]
};

struct LayerAdapters {
  Adapter query;   // D → HK
  Adapter key;     // D → K
  Adapter value;   // D → K
  Adapter output;  // HK → D

  Tensor input(const Tensor& h) const;  // [..., D] → [..., HK + 2K], what to add to the input projection
};

class Scope {
 public:
  Scope(const PalmConfig& config, int64_t rank);

  // Draws the As, zeroes the Bs.
  void initialise(int64_t seed);
  const ParameterList& parameters() const { return buffer_.parameters(); }
  ParameterList python_parameters() const;  // `0.0.A`, to be prefixed with `finetune_modules.<scope>.`
  LayerAdapters layer(int64_t index) const;
  void prepare_gradients() { buffer_.prepare_gradients(); }
  const Tensor& storage() const { return buffer_.storage(); }
  int64_t depth() const { return depth_; }

 private:
  int64_t depth_;
  ParameterBuffer buffer_;
};

}  // namespace palm
