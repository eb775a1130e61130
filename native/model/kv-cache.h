// Keys and values of the positions a model has processed, ready for the next token. Each row has its own length:
// prompts are right-padded, and a growing row overwrites the entries of its padding.
#pragma once
#include "base/tensor.h"

namespace palm {

class KvCache {
 public:
  struct Sizes {
    int64_t layers, batch, kv_heads, capacity, dim_head;
  };
  KvCache(const Sizes& sizes, const at::TensorOptions& options);

  struct Read {
    Tensor key, value;  // [B, Kv, S, K], S = positions in use
  };
  // Writes key and value [B, Kv, T, K] of one layer after the end of each row; returns everything stored for the layer.
  Read append(int64_t layer, const Tensor& key, const Tensor& value);
  // Positions [B, T] of the next `count` tokens, and which cached positions each may attend to [B, T, 1, S]: the last
  // `window`, itself included, or all with window 0.
  Tensor positions(int64_t count) const;
  Tensor visible(int64_t count, int64_t window) const;
  // Called after every layer has processed the new tokens: `lengths` [B] is the number of real tokens in each row.
  void advance(const Tensor& lengths, int64_t longest);
  // Forgets what follows the first `length` tokens of every row.
  void rewind(int64_t length);
  // Row i becomes rows i·n … i·n + n − 1.
  void repeat_rows(int64_t n);
  bool empty() const { return longest_ == 0; }
  // Keeps only these rows, in this order.
  void keep_rows(const Tensor& rows);          // [n] int64
  const Tensor& keys() const { return key_; }  // [L, B, Kv, capacity, K]
  const Tensor& values() const { return value_; }
  const Tensor& lengths() const { return lengths_; }  // [B] int64
  int64_t capacity() const { return key_.size(3); }

 private:
  int64_t longest_ = 0;  // max length over rows, known without asking the device
  Tensor key_, value_;
  Tensor lengths_;
};

}  // namespace palm
