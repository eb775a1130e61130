// Reads one token per row behind a batch of prompts, through the forward pass of any model: the reference of the fast
// readers, and what a readout, training mode, and models without fast kernels use.
#pragma once
#include <memory>

#include "model/kv-cache.h"
#include "model/language-model.h"
#include "model/readout.h"
#include "model/token-reader.h"

namespace palm {

class BatchReader : public TokenReader {
 public:
  // Begins behind what `cache` holds, whose rows are the slots. `readout` may be null.
  BatchReader(LanguageModel& model, KvCache cache, std::shared_ptr<Readout> readout);

  // One token of each slot, or of some of those of the last read, which are kept.
  Tensor read(const Scope* scope, const TokenRows& rows) override;
  int64_t ahead() const override;
  bool drops_freely() const override { return false; }

 private:
  LanguageModel& model_;
  KvCache cache_;
  std::shared_ptr<Readout> readout_;
  std::vector<int64_t> slots_;  // of the rows
};

}  // namespace palm
