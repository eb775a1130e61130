// Reads tokens on the CPU: all layers in one parallel region, with packed weights and a packed cache. A row is one token
// of some sequence; rows of one read may belong to one sequence or to many. Every number of a row is computed as if it
// were alone (kernels/token-kernels.h), so it depends neither on the other rows nor on how a prompt was divided into
// reads. Its reference is the plain block of decoder.cc with a KvCache.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "base/team.h"
#include "kernels/kernels.h"
#include "model/fast/packed-adapters.h"
#include "model/fast/packed-cache.h"
#include "model/fast/packed-weights.h"
#include "model/fast/rotary-tables.h"
#include "model/token-reader.h"

namespace palm {

class PackedReader : public SlotReader {
 public:
  // Embeddings [n, 1, D] of tokens [n, 1] at positions [n, 1].
  using Embed = std::function<Tensor(const Tensor& tokens, const Tensor& positions)>;

  // Reads at most `rows` tokens at once, of which at most one of each slot is wanted.
  PackedReader(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed, Embed embed,
               PackedCache cache, int64_t rows, bool int8);

  // The feature of such a decoder that the kernels do not support, in words; null if they support all.
  static const char* unsupported(const DecoderDescription& decoder);

  bool refresh() override;  // packs weights that have changed
  Tensor read(const Scope* scope, const TokenRows& rows) override;
  void copy(int64_t from, int64_t to, int64_t length) override { cache_.copy(from, to, length); }
  void clear(int64_t slot) override { cache_.clear(slot); }
  void forget(const Scope* scope) override;
  int64_t chunk() const override { return kTokenRows; }
  int64_t most_rows() const override { return x_.size(0); }
  bool divides_freely() const override { return true; }

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

  // What depends on the adapters. Those of one scope, packed, and the arguments of all layers.
  struct Plan {
    const Scope* scope;
    int64_t version;                       // of the scope's weights
    std::vector<PackedAdapters> adapters;  // one per layer; none without a scope
    Tensor down;                           // [rows, ranks]
    std::vector<Layer> layers;
  };

  void allocate(int64_t rows);
  Plan& plan_for(const Scope* scope);
  void plan_all(Plan& plan);
  void plan_layer(Plan& plan, int64_t index) const;
  void plan_end();
  NormArgs plan_norm(const Norm& weights) const;
  NormArgs plan_head_norm(const Norm& weights) const;
  TokenProjectArgs plan_project(const Plan& plan, int64_t index) const;
  Projection plan_projection(const Plan& plan, int64_t index, const Norm& norm, bool attention,
                             bool feed_forward) const;
  TokenAttendArgs plan_attend(int64_t index) const;
  Branch plan_branch(const Plan& plan, int64_t index, const PackedMatrix& weight, int64_t first, int64_t count) const;
  PackedProductArgs plan_product(const Tensor& x, const PackedMatrix& weight, const Tensor& y, int64_t columns) const;

  // The phases of reading tokens, in order. Each returns when all its rows are done.
  void step(const Plan& plan, const TokenRows& rows, Worker& worker) const;
  void finish(const std::vector<int64_t>& wanted, Worker& worker) const;
  void embed(const int64_t* tokens, int64_t begin, int64_t end) const;
  void project(const Projection& projection, const int64_t* tokens, Worker& worker) const;
  void attend(TokenAttendArgs args, Worker& worker) const;
  void add(const Branch& branch, Worker& worker) const;
  void multiply(PackedProductArgs args, int64_t rows, Worker& worker) const;
  void multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Worker& worker) const;
  float* scratch_of(const Worker& worker) const;

  int64_t rows() const { return static_cast<int64_t>(slots_.size()); }
  const DecoderDescription& decoder() const { return weights_.description(); }
  bool copies_embeddings() const;  // rows of the embedding are what the first block reads

  const Kernels& kernels_;
  const DecoderWeights& weights_;
  PackedWeightsCache& cached_;
  const Embed embed_;
  const bool int8_;
  PackedCache cache_;
  std::vector<RotaryTables> rotaries_;  // one per rope of the description
  std::shared_ptr<const PackedWeights> packed_;
  std::vector<int64_t> slots_, positions_;   // of the rows being read; never reallocated, as plans point to them
  Tensor x_, h_, query_;                     // [rows, D], [rows, D], [rows, HK]
  Tensor block_hidden_, narrowed_, logits_;  // [rows, HK + F], [slots, E], [slots, V]
  Tensor statistics_;                        // [2, rows] float32, required by the kernel but unused
  Tensor scratch_;                           // [threads, …] float32
  std::vector<std::unique_ptr<Plan>> plans_;
  NormArgs last_norm_;
  PackedProductArgs narrow_, head_;
};

}  // namespace palm
