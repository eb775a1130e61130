// A faster way to read one token a row: weights, cache and temporaries laid out once for many steps. Reading on through
// LanguageModel::hidden with a KvCache is the reference.
#pragma once
#include "base/tensor.h"

namespace palm {

class DecodeStep {
 public:
  virtual ~DecodeStep() = default;

  // Looks again at weights that may have been changed since.
  virtual void refresh() = 0;
  // Reads a token of every row; ids outside the vocabulary, in rows that have ended, are read as one inside it.
  virtual Tensor next_logits(const Tensor& tokens) = 0;  // [B] int64 → [B, V] of the token after it
  // Only these rows from now on, in this order.
  virtual void keep_rows(const Tensor& rows) = 0;  // [n] int64
};

}  // namespace palm
