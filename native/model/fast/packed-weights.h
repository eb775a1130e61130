// The matrices of a decoder in panels, as the CPU decode kernels need them (kernels/token-kernels.h).
#pragma once
#include <memory>
#include <vector>

#include "kernels/packed-matrix.h"
#include "model/weights.h"

namespace palm {

struct PackedWeights {
  PackedWeights(const DecoderWeights& weights, bool int8);  // int8: rounded to 8 bits

  struct Packed {
    // Pieces: each head's query | key | value | 32 values and then their 32 gates of the feed-forward, alternating.
    PackedMatrix input;
    PackedMatrix output;  // [D, HK + F]
  };
  std::vector<Packed> blocks;
  PackedMatrix head;  // [V, D]
  int64_t version;    // of the weights
  bool int8;
};

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
