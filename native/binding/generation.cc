// Table rows for generation.
#include "binding/bindings.h"

namespace palm::binding {

PALM_FIELDS(Generation, PALM_FIELD(sequences), PALM_FIELD(response_mask), PALM_FIELD(log_probs));

struct Piece {
  std::vector<int64_t> tokens;
  std::vector<double> log_probs;
  bool done;
};
PALM_FIELDS(Piece, PALM_FIELD(tokens), PALM_FIELD(log_probs), PALM_FIELD(done));

static Generation generate_all(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                               const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                               const std::shared_ptr<Readout>& readout, const std::shared_ptr<Cancel>& cancel) {
  return generate(model, scope, prompts, lengths, options, cancel.get(), readout);
}

static Piece loop_advance(GenerationLoop& loop, int64_t count, const std::shared_ptr<Cancel>& cancel) {
  count_read();
  const size_t first = loop.steps();
  loop.advance(count, cancel.get());
  return {loop.tokens_since(first), loop.log_probs_since(first), loop.done()};
}

void generation_rows(Table& table) {
  table.job<&generate_all>("generate");
  table.now<&make<GenerationLoop, GenerationLoop, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>, Tensor,
                  Tensor, GenerateOptions, std::shared_ptr<Readout>>>("generationLoopCreate");
  table.job<&loop_advance>("generationLoopAdvance");
}

}  // namespace palm::binding
