#include "model/fast/packed-adapters.h"

#include <ATen/ops/cat.h>

#include "model/fast/packed-weights.h"

namespace palm {

static PanelType type_of(const DecoderDescription& decoder) { return panel_type(decoder.dtype, /*int8=*/false); }

PackedAdapters::PackedAdapters(const LayerAdapters& adapters, const DecoderDescription& decoder)
    : pieces(static_cast<size_t>(attention_pieces(decoder) + panels_of(decoder.ff) * ff_pieces(decoder))), rank(0) {
  attention = pack_input(adapters.input, decoder, /*of_attention=*/true);
  feed_forward = pack_input(adapters.input, decoder, /*of_attention=*/false);
  for (const Adapter& adapter : adapters.output) {
    output.push_back({.down = PackedMatrix({adapter.a.detach().t()}, type_of(decoder)),
                      .up = PackedMatrix({adapter.up().detach().t()}, type_of(decoder)),
                      .first = adapter.first,
                      .rank = adapter.a.size(1),
                      .column = rank});
    rank += adapter.a.size(1);
  }
}

PackedAdapters::Input PackedAdapters::pack_input(const std::vector<Adapter>& adapters,
                                                 const DecoderDescription& decoder, bool of_attention) {
  Input packed{.down = {}, .column = rank, .rank = 0};
  std::vector<Tensor> down;
  for (const Adapter& adapter : adapters) {
    if ((adapter.first < decoder.qkv_width()) != of_attention) continue;
    down.push_back(adapter.a.detach());
    add_up(adapter, decoder, rank);
    rank += adapter.a.size(1);
  }
  packed.rank = rank - packed.column;
  if (!down.empty()) packed.down = PackedMatrix({at::cat(down, 1).t()}, type_of(decoder));
  return packed;
}

// Packs B in the pieces of the input projection and notes where each of them is.
void PackedAdapters::add_up(const Adapter& adapter, const DecoderDescription& decoder, int64_t column) {
  const int64_t width = decoder.qkv_width();
  const Tensor rows = adapter.up().detach().t();
  std::vector<Tensor> own;
  std::vector<int64_t> places;
  if (adapter.first < width) {
    add_pieces(own, rows, decoder.dim_head);
    for (size_t i = 0; i < own.size(); ++i)
      places.push_back(adapter.first / decoder.dim_head + static_cast<int64_t>(i));
  } else {
    const int64_t first = (adapter.first - width) / decoder.ff, count = adapter.count / decoder.ff;
    for (int64_t part = 0; part < count; ++part) {
      add_pieces(own, rows.narrow(0, part * decoder.ff, decoder.ff), kPanel);
      for (int64_t i = 0; i < panels_of(decoder.ff); ++i)
        places.push_back(attention_pieces(decoder) + i * ff_pieces(decoder) + first + part);
    }
  }
  up.emplace_back(own, type_of(decoder));
  int64_t panel = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    pieces[places[i]] = {.up = up.back().panels(), .panel = panel, .column = column};
    panel += panels_of(own[i].size(0));
  }
}

}  // namespace palm
