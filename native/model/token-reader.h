// Ways to read tokens behind others that a cache holds: one token per row of a batch, or any tokens of sequences that
// come and go. Their reference is LanguageModel::hidden with a KvCache.
#pragma once
#include <numeric>
#include <vector>

#include "base/tensor.h"

namespace palm {

class Scope;

// Tokens to read: which, and where in the cache. Those of one slot follow one another, in the order of their positions.
struct TokenRows {
  Tensor token;  // [n] int64, on the device of the model
  std::vector<int64_t> slot, position;
  std::vector<int64_t> wanted;  // the rows after which logits are needed

  int64_t size() const { return static_cast<int64_t>(slot.size()); }
  void want_all() {
    wanted.resize(slot.size());
    std::iota(wanted.begin(), wanted.end(), 0);
  }
};

// Reads tokens of sequences, each in a slot of one cache.
class TokenReader {
 public:
  virtual ~TokenReader() = default;

  // Called before the first read after weights may have changed. Returns whether they have.
  virtual bool refresh() { return false; }  // for readers that use the weights themselves
  // Reads these tokens with the adapters of `scope`, which may be null. Returns [wanted, V], the logits of the tokens
  // after the wanted rows, which the next call may overwrite.
  virtual Tensor read(const Scope* scope, const TokenRows& rows) = 0;
  // How many tokens to draw before looking at them: more than one where looking means to wait for the device.
  virtual int64_t ahead() const { return 1; }
  // Whether reading fewer rows costs nothing. Otherwise a change of rows copies the cache of those that are left.
  virtual bool drops_freely() const { return true; }
};

// Where the slots `kept` are among `slots`, as int64 with these options. Both are in the same order.
Tensor rows_kept(const std::vector<int64_t>& slots, const std::vector<int64_t>& kept, const at::TensorOptions& options);

// Reads any tokens of sequences that come and go. Its logits are on the CPU.
class SlotReader : public TokenReader {
 public:
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
