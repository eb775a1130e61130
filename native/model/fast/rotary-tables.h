// The rotary tables of a decoder's fused kernels.
#pragma once
#include <vector>

#include "kernels/rotary.h"
#include "model/description.h"

namespace palm {

// Whether tables of queries hold the scale of the scores, as FusedBlock expects, whose layers have the same.
bool scales_in_tables(const DecoderDescription& decoder);
// The scale that the kernels apply to the scores of a layer.
double remaining_scale(const DecoderDescription& decoder, int64_t layer);
// One per rope of the description, for these positions [T].
std::vector<RotaryTables> rotary_tables(const DecoderDescription& decoder, const Tensor& positions);

}  // namespace palm
