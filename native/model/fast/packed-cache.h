// The keys and values of rows that are decoded on the CPU, packed as kernels/token-kernels.h describes.
#pragma once
#include <vector>

#include "kernels/token-kernels.h"
#include "model/kv-cache.h"

namespace palm {

class PackedCache {
 public:
  // Takes over what `cache` holds, with row i repeated `samples` times.
  PackedCache(const KvCache& cache, int64_t samples);

  void keep_rows(const Tensor& rows);  // [n] int64
  void advance();                      // every row has one more token

  TokenCache layer(int64_t index) const;
  const std::vector<int64_t>& positions() const { return positions_; }  // [B], of the next token
  int64_t rows() const { return static_cast<int64_t>(positions_.size()); }
  int64_t capacity() const { return capacity_; }

 private:
  int64_t capacity_;      // positions, a multiple of 32
  Tensor keys_, values_;  // [L, B, Kv, …]
  std::vector<int64_t> positions_;
};

}  // namespace palm
