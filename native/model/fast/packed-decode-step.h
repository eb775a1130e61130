// Decodes one token per row on the CPU: all layers in one parallel region, with packed weights and a packed cache. Its
// reference is the plain block of decoder.cc with a KvCache.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "base/team.h"
#include "kernels/kernels.h"
#include "model/decode-step.h"
#include "model/fast/packed-adapters.h"
#include "model/fast/packed-cache.h"
#include "model/fast/packed-weights.h"
#include "model/fast/rotary-tables.h"

namespace palm {

class PackedDecodeStep : public DecodeStep {
 public:
  // Embeddings [B, 1, D] of tokens [B, 1] at positions [B, 1].
  using Embed = std::function<Tensor(const Tensor& tokens, const Tensor& positions)>;

  PackedDecodeStep(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed, Embed embed,
                   const Scope* scope, const KvCache& cache, int64_t samples, bool int8);

  // The feature of such a decoder that the kernels do not support, in words; null if they support all.
  static const char* unsupported(const DecoderDescription& decoder);

  void refresh() override;
  Tensor next_logits(const Tensor& tokens) override;
  void keep_rows(const Tensor& rows) override;

 private:
  // Kernel arguments, except each thread's scratch memory. First the rows are normalised, then projected.
  struct Projection {
    NormArgs norm;
    std::vector<PackedProductArgs> down;  // of adapters
    TokenProjectArgs project;
    int64_t first_unit, units;
  };
  // What a part of the block adds to x.
  struct Branch {
    std::vector<PackedProductArgs> down, up;  // of adapters
    PackedProductArgs product;
  };
  struct Layer {
    Projection attention, feed_forward;  // a shared norm: `attention` projects for both
    NormArgs query_norm, key_norm;
    TokenAttendArgs attend;
    Branch output, down;  // parallel blocks: `output` adds both
  };

  void pack_adapters();
  void allocate();
  void plan();
  void plan_layer(int64_t index);
  NormArgs plan_norm(const Norm& weights) const;
  NormArgs plan_head_norm(const Norm& weights) const;
  TokenProjectArgs plan_project(int64_t index) const;
  Projection plan_projection(int64_t index, const Norm& norm, bool attention, bool feed_forward) const;
  TokenAttendArgs plan_attend(int64_t index) const;
  Branch plan_branch(int64_t index, const PackedMatrix& weight, int64_t first, int64_t count) const;
  PackedProductArgs plan_product(const Tensor& x, const PackedMatrix& weight, const Tensor& y, int64_t columns) const;

  // The phases of decoding a token, in order. Each returns when all its rows are done.
  void step(const int64_t* tokens, Worker& worker) const;
  void embed(const int64_t* tokens, int64_t begin, int64_t end) const;
  void project(const Projection& projection, const int64_t* tokens, Worker& worker) const;
  void attend(TokenAttendArgs args, Worker& worker) const;
  void add(const Branch& branch, Worker& worker) const;
  void multiply(PackedProductArgs args, Worker& worker) const;
  void multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Worker& worker) const;
  float* scratch_of(const Worker& worker) const;

  const DecoderDescription& decoder() const { return weights_.description(); }
  bool copies_embeddings() const;  // rows of the embedding are what the first block reads

  const Kernels& kernels_;
  const DecoderWeights& weights_;
  PackedWeightsCache& cached_;
  const Embed embed_;
  const Scope* scope_;
  bool int8_;
  PackedCache cache_;
  std::vector<RotaryTables> rotaries_;  // one per rope of the description
  std::shared_ptr<const PackedWeights> packed_;
  std::vector<PackedAdapters> adapters_;  // one per layer; none without a scope
  int64_t scope_version_ = -1;
  Tensor x_, h_, query_;                            // [B, D], [B, D], [B, HK]
  Tensor block_hidden_, down_, narrowed_, logits_;  // [B, HK + F], [B, ranks], [B, E], [B, V]
  Tensor statistics_;                               // [2, B] float32, required by the kernel but unused
  Tensor scratch_;                                  // [threads, …] float32
  std::vector<Layer> layers_;
  NormArgs last_norm_;
  PackedProductArgs narrow_, head_;
};

}  // namespace palm
