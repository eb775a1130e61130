#include "model/positions.h"

#include <string>

#include "base/error.h"
#include "kernels/rotary.h"

namespace palm {

void expect_positions(const DecoderDescription& decoder, int64_t length, const char* argument) {
  for (const RopeDescription& rope : decoder.ropes) {
    if (rope.xpos_scale_base) expect_within_reach(length, argument, *rope.xpos_scale_base);
    if (length > rope.reach.value_or(length))
      throw Error(ErrorKind::argument, argument, std::to_string(length) + " positions",
                  "at most " + std::to_string(*rope.reach) + ", for which the model was loaded",
                  "Shorten the sequence, or load a model of LongRoPE for a longer one (longest).");
  }
  if (!decoder.positions) return;
  const int64_t most = decoder.positions->rows - decoder.positions->offset;
  if (length > most)
    throw Error(ErrorKind::argument, argument, std::to_string(length) + " positions",
                "at most " + std::to_string(most) + ", the model's learned positions",
                "Shorten the prompt or the response: the model has no embedding for later positions.");
}

}  // namespace palm
