// The matrices of a decoder in panels, as the CPU decode kernels need them (kernels/token-kernels.h), with their biases.
#pragma once
#include <memory>
#include <vector>

#include "kernels/packed-matrix.h"
#include "model/weights.h"

namespace palm {

struct PackedWeights {
  PackedWeights(const DecoderWeights& weights, bool int8);  // int8: rounded to 8 bits

  struct Packed {
    // Pieces: each head's queries | keys | values | 32 values and then their 32 gates of the feed-forward, alternating.
    PackedMatrix input;
    PackedMatrix output;  // [D, HK + F] of a parallel block; otherwise its attention part, [D, HK]
    PackedMatrix down;    // its feed-forward part, [D, F]; none in a parallel block
  };
  std::vector<Packed> blocks;
  PackedMatrix narrowing;  // [E, D], of embeddings narrower than D
  PackedMatrix head;       // [V, E]
  int64_t version;         // of the weights
  bool int8;
};

// How many pieces of a block's input projection belong to attention and to 32 columns of its feed-forward, and where
// piece `index` begins in the rows of `input`.
inline int64_t attention_pieces(const DecoderDescription& decoder) { return decoder.heads + 2 * decoder.kv_heads; }
inline int64_t ff_pieces(const DecoderDescription& decoder) { return decoder.gated ? 2 : 1; }

// Appends the rows to `pieces`, `size` rows per piece.
void add_pieces(std::vector<Tensor>& pieces, const Tensor& rows, int64_t size);

// Keeps the most recent packed weights until the weights change or another format is requested.
class PackedWeightsCache {
 public:
  std::shared_ptr<const PackedWeights> get(const DecoderWeights& weights, bool int8);

 private:
  std::shared_ptr<const PackedWeights> last_;
};

}  // namespace palm
