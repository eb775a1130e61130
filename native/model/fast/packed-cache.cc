#include "model/fast/packed-cache.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <cstring>

namespace palm {

// Packs the cached keys and values of one head of a row into panels.
template <class T>
static void pack_head(T* keys, T* values, const T* key, const T* value, int64_t length, int64_t head,
                      int64_t capacity) {
  constexpr bool kPairs = sizeof(T) == 2;
  const int64_t depth = panel_depth(kPairs, head);
  for (int64_t s = 0; s < length; ++s) {
    T* const panel = keys + s / kPanel * kPanel * depth;
    for (int64_t k = 0; k < head; ++k) {
      panel[panel_index(kPairs, k, s % kPanel)] = key[s * head + k];
      values[k / kPanel * kPanel * capacity + panel_index(kPairs, s, k % kPanel)] = value[s * head + k];
    }
  }
}

template <class T>
static void pack_cache(const Tensor& keys, const Tensor& values, const KvCache& cache, int64_t samples,
                       int64_t capacity) {
  const int64_t layers = keys.size(0), batch = cache.keys().size(1), heads = keys.size(2), head = cache.keys().size(4);
  const int64_t from_stride = cache.capacity() * head, key_stride = keys.size(3), value_stride = values.size(3);
  const int64_t* const lengths = cache.lengths().const_data_ptr<int64_t>();
  const T* const key = cache.keys().const_data_ptr<T>();
  const T* const value = cache.values().const_data_ptr<T>();
  T* const to_keys = keys.mutable_data_ptr<T>();
  T* const to_values = values.mutable_data_ptr<T>();
  at::parallel_for(0, layers * batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* const row_keys = to_keys + row * samples * heads * key_stride;
      T* const row_values = to_values + row * samples * heads * value_stride;
      for (int64_t h = 0; h < heads; ++h)
        pack_head(row_keys + h * key_stride, row_values + h * value_stride, key + (row * heads + h) * from_stride,
                  value + (row * heads + h) * from_stride, lengths[row % batch], head, capacity);
      for (int64_t i = 1; i < samples; ++i) {
        std::memcpy(row_keys + i * heads * key_stride, row_keys, sizeof(T) * heads * key_stride);
        std::memcpy(row_values + i * heads * value_stride, row_values, sizeof(T) * heads * value_stride);
      }
    }
  });
}

PackedCache::PackedCache(const KvCache::Sizes& sizes, const at::TensorOptions& options)
    : capacity_(panels_of(sizes.capacity) * kPanel), head_(sizes.dim_head) {
  const bool pairs = options.dtype() == at::kBFloat16;
  keys_ = at::zeros({sizes.layers, sizes.batch, sizes.kv_heads, capacity_ * panel_depth(pairs, head_)}, options);
  values_ = at::zeros({sizes.layers, sizes.batch, sizes.kv_heads, panels_of(head_) * kPanel * capacity_}, options);
}

static KvCache::Sizes sizes_of(const KvCache& cache, int64_t samples) {
  const auto sizes = cache.keys().sizes();
  return {.layers = sizes[0],
          .batch = sizes[1] * samples,
          .kv_heads = sizes[2],
          .capacity = cache.capacity(),
          .dim_head = sizes[4]};
}

PackedCache::PackedCache(const KvCache& cache, int64_t samples)
    : PackedCache(sizes_of(cache, samples), cache.keys().options()) {
  if (keys_.scalar_type() == at::kBFloat16)
    pack_cache<at::BFloat16>(keys_, values_, cache, samples, capacity_);
  else
    pack_cache<float>(keys_, values_, cache, samples, capacity_);
}

void PackedCache::copy(int64_t from, int64_t to, int64_t length) {
  // Keys: a panel has some positions. Values: each panel has all positions.
  const int64_t positions = panels_of(length) * kPanel;
  const auto keys = [&](int64_t slot) {
    return keys_.select(1, slot).narrow(2, 0, positions * (keys_.size(3) / capacity_));
  };
  const auto values = [&](int64_t slot) {
    const Tensor panels = values_.select(1, slot).unflatten(2, {panels_of(head_), capacity_ * kPanel});
    return panels.narrow(3, 0, positions * kPanel);
  };
  keys(to).copy_(keys(from));
  values(to).copy_(values(from));
}

void PackedCache::clear(int64_t slot) {
  keys_.select(1, slot).zero_();
  values_.select(1, slot).zero_();
}

TokenCache PackedCache::layer(int64_t index) const {
  return {.keys = keys_.select(0, index).mutable_data_ptr(),
          .values = values_.select(0, index).mutable_data_ptr(),
          .key_stride = keys_.size(3),
          .value_stride = values_.size(3),
          .capacity = capacity_};
}

}  // namespace palm
