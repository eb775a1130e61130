// How far the positions of a decoder reach.
#pragma once
#include "model/description.h"

namespace palm {

// Throws if the model has no position for a token that far from the start; `argument` is what asks for it.
void expect_positions(const DecoderDescription& decoder, int64_t length, const char* argument);

}  // namespace palm
