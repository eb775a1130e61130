#include "model/kv-cache.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

namespace palm {

KvCache::KvCache(const Sizes& sizes, const at::TensorOptions& options)
    : key_(at::zeros({sizes.layers, sizes.batch, sizes.kv_heads, sizes.capacity, sizes.dim_head}, options)),
      value_(at::zeros_like(key_)),
      lengths_(at::zeros({sizes.batch}, options.dtype(at::kLong))) {}

Tensor KvCache::positions(int64_t count) const { return lengths_.unsqueeze(1) + at::arange(count, lengths_.options()); }

Tensor KvCache::visible(int64_t count, int64_t window) const {
  const Tensor stored = at::arange(longest_ + count, lengths_.options()).view({1, 1, 1, -1});
  const Tensor now = positions(count).unsqueeze(-1).unsqueeze(-1);
  const Tensor before = stored.le(now);
  return window == 0 ? before : before & stored.gt(now - window);
}

KvCache::Read KvCache::append(int64_t layer, const Tensor& key, const Tensor& value) {
  const int64_t count = key.size(2), used = longest_ + count;
  const Tensor keys = key_.select(0, layer), values = value_.select(0, layer);
  if (empty()) {
    keys.narrow(2, 0, used).copy_(key);
    values.narrow(2, 0, used).copy_(value);
    return {key, value};
  }
  const Tensor place = positions(count).unsqueeze(1).unsqueeze(-1).expand_as(key);
  keys.scatter_(2, place, key);
  values.scatter_(2, place, value);
  return {keys.narrow(2, 0, used), values.narrow(2, 0, used)};
}

void KvCache::advance(const Tensor& lengths, int64_t longest) {
  lengths_ = lengths_ + lengths;
  longest_ += longest;
}

void KvCache::rewind(int64_t length) {
  lengths_ = lengths_.clamp_max(length);
  longest_ = std::min(longest_, length);
}

void KvCache::repeat_rows(int64_t n) {
  if (n == 1) return;
  key_ = key_.repeat_interleave(n, 1);
  value_ = value_.repeat_interleave(n, 1);
  lengths_ = lengths_.repeat_interleave(n, 0);
}

void KvCache::keep_rows(const Tensor& rows) {
  key_ = key_.index_select(1, rows);
  value_ = value_.index_select(1, rows);
  lengths_ = lengths_.index_select(0, rows);
}

}  // namespace palm
