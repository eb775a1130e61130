// The matrices of a decoder in panels, as the CPU's decode kernels read them (kernels/token-kernels.h).
#pragma once
#include <memory>
#include <vector>

#include "kernels/packed-matrix.h"
#include "model/weights.h"

namespace palm {

struct PackedWeights {
  PackedWeights(const DecoderWeights& weights, bool int8);  // int8: rounded to 8 bits

  struct Packed {
    PackedMatrix input;   // a head's query each | key | value | 32 values and their 32 gates of the feed-forward each
    PackedMatrix output;  // [D, HK + F]
  };
  std::vector<Packed> blocks;
  PackedMatrix head;  // [V, D]
  int64_t version;    // of the weights
  bool int8;
};

// Pieces of `size` rows each, added to `pieces`.
void add_pieces(std::vector<Tensor>& pieces, const Tensor& rows, int64_t size);

// The last that were asked for, until the weights change or another form is wanted.
class PackedWeightsCache {
 public:
  std::shared_ptr<const PackedWeights> get(const DecoderWeights& weights, bool int8);

 private:
  std::shared_ptr<const PackedWeights> last_;
};

}  // namespace palm
