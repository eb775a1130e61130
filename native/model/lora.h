// Low-rank adapters (Hu et al. 2021) on parts of every layer's matrices: a scope. A model is read through at most one
// scope at a time; through none it is the reference policy.
//
//   y = x Wᵀ + alpha / r · x A B,   A ~ U(±1/√in), B = 0 at first
//
// As in peft: a fresh scope changes nothing, and as x A is as large as x in every width, one learning rate fits all.
// Scopes of palm-rlhf-pytorch have the scale 1.
#pragma once
#include "base/parameter.h"
#include "model/language-model.h"

namespace palm {

struct Adapter {
  int64_t first, count;  // of AdapterSite
  Tensor a;              // [in, r]
  Tensor b;              // [r, out]
  double scale = 1;      // alpha / r

  Tensor operator()(const Tensor& x) const;
  Tensor down(const Tensor& x) const;  // [..., in] → [..., r], scaled: the adapter is down(x) · b
  Tensor up() const;                   // [r, out], scaled: the adapter is x · a · up
  Tensor weight() const;               // [in, out]
};

// The adapters of one layer, by the matrix they sit on, in the order of their rows or columns.
struct LayerAdapters {
  std::vector<Adapter> input, output;

  // What those on rows begin … end − 1 of `input` add to that part of its product with h [..., D], 0 where none sits:
  // [..., end − begin], or undefined where none sits at all.
  Tensor added(const Tensor& h, int64_t begin, int64_t end) const;
};

class Scope {
 public:
  // Adapters on the sites of `model` that `targets` names, in every layer; the model need not outlive them.
  Scope(const LanguageModel& model, const std::vector<std::string>& targets, int64_t rank, double alpha);

  // Draws the As, zeroes the Bs.
  void initialise(int64_t seed);
  const ParameterList& parameters() const { return buffer_.parameters(); }
  LayerAdapters layer(int64_t index) const;
  Adapter adapter(int64_t layer, size_t site) const;  // `site` counts in sites()
  void prepare_gradients() { buffer_.prepare_gradients(); }
  const Tensor& storage() const { return buffer_.storage(); }
  const std::vector<AdapterSite>& sites() const { return sites_; }

 private:
  std::vector<AdapterSite> sites_;
  double scale_;
  ParameterBuffer buffer_;
};

// Folds the adapters into the weights of their model.
void merge(const LanguageModel& model, const Scope& scope);

}  // namespace palm
