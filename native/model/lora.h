// Low-rank adapters (Hu et al. 2021) on the attention of every layer: a scope. A model is read through at most one
// scope at a time; through none it is the reference policy.
//
//   y = x Wᵀ + alpha / r · x A B,   A ~ U(±1/√in), B = 0 at first
//
// As in peft: a fresh scope changes nothing, and as x A is as large as x is in every width, one learning rate fits all.
// Scopes of PaLM-rlhf-pytorch have the scale 1.
#pragma once
#include "base/parameter.h"

namespace palm {

struct PalmConfig;

struct Adapter {
  Tensor a;          // [in, r]
  Tensor b;          // [r, out]
  double scale = 1;  // alpha / r
  Tensor operator()(const Tensor& x) const;
  Tensor down(const Tensor& x) const;  // [..., in] → [..., r], scaled: the adapter is down(x) · b
  Tensor up() const;                   // [r, out], scaled: the adapter is x · a · up
  Tensor weight() const;               // [in, out]
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
  Scope(const PalmConfig& config, int64_t rank, double alpha);

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
  double scale_;
  ParameterBuffer buffer_;
};

}  // namespace palm
