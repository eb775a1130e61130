// Reading one token a row: all layers in one parallel region, over packed weights and a packed cache. The plain block
// of palm.cc with a KvCache is its reference.
#pragma once
#include <memory>
#include <vector>

#include "base/parameter.h"
#include "base/team.h"
#include "kernels/kernels.h"
#include "kernels/packed-matrix.h"
#include "kernels/rotary.h"

namespace palm {

class KvCache;
class PaLM;
class Scope;

class TokenReader {
 public:
  virtual ~TokenReader() = default;

  // Looks again at weights that may have been changed since.
  virtual void refresh() = 0;
  // Reads a token of every row; ids outside the vocabulary, in rows that have ended, are read as 0.
  virtual Tensor read(const Tensor& tokens) = 0;  // [B] int64 → logits [B, V] of the next token, in the model's dtype
  // Only these rows from now on, in this order.
  virtual void keep_rows(const Tensor& rows) = 0;  // [n] int64
};

// Whether weights have been written to: grows with every change that libtorch, or a kernel that says so, makes.
int64_t version_of(const ParameterList& parameters);

// The matrices of a PaLM in panels.
struct PackedWeights {
  PackedWeights(const PaLM& palm, bool int8);

  struct Block {
    PackedMatrix input;   // a head's query each | key | value | 32 values and their 32 gates of the feed-forward each
    PackedMatrix output;  // [D, HK + F]
  };
  std::vector<Block> blocks;
  PackedMatrix head;  // [V, D]
  int64_t version;
  bool int8;
};

class PalmTokenReader : public TokenReader {
 public:
  PalmTokenReader(const Kernels& kernels, PaLM& palm, const Scope* scope, const KvCache& cache, int64_t samples,
                  bool int8);

  void refresh() override;
  Tensor read(const Tensor& tokens) override;
  void keep_rows(const Tensor& rows) override;

 private:
  struct Adapters {
    PackedMatrix down, up;                // of query, key and value
    PackedMatrix output_down, output_up;  // of the output
  };
  // What the kernels of one layer are given, but for the scratch of each thread.
  struct Layer {
    LayerNormArgs norm;
    PackedProductArgs down;
    TokenProjectArgs project;
    TokenAttendArgs attend;
    PackedProductArgs output_down;
    PackedProductArgs leave, output_up;
  };

  void pack_adapters();
  void take(const KvCache& cache, int64_t samples);
  void allocate();
  void plan();
  Layer plan_layer(int64_t index);
  LayerNormArgs plan_norm(const Tensor& gamma);

  // The steps of reading a token, one after the other. Each returns when all its rows are done.
  void step(const int64_t* tokens, Member& member) const;
  void embed(const int64_t* tokens, int64_t begin, int64_t end) const;
  void project(TokenProjectArgs args, Member& member) const;
  void attend(TokenAttendArgs args, Member& member) const;
  void multiply(PackedProductArgs args, Member& member) const;
  void multiply_rows(PackedProductArgs args, int64_t begin, int64_t end, const Member& member) const;
  float* scratch_of(const Member& member) const;

  const Kernels& kernels_;
  PaLM& palm_;
  const Scope* scope_;
  bool int8_;
  std::shared_ptr<const PackedWeights> weights_;
  std::vector<Adapters> adapters_;  // one per layer; none without a scope
  int64_t scope_version_ = -1, rank_ = 0;
  RotaryTables rotary_;
  int64_t capacity_;                              // positions, a multiple of 32
  Tensor keys_, values_;                          // [L, B, …] packed as token-kernels.h says
  std::vector<int64_t> position_;                 // [B], of the token that is read next
  Tensor x_, h_, query_, mixed_, down_, logits_;  // [B, D], [B, D], [B, HK], [B, HK + F], [B, 3r], [B, V]
  Tensor statistics_;                             // [2, B] float32, which nobody reads
  Tensor scratch_;                                // [threads, …] float32
  std::vector<Layer> layers_;
  LayerNormArgs last_norm_;
  PackedProductArgs head_;
};

}  // namespace palm
