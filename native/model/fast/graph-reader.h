// Decodes one token per row on CUDA: the blocks of a forward pass, with attention over a cache of fixed size in one
// kernel per layer. The second token is recorded as a graph, so that each token costs a single launch. Its reference is
// the plain block of decoder.cc with a KvCache.
#pragma once
#include "kernels/graph.h"
#include "model/fast/rotary-tables.h"
#include "model/fast/token-attention.h"
#include "model/kv-cache.h"
#include "model/token-reader.h"

namespace palm {

class GraphReader : public TokenReader {
 public:
  // Logits [B, V] of the next token after tokens [B] at `positions` [B] of their rows. Must not synchronise with the
  // device.
  using Forward = std::function<Tensor(const Scope* scope, const Tensor& tokens, const Tensor& positions,
                                       const TokenAttention& attend)>;

  // Begins behind what `cache` holds, whose row i is repeated `samples` times.
  GraphReader(const Kernels& kernels, const DecoderDescription& decoder, Forward forward, const KvCache& cache,
              int64_t samples);

  // The feature of such a decoder that the kernels do not support, in words; null if they support all.
  static const char* unsupported(const DecoderDescription& decoder);

  // One token of each slot, all with the same scope, or of some of those of the last read, which are kept.
  Tensor read(const Scope* scope, const TokenRows& rows) override;
  int64_t ahead() const override { return 16; }
  bool drops_freely() const override { return false; }

 private:
  void allocate();
  void keep(const std::vector<int64_t>& slots);
  void compute(const Scope* scope);
  void attend(int64_t layer, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& out) const;

  const Kernels& kernels_;
  const DecoderDescription& decoder_;
  const Forward forward_;
  std::vector<RotaryTables> rotaries_;  // [capacity, d / 2], one per rope of the description
  Tensor alibi_;                        // [H] float32, or undefined
  Tensor keys_, values_;                // [L, B, Kv, capacity, K]
  Tensor position_;                     // [B] int64, the position of the next token
  std::vector<int64_t> slots_;          // of the rows
  Tensor tokens_;                       // [B] int64
  Tensor partial_, arrived_;            // see decode-attention.h
  Tensor logits_;                       // [B, V]
  std::unique_ptr<Graph> graph_;
  bool warm_ = false;  // whether everything the graph will record has run once
};

}  // namespace palm
