// The adapters of a scope in panels, as the CPU decode kernels need them. Any sites, ranks and layers.
#pragma once
#include <vector>

#include "kernels/packed-matrix.h"
#include "model/lora.h"
#include "model/weights.h"

namespace palm {

// The adapters of one layer.
struct PackedAdapters {
  PackedAdapters(const LayerAdapters& adapters, const DecoderDescription& decoder);

  // Adapters on rows of `input` that read the same h: those of attention, or those of the feed-forward.
  struct Input {
    PackedMatrix down;  // A of all of them, side by side
    int64_t column;     // where h · down begins in the memory for such products
    int64_t rank;       // of all of them; 0: there are none
  };
  // An adapter on columns of `output`.
  struct Output {
    PackedMatrix down, up;
    int64_t first, rank;
    int64_t column;  // as above
  };
  Input attention, feed_forward;
  std::vector<PackedMatrix> up;      // B of every adapter on `input`
  std::vector<PieceAdapter> pieces;  // of the input projection; they point into `up`
  std::vector<Output> output;
  int64_t rank;  // of all adapters: the width of the memory for their products

 private:
  Input pack_input(const std::vector<Adapter>& adapters, const DecoderDescription& decoder, bool of_attention);
  void add_up(const Adapter& adapter, const DecoderDescription& decoder, int64_t column);
};

}  // namespace palm
