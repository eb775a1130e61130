// Reads sequences in slots through the forward pass of any model, one slot after the other: the reference of
// fast/packed-reader.h, and what models without fast kernels use. How its numbers are rounded depends on how a sequence
// is divided into reads, but not on other slots.
#pragma once
#include <optional>
#include <vector>

#include "model/kv-cache.h"
#include "model/language-model.h"
#include "model/token-reader.h"

namespace palm {

class PlainReader : public SlotReader {
 public:
  PlainReader(LanguageModel& model, int64_t slots, int64_t capacity, std::shared_ptr<Readout> readout);

  Tensor read(const Scope* scope, const TokenRows& rows) override;
  void copy(int64_t from, int64_t to, int64_t length) override;
  void clear(int64_t slot) override { caches_[slot].reset(); }
  void forget(const Scope*) override {}  // keeps nothing of scopes
  int64_t chunk() const override { return 256; }
  int64_t most_rows() const override;
  bool divides_freely() const override { return false; }

 private:
  // The rows begin … end − 1, which belong to one slot. Returns hidden states [n, D].
  Tensor read_slot(const Scope* scope, const TokenRows& rows, int64_t begin, int64_t end);

  LanguageModel& model_;
  int64_t capacity_;
  std::shared_ptr<Readout> readout_;            // undefined: the head of the model
  std::vector<std::optional<KvCache>> caches_;  // by slot, of one row each
};

}  // namespace palm
