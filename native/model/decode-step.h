// Ways to read tokens behind others that a cache holds: one token per row of a batch, or any tokens of sequences that
// come and go. Their reference is LanguageModel::hidden with a KvCache.
#pragma once
#include <vector>

#include "base/tensor.h"

namespace palm {

class Scope;

// Tokens to read: which, and where in the cache. Those of one slot follow one another, in the order of their positions.
struct TokenRows {
  std::vector<int64_t> token, slot, position;
  std::vector<int64_t> wanted;  // the rows after which logits are needed

  int64_t size() const { return static_cast<int64_t>(token.size()); }
};

// Decodes one token per row: weights, cache and temporaries are laid out once for many steps.
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

// Reads tokens of sequences that come and go, each in a slot of one cache.
class SlotReader {
 public:
  virtual ~SlotReader() = default;

  // Called before the first read after weights may have changed. Returns whether they have.
  virtual bool refresh() = 0;
  // Reads these tokens, at most `chunk` of each slot, with the adapters of `scope`, which may be null. Returns
  // [wanted, V], the logits of the tokens after the wanted rows, which the next call may overwrite.
  virtual Tensor read(const Scope* scope, const TokenRows& rows) = 0;
  // The first `length` positions of slot `to` become those of slot `from`.
  virtual void copy(int64_t from, int64_t to, int64_t length) = 0;
  virtual void clear(int64_t slot) = 0;         // forgets numbers that are not finite
  virtual void forget(const Scope* scope) = 0;  // which ends, so that another may be at its address
  virtual int64_t chunk() const = 0;            // tokens of a slot that are read at once
  virtual int64_t most_rows() const = 0;        // of one read
  // Whether the numbers of a token are the same however its sequence is divided into reads. Otherwise a sequence must be
  // divided alike each time.
  virtual bool divides_freely() const = 0;
};

}  // namespace palm
