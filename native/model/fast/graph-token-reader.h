// Reading one token a row on CUDA: a few kernels a layer over a cache of fixed size, recorded as one graph when a
// second token is read, so that a token costs one launch. The plain block of palm.cc with a KvCache is its reference.
#pragma once
#include "kernels/graph.h"
#include "kernels/rotary.h"
#include "model/fast/token-reader.h"

namespace palm {

class GraphTokenReader : public TokenReader {
 public:
  GraphTokenReader(const Kernels& kernels, const PaLM& palm, const Scope* scope, const KvCache& cache, int64_t samples);

  // Whether the kernels know such a model.
  static bool reads(const Kernels& kernels, const PaLM& palm);

  void refresh() override {}  // reads the weights themselves
  Tensor read(const Tensor& tokens) override;
  void keep_rows(const Tensor& rows) override;

 private:
  void allocate();
  void compute();
  Tensor layer(int64_t index, const Tensor& x);
  void attend(int64_t layer, const Tensor& projected, const Tensor& out);

  const Kernels& kernels_;
  const PaLM& palm_;
  const Scope* scope_;
  RotaryTables rotary_;       // [capacity, K / 2]
  Tensor keys_, values_;      // [L, B, capacity, K]
  Tensor position_;           // [B] int64, of the token that is read next
  Tensor tokens_;             // [B] int64
  Tensor partial_, arrived_;  // see decode-attention.h
  Tensor logits_;             // [B, V]
  std::unique_ptr<Graph> graph_;
  bool warm_ = false;  // whether all that the graph will hold has run once
};

}  // namespace palm
