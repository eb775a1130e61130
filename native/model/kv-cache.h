// Keys and values of the positions a model has read, one head each (multi-query), ready for the next token. Rows have
// their own lengths: prompts are right-padded, and what a row's padding left behind is overwritten as the row grows.
#pragma once
#include "base/tensor.h"

namespace palm {

struct PalmConfig;

class KvCache {
 public:
  KvCache(const PalmConfig& config, int64_t batch, int64_t capacity);

  struct Read {
    Tensor key, value;  // [B, S, K], S = positions in use
  };
  // Writes key and value [B, T, K] of one layer behind each row's length and gives all that is stored.
  Read append(int64_t layer, const Tensor& key, const Tensor& value);
  // Positions [B, T] of the next `count` tokens, and which cached ones each may see [B, T, 1, S].
  Tensor positions(int64_t count) const;
  Tensor visible(int64_t count) const;
  // The next tokens have been read by every layer: `lengths` [B] is how many of them were real in each row.
  void advance(const Tensor& lengths, int64_t longest);
  // Row i becomes rows i·n … i·n + n − 1.
  void repeat_rows(int64_t n);
  bool empty() const { return longest_ == 0; }
  // Only these rows, in this order.
  void keep_rows(const Tensor& rows);  // [n] int64
  const Tensor& keys() const { return key_; }
  const Tensor& values() const { return value_; }
  const Tensor& lengths() const { return lengths_; }  // [B] int64
  int64_t capacity() const { return capacity_; }

 private:
  int64_t capacity_;
  int64_t longest_ = 0;  // of any row, known without asking the device
  Tensor key_, value_;   // [L, B, capacity, K]
  Tensor lengths_;       // [B]
};

}  // namespace palm
