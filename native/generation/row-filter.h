// The filters of filters.h for one row of logits on the CPU, without sorting the vocabulary: tokens are counted by how
// likely they are, and only those near the cut are sorted.
#pragma once
#include <cstdint>

#include "generation/sampler-options.h"

namespace palm {

// Tokens that the filters of `options` remove get the logit kNeverDrawn and the weight 0.
void filter_row(float* logits,   // [V], finite
                float* weights,  // [V]: e^((logit − top) / temperature)
                float top,       // the largest logit
                int64_t width,   // V
                const SamplerOptions& options);

}  // namespace palm
