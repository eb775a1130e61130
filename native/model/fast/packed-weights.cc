#include "model/fast/packed-weights.h"

#include <algorithm>

namespace palm {

void add_pieces(std::vector<Tensor>& pieces, const Tensor& rows, int64_t size) {
  for (int64_t first = 0; first < rows.size(0); first += size)
    pieces.push_back(rows.narrow(0, first, std::min(size, rows.size(0) - first)));
}

static std::vector<Tensor> input_pieces(const Tensor& input, const DecoderDescription& decoder) {
  std::vector<Tensor> pieces;
  add_pieces(pieces, input.narrow(0, 0, decoder.qkv_width()), decoder.dim_head);
  const Tensor value = input.narrow(0, decoder.qkv_width(), decoder.ff),
               gate = input.narrow(0, decoder.qkv_width() + decoder.ff, decoder.ff);
  for (int64_t first = 0; first < decoder.ff; first += kPanel) {
    const int64_t count = std::min(kPanel, decoder.ff - first);
    pieces.push_back(value.narrow(0, first, count));
    pieces.push_back(gate.narrow(0, first, count));
  }
  return pieces;
}

PackedWeights::PackedWeights(const DecoderWeights& weights, bool rounded)
    : version(version_of(weights.parameters())), int8(rounded) {
  const PanelType type = panel_type(weights.description().dtype, int8);
  for (const Block& block : weights.blocks())
    blocks.push_back({.input = PackedMatrix(input_pieces(block.input.detach(), weights.description()), type),
                      .output = PackedMatrix({block.output.detach()}, type)});
  head = weights.head().packed(type);
}

std::shared_ptr<const PackedWeights> PackedWeightsCache::get(const DecoderWeights& weights, bool int8) {
  if (!last_ || last_->int8 != int8 || last_->version != version_of(weights.parameters())) {
    last_.reset();  // never hold two of them at once
    last_ = std::make_shared<const PackedWeights>(weights, int8);
  }
  return last_;
}

}  // namespace palm
