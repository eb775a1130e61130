#include "model/fast/rotary-tables.h"

#include "model/fast/fused-block.h"

namespace palm {

bool scales_in_tables(const DecoderDescription& decoder) { return FusedBlock::supports(decoder); }

double remaining_scale(const DecoderDescription& decoder, int64_t layer) {
  return scales_in_tables(decoder) ? 1 : decoder.layer(layer).scale;
}

std::vector<RotaryTables> rotary_tables(const DecoderDescription& decoder, const Tensor& positions) {
  const double folded = scales_in_tables(decoder) ? decoder.layers.front().scale : 1;
  std::vector<RotaryTables> tables;
  for (const RopeDescription& rope : decoder.ropes)
    tables.push_back(fold_scales(rotary_table(positions, rope), folded));
  return tables;
}

}  // namespace palm
