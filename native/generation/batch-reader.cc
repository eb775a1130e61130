#include "generation/batch-reader.h"

#include <ATen/ops/ones.h>

namespace palm {

BatchReader::BatchReader(LanguageModel& model, KvCache cache, std::shared_ptr<Readout> readout)
    : model_(model), cache_(std::move(cache)), readout_(std::move(readout)), slots_(cache_.lengths().size(0)) {
  std::iota(slots_.begin(), slots_.end(), 0);
}

int64_t BatchReader::ahead() const { return cache_.lengths().is_cpu() ? 1 : 16; }

Tensor BatchReader::read(const Scope* scope, const TokenRows& rows) {
  if (rows.slot != slots_) {
    cache_.keep_rows(rows_kept(slots_, rows.slot, cache_.lengths().options()));
    slots_ = rows.slot;
  }
  const Tensor hidden =
      model_.hidden(rows.token.unsqueeze(1), {.scope = scope, .cache = &cache_, .gradients = Gradients::none});
  cache_.advance(at::ones({1}, cache_.lengths().options()), 1);
  return model_.logits(hidden.squeeze(1), readout_.get());
}

}  // namespace palm
