// A scope: low-rank adapters (Hu et al. 2021) on parts of every layer's matrices. A forward pass uses at most one
// scope; without a scope, the model is the reference policy.
//
//   y = x Wᵀ + alpha / r · x A B,   A ~ U(±1/√in), B = 0 at first
//
// As in peft: a new scope leaves the model unchanged, and since x A is as large as x at every width, one learning rate
// suits all. Scopes of palm-rlhf-pytorch have scale 1.
#pragma once
#include "base/parameter.h"
#include "model/language-model.h"

namespace palm {

struct Adapter {
  int64_t first, count;  // as in AdapterSite
  Tensor a;              // [in, r]
  Tensor b;              // [r, out]
  double scale = 1;      // alpha / r

  Tensor operator()(const Tensor& x) const;
  Tensor down(const Tensor& x) const;  // [..., in] → [..., r], scaled: the adapter is down(x) · b
  Tensor up() const;                   // [r, out], scaled: the adapter is x · a · up
  Tensor weight() const;               // [in, out]
};

// The adapters of one layer by matrix, ordered by their rows or columns.
struct LayerAdapters {
  std::vector<Adapter> input, output;

  // What the adapters on rows begin … end − 1 of `input` add to that part of its product with h [..., D], as
  // [..., end − begin]: 0 in rows without an adapter, undefined if there are no adapters at all.
  Tensor added(const Tensor& h, int64_t begin, int64_t end) const;
};

class Scope {
 public:
  // Places adapters on the sites of `model` that `targets` names, in every layer. The model need not outlive the scope.
  Scope(const LanguageModel& model, const std::vector<std::string>& targets, int64_t rank, double alpha);

  // Sets every A to random numbers and every B to 0.
  void initialise(int64_t seed);
  const ParameterList& parameters() const { return buffer_.parameters(); }
  LayerAdapters layer(int64_t index) const;
  Adapter adapter(int64_t layer, size_t site) const;  // `site` is an index into sites()
  void prepare_gradients() { buffer_.prepare_gradients(); }
  const Tensor& storage() const { return buffer_.storage(); }
  const std::vector<AdapterSite>& sites() const { return sites_; }

 private:
  std::vector<AdapterSite> sites_;
  double scale_;
  ParameterBuffer buffer_;
};

// Merges the adapters into the weights of the model.
void merge(const LanguageModel& model, const Scope& scope);

}  // namespace palm
