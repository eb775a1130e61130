// Decodes one token per row on CUDA: a few kernels per layer over a cache of fixed size. The second token is recorded
// as a graph, so that each token costs a single launch. Its reference is the plain block of decoder.cc with a KvCache.
#pragma once
#include "kernels/graph.h"
#include "kernels/rotary.h"
#include "model/decode-step.h"
#include "model/kv-cache.h"
#include "model/lora.h"
#include "model/weights.h"

namespace palm {

class GraphDecodeStep : public DecodeStep {
 public:
  GraphDecodeStep(const Kernels& kernels, const DecoderWeights& weights, const Scope* scope, const KvCache& cache,
                  int64_t samples);

  // The feature of such a decoder that the kernels do not support, in words; null if they support all. And whether
  // they support the adapters of `scope`, which may be null, and such heads.
  static const char* unsupported(const DecoderDescription& decoder);
  static bool supports(const Kernels& kernels, const DecoderDescription& decoder, const Scope* scope);

  void refresh() override {}  // uses the weights directly
  Tensor next_logits(const Tensor& tokens) override;
  void keep_rows(const Tensor& rows) override;

 private:
  const DecoderDescription& decoder() const { return weights_.description(); }
  void allocate();
  void compute();
  Tensor layer(int64_t index, const Tensor& x);
  void attend(int64_t layer, const Tensor& projected, const Tensor& out);

  const Kernels& kernels_;
  const DecoderWeights& weights_;
  const Scope* scope_;
  RotaryTables rotary_;       // [capacity, K / 2]
  Tensor keys_, values_;      // [L, B, capacity, K]
  Tensor position_;           // [B] int64, the position of the next token
  Tensor tokens_;             // [B] int64
  Tensor partial_, arrived_;  // see decode-attention.h
  Tensor logits_;             // [B, V]
  std::unique_ptr<Graph> graph_;
  bool warm_ = false;  // whether everything the graph will record has run once
};

}  // namespace palm
