// Keys and values on the CPU, packed as kernels/token-kernels.h describes, in slots: each has room for one sequence.
#pragma once
#include "kernels/token-kernels.h"
#include "model/kv-cache.h"

namespace palm {

class PackedCache {
 public:
  PackedCache(const KvCache::Sizes& sizes, const at::TensorOptions& options);  // `batch` slots
  // Takes over what `cache` holds: its row i for slots i · samples … (i + 1) · samples − 1.
  PackedCache(const KvCache& cache, int64_t samples);

  // The first `length` positions of slot `to` become those of slot `from`.
  void copy(int64_t from, int64_t to, int64_t length);
  void clear(int64_t slot);
  TokenCache layer(int64_t index) const;
  int64_t capacity() const { return capacity_; }
  int64_t slots() const { return keys_.size(1); }

 private:
  int64_t capacity_;      // positions, a multiple of 32
  int64_t head_;          // K
  Tensor keys_, values_;  // [L, slots, Kv, …]
};

}  // namespace palm
