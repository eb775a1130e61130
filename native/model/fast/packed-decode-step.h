// Decodes one token per row on the CPU: all layers in one parallel region, with packed weights and a packed cache. Its
// reference is the plain block of decoder.cc with a KvCache.
#pragma once
#include <memory>
#include <vector>

#include "base/team.h"
#include "kernels/kernels.h"
#include "kernels/packed-matrix.h"
#include "kernels/rotary.h"
#include "model/decode-step.h"
#include "model/fast/packed-weights.h"
#include "model/kv-cache.h"
#include "model/lora.h"

namespace palm {

class PackedDecodeStep : public DecodeStep {
 public:
  PackedDecodeStep(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed,
                   const Scope* scope, const KvCache& cache, int64_t samples, bool int8);

  // Whether the kernels support such a scope: adapters on all attention sites, or on none.
  static bool supports(const Kernels& kernels, const DecoderDescription& decoder, const Scope* scope);

  void refresh() override;
  Tensor next_logits(const Tensor& tokens) override;
  void keep_rows(const Tensor& rows) override;

 private:
  struct Adapters {
    PackedMatrix down, up;                // of query, key and value
    PackedMatrix output_down, output_up;  // of the output
  };
  // The kernel arguments of one layer, except each thread's scratch memory.
  struct Layer {
    NormArgs norm;
    PackedProductArgs down;
    TokenProjectArgs project;
    TokenAttendArgs attend;
    PackedProductArgs output_down;
    PackedProductArgs output, output_up;
  };

  void pack_adapters();
  void take(const KvCache& cache, int64_t samples);
  void allocate();
  void plan();
  TokenCache cache_of(int64_t layer) const;
  Layer plan_layer(int64_t index);
  NormArgs plan_norm(const Tensor& gamma);

  // The phases of decoding a token, in order. Each returns when all its rows are done.
  void step(const int64_t* tokens, Worker& worker) const;
  void embed(const int64_t* tokens, int64_t begin, int64_t end) const;
  void project(TokenProjectArgs args, Worker& worker) const;
  void attend(TokenAttendArgs args, Worker& worker) const;
  void multiply(PackedProductArgs args, Worker& worker) const;
  void multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Worker& worker) const;
  float* scratch_of(const Worker& worker) const;

  const DecoderDescription& decoder() const { return weights_.description(); }

  const Kernels& kernels_;
  const DecoderWeights& weights_;
  PackedWeightsCache& cached_;
  const Scope* scope_;
  bool int8_;
  std::shared_ptr<const PackedWeights> packed_;
  std::vector<Adapters> adapters_;  // one per layer; none without a scope
  int64_t scope_version_ = -1, rank_ = 0;
  RotaryTables rotary_;
  int64_t capacity_;                     // positions, a multiple of 32
  Tensor keys_, values_;                 // [L, B, …] packed as described in token-kernels.h
  std::vector<int64_t> position_;        // [B], the position of the next token
  Tensor x_, h_, query_;                 // [B, D], [B, D], [B, HK]
  Tensor block_hidden_, down_, logits_;  // [B, HK + F], [B, 3r], [B, V]
  Tensor statistics_;                    // [2, B] float32, required by the kernel but unused
  Tensor scratch_;                       // [threads, …] float32
  std::vector<Layer> layers_;
  NormArgs last_norm_;
  PackedProductArgs head_;
};

}  // namespace palm
