#include "model/kv-cache.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "model/palm.h"

namespace palm {

KvCache::KvCache(const PalmConfig& config, int64_t batch, int64_t capacity)
    : capacity_(capacity),
      key_(at::zeros({config.depth, batch, capacity, config.dim_head},
                     at::TensorOptions(config.dtype).device(config.device))),
      value_(at::zeros_like(key_)),
      lengths_(at::zeros({batch}, at::TensorOptions(at::kLong).device(config.device))) {}

Tensor KvCache::positions(int64_t count) const { return lengths_.unsqueeze(1) + at::arange(count, lengths_.options()); }

Tensor KvCache::visible(int64_t count) const {
  const Tensor stored = at::arange(longest_ + count, lengths_.options());
  return stored.view({1, 1, 1, -1}).le(positions(count).unsqueeze(-1).unsqueeze(-1));
}

KvCache::Read KvCache::append(int64_t layer, const Tensor& key, const Tensor& value) {
  const int64_t count = key.size(1), used = longest_ + count;
  if (empty()) {
    key_.select(0, layer).narrow(1, 0, used).copy_(key);
    value_.select(0, layer).narrow(1, 0, used).copy_(value);
    return {key, value};
  }
  const Tensor place = positions(count).unsqueeze(-1).expand_as(key);
  key_.select(0, layer).scatter_(1, place, key);
  value_.select(0, layer).scatter_(1, place, value);
  return {key_.select(0, layer).narrow(1, 0, used), value_.select(0, layer).narrow(1, 0, used)};
}

void KvCache::advance(const Tensor& lengths, int64_t longest) {
  lengths_ = lengths_ + lengths;
  longest_ += longest;
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
