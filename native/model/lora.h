// A scope: low-rank adapters (Hu et al. 2021) on parts of every layer's matrices. A forward pass uses at most one
// scope; without a scope, the model is the reference policy.
//
//   y = x Wᵀ + scale · dropout(x) A B,   A ~ U(±1/√in), B = 0 at first
//
// As in peft: a new scope leaves the model unchanged, and since x A is as large as x at every width, one learning rate
// suits all. The scale is usually alpha / r; scopes of palm-rlhf-pytorch have scale 1.
#pragma once
#include "base/parameter.h"
#include "model/language-model.h"

namespace palm {

// One adapter of a scope before it is created.
struct AdapterDescription {
  int64_t layer;
  std::string site;  // the name of one of the model's sites
  int64_t rank;
  double scale;
};

struct Adapter {
  int64_t first, count;  // as in AdapterSite
  Tensor a;              // [in, r]
  Tensor b;              // [r, out]
  double scale = 1;
  double dropout = 0;

  Tensor operator()(const Tensor& x, const Dropout& mode = {}) const;
  Tensor down(const Tensor& x) const;  // [..., in] → [..., r], scaled: the adapter is down(x) · b
  Tensor up() const;                   // [r, out], scaled: the adapter is x · a · up
  Tensor weight() const;               // [in, out]
};

// The adapters of one layer by matrix, ordered by their rows or columns.
struct LayerAdapters {
  std::vector<Adapter> input, output;

  // What the adapters on rows begin … end − 1 of `input` add to that part of its product with h [..., D], as
  // [..., end − begin]: 0 in rows without an adapter, undefined if there are no adapters at all.
  Tensor added(const Tensor& h, int64_t begin, int64_t end, const Dropout& mode = {}) const;
};

class Scope {
 public:
  // Creates the adapters that `wanted` lists. `dropout` applies to their inputs in training mode. The model need not
  // outlive the scope.
  Scope(const LanguageModel& model, const std::vector<AdapterDescription>& wanted, double dropout);

  // Sets every A to random numbers and every B to 0.
  void initialise(int64_t seed);
  const ParameterList& parameters() const { return buffer_.parameters(); }
  LayerAdapters layer(int64_t index) const;
  void prepare_gradients() { buffer_.prepare_gradients(); }
  const Tensor& storage() const { return buffer_.storage(); }

  // Whether it adapts nothing but these sites.
  bool within(const std::vector<std::string>& sites) const;

  // Adds every adapter to the weight it adapts.
  void merge_into(const LanguageModel& model) const;

 private:
  struct Place {
    AdapterDescription wanted;
    AdapterSite site;
  };
  static std::vector<Place> found(const LanguageModel& model, const std::vector<AdapterDescription>& wanted);
  static std::vector<NamedShape> shapes_of(const std::vector<Place>& places);
  Adapter adapter(size_t place) const;

  std::vector<Place> places_;  // ordered by layer, then by matrix and row or column
  double dropout_;
  ParameterBuffer buffer_;  // a and b of every place
};

// A number that changes with the weights of a scope; 0 for no scope.
inline int64_t version_of(const Scope* scope) { return scope ? version_of(scope->parameters()) : 0; }

// Merges the adapters into the weights of the model.
void merge(const LanguageModel& model, const Scope& scope);

}  // namespace palm
