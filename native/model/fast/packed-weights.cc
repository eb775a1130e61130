#include "model/fast/packed-weights.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace palm {

void add_pieces(std::vector<Tensor>& pieces, const Tensor& rows, int64_t size) {
  for (int64_t first = 0; first < rows.size(0); first += size)
    pieces.push_back(rows.narrow(0, first, std::min(size, rows.size(0) - first)));
}

// The pieces of the rows of `input`, or of its bias.
static std::vector<Tensor> input_pieces(const Tensor& input, const DecoderDescription& decoder) {
  std::vector<Tensor> pieces;
  add_pieces(pieces, input.narrow(0, 0, decoder.qkv_width()), decoder.dim_head);
  for (int64_t first = 0; first < decoder.ff; first += kPanel)
    for (int64_t i = 0; i < ff_pieces(decoder); ++i)
      pieces.push_back(
          input.narrow(0, decoder.qkv_width() + i * decoder.ff + first, std::min(kPanel, decoder.ff - first)));
  return pieces;
}

static PackedMatrix packed_input(const Block& block, const DecoderDescription& decoder, PanelType type) {
  PackedMatrix packed(input_pieces(block.input.detach(), decoder), type);
  if (!block.qkv_bias.defined() && !block.ff_bias.defined()) return packed;
  const auto bias = [&](const Tensor& own, int64_t width) {
    return own.defined() ? own.detach().to(at::kFloat) : at::zeros({width}, at::TensorOptions(at::kFloat));
  };
  const Tensor all = at::cat({bias(block.qkv_bias, decoder.qkv_width()), bias(block.ff_bias, decoder.ff_width())});
  packed.add_bias(input_pieces(all, decoder));
  return packed;
}

static PackedMatrix packed_columns(const Tensor& output, std::initializer_list<Tensor> biases, PanelType type) {
  PackedMatrix packed({output.detach()}, type);
  Tensor sum;
  for (const Tensor& bias : biases)
    if (bias.defined()) sum = sum.defined() ? sum + bias.detach().to(at::kFloat) : bias.detach().to(at::kFloat);
  if (sum.defined()) packed.add_bias({sum});
  return packed;
}

static PackedWeights::Packed packed_block(const Block& block, const DecoderDescription& decoder, PanelType type) {
  const Tensor input = block.input, output = block.output;
  if (decoder.parallel)
    return {.input = packed_input(block, decoder, type),
            .output = packed_columns(output, {block.output_bias, block.ff_output_bias}, type),
            .down = {}};
  const int64_t width = decoder.query_width();
  return {.input = packed_input(block, decoder, type),
          .output = packed_columns(output.narrow(1, 0, width), {block.output_bias}, type),
          .down = packed_columns(output.narrow(1, width, decoder.ff), {block.ff_output_bias}, type)};
}

PackedWeights::PackedWeights(const DecoderWeights& weights, bool rounded)
    : version(version_of(weights.parameters())), int8(rounded) {
  const DecoderDescription& decoder = weights.description();
  const PanelType type = panel_type(decoder.dtype, int8);
  for (const Block& block : weights.blocks()) blocks.push_back(packed_block(block, decoder, type));
  if (decoder.narrow_embedding()) narrowing = PackedMatrix({weights.outer().embedding_out.detach()}, type);
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
