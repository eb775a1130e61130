// A faster way to decode one token per row: weights, cache and temporaries are laid out once for many steps. Its
// reference is LanguageModel::hidden with a KvCache.
#pragma once
#include "base/tensor.h"

namespace palm {

class DecodeStep {
 public:
  virtual ~DecodeStep() = default;

  // Checks whether the weights have changed, and updates any copies of them.
  virtual void refresh() = 0;
  // Processes one token per row. Rows that have ended may hold ids outside the vocabulary: these are clamped into it.
  virtual Tensor next_logits(const Tensor& tokens) = 0;  // [B] int64 → [B, V] logits of the next token
  // Keeps only these rows, in this order.
  virtual void keep_rows(const Tensor& rows) = 0;  // [n] int64
};

}  // namespace palm
