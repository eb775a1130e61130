#include "support.h"

// Queries and keys of every row turned by its place in time, and turned back; the rest of the row untouched.
template <class T>
static void rotate(int64_t batch, int64_t time, int64_t heads, int64_t kv_heads, int64_t head, int64_t width,
                   int64_t rest, size_t off) {
  const std::string of = text("rotate", name<T>(), batch, "x", time, heads, "and", kv_heads, "heads of", head, "turned",
                              width, "off", off);
  const int64_t all = heads + kv_heads, stride = all * head + rest, half = width / 2, rows = batch * time;
  Array<T> x(rows * stride, off);
  x.draw();
  Array<T> before = x.copy();
  Array<float> query_cos(time * half), query_sin(time * half), key_cos(time * half), key_sin(time * half);
  for (auto* table : {&query_cos, &query_sin, &key_cos, &key_sin}) table->draw();
  for (const bool inverse : {false, true}) {
    std::memcpy(static_cast<void*>(x.data), before.data, x.n * sizeof(T));
    palm::cuda::rotate<T>({x.data, stride, query_cos.data, query_sin.data, key_cos.data, key_sin.data, time, heads,
                           kv_heads, head, width, inverse},
                          0, rows);
    Gap gap;
    bool untouched = true;
    const auto is_same = [&](int64_t at) { return std::memcmp(&x[at], &before[at], sizeof(T)) == 0; };
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t h = 0; h < all; ++h) {
        for (int64_t i = 0; i < half; ++i) {
          const int64_t at = r % time * half + i, front = r * stride + h * head + i;
          const double c = h < heads ? query_cos[at] : key_cos[at];
          const double s = (h < heads ? query_sin[at] : key_sin[at]) * (inverse ? -1 : 1);
          const double a = up(before[front]), b = up(before[front + half]);
          gap.add(up(x[front]), a * c - b * s);
          gap.add(up(x[front + half]), b * c + a * s);
        }
        for (int64_t i = width; i < head; ++i) untouched &= is_same(r * stride + h * head + i);
      }
      for (int64_t i = all * head; i < stride; ++i) untouched &= is_same(r * stride + i);
    }
    expect(gap, kWide<T> ? 2e-6 : 4e-3, of, inverse ? "turned back" : "turned");
    expect(untouched, of, "the rest of a row was written");
  }
}

template <class T>
static void every_size() {
  constexpr int64_t kPack = 16 / sizeof(T);
  rotate<T>(2, 5, 3, 1, 6, 6, 4, 0);
  rotate<T>(2, 3, 4, 1, 64, 64, 2 * kPack, 0);
  rotate<T>(1, 3, 1, 1, 16, 16, kPack, 0);
  rotate<T>(2, 3, 2, 1, 16, 16, 1, 0);
  rotate<T>(2, 3, 2, 1, 16, 16, kPack, 1);
  rotate<T>(1, 2, 40, 1, 128, 128, kPack, 0);
  rotate<T>(2, 3, 4, 2, 64, 32, kPack, 0);
  rotate<T>(2, 3, 3, 3, 20, 16, kPack, 0);
  rotate<T>(2, 3, 6, 2, 10, 4, 3, 0);
}

void rotary_tests() { every_size<float>(), every_size<BFloat16>(); }
