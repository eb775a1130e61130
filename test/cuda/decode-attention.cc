#include "support.h"

struct Size {
  int64_t rows, heads, head, capacity, steps, start;
  int64_t rest;  // columns of `projected` behind queries, key and value
};

template <class T>
class Decoding {
 public:
  explicit Decoding(const Size& size)
      : s_(size),
        chunk_(palm::decode_chunk(s_.heads, s_.head, sizeof(T))),
        keys_(s_.rows * s_.capacity * s_.head),
        values_(keys_.n),
        projected_(s_.rows * width()),
        out_(s_.rows * mixed()),
        query_cos_(s_.capacity * half()),
        query_sin_(query_cos_.n),
        key_cos_(query_cos_.n),
        key_sin_(query_cos_.n),
        partial_(s_.rows * ((s_.capacity + chunk_ - 1) / chunk_) * s_.heads * (s_.head + 2)),
        arrived_(s_.rows),
        position_(s_.rows) {
    for (auto* table : {&query_cos_, &query_sin_, &key_cos_, &key_sin_}) table->draw(0.7);
    keys_.poison(), values_.poison(), partial_.poison();  // nothing behind a row's position may be read
    for (int64_t r = 0; r < s_.rows; ++r) {
      arrived_[r] = 0;
      position_[r] = std::min(s_.capacity - s_.steps, s_.start + 13 * r);
      for (int64_t i = r * s_.capacity * s_.head; i < (r * s_.capacity + position_[r]) * s_.head; ++i)
        keys_[i] = down<T>(normal()), values_[i] = down<T>(normal());
    }
  }

  void run() {
    for (int64_t step = 0; step < s_.steps; ++step) {
      projected_.draw(0.8), out_.poison();
      emu::static_bytes = 16;  // of `last`
      palm::cuda::decode_attention<T>({projected_.data, width(), query_cos_.data, query_sin_.data, key_cos_.data,
                                       key_sin_.data, position_.data, keys_.data, values_.data, out_.data, mixed(),
                                       s_.heads, s_.head, s_.capacity, chunk_, partial_.data, arrived_.data},
                                      0, s_.rows);
      emu::static_bytes = 0;
      for (int64_t r = 0; r < s_.rows; ++r) compare(r), ++position_[r];
    }
    const std::string of = text("decode_attention", name<T>(), s_.rows, "rows", s_.heads, "heads of", s_.head,
                                "capacity", s_.capacity, "chunk", chunk_);
    expect(gap_out_, kWide<T> ? 1e-5 : 5e-3, of, "out"), expect(gap_cache_, kWide<T> ? 2e-6 : 4e-3, of, "cache");
    expect(clean_, of, "`arrived` is not 0 behind it");
  }

 private:
  int64_t half() const { return s_.head / 2; }
  int64_t width() const { return (s_.heads + 2) * s_.head + s_.rest; }
  int64_t mixed() const { return s_.heads * s_.head + 5; }

  std::vector<double> turned(const T* x, Array<float>& cos, Array<float>& sin, int64_t at) const {
    std::vector<double> y(s_.head);
    for (int64_t i = 0; i < half(); ++i) {
      const double a = up(x[i]), b = up(x[i + half()]), c = cos[at * half() + i], s = sin[at * half() + i];
      y[i] = up(down<T>(a * c - b * s)), y[i + half()] = up(down<T>(b * c + a * s));
    }
    return y;
  }

  void compare(int64_t r) {
    const int64_t at = position_[r], first = r * s_.capacity * s_.head;
    const T* const row = projected_.data + r * width();
    clean_ &= arrived_[r] == 0;
    const auto key = turned(row + s_.heads * s_.head, key_cos_, key_sin_, at);
    for (int64_t k = 0; k < s_.head; ++k) {
      gap_cache_.add(up(keys_[first + at * s_.head + k]), key[k]);
      gap_cache_.add(up(values_[first + at * s_.head + k]), up(row[(s_.heads + 1) * s_.head + k]));
    }
    for (int64_t h = 0; h < s_.heads; ++h) {
      const auto query = turned(row + h * s_.head, query_cos_, query_sin_, at);
      std::vector<double> weight(at + 1);
      for (int64_t s = 0; s <= at; ++s)
        for (int64_t k = 0; k < s_.head; ++k) weight[s] += query[k] * up(keys_[first + s * s_.head + k]);
      const double top = *std::max_element(weight.begin(), weight.end());
      double total = 0;
      for (double& w : weight) total += w = std::exp(w - top);
      for (int64_t k = 0; k < s_.head; ++k) {
        double sum = 0;
        for (int64_t s = 0; s <= at; ++s) sum += weight[s] * up(values_[first + s * s_.head + k]);
        gap_out_.add(up(out_[r * mixed() + h * s_.head + k]), sum / total);
      }
    }
  }

  const Size s_;
  const int64_t chunk_;
  Array<T> keys_, values_, projected_, out_;
  Array<float> query_cos_, query_sin_, key_cos_, key_sin_, partial_;
  Array<int32_t> arrived_;
  Array<int64_t> position_;
  Gap gap_out_, gap_cache_;
  bool clean_ = true;
};

template <class T>
static void every_size() {
  for (const Size& size :
       std::vector<Size>{{3, 3, 6, 40, 3, 4, 7},     // no width that packs divide
                         {2, 2, 64, 70, 2, 30, 8},   // one chunk, then two
                         {1, 64, 64, 80, 1, 60, 8},  // what fills shared memory
                         {1, 32, 128, 80, 1, 60, 8},
                         {1, 96, 64, 80, 1, 60, 8},
                         {1, 16, 128, 80, 1, 60, 8},
                         {1, 24, 128, 80, 1, 60, 8},
                         {3, 12, 64, 700, 2, 510, 8},  // several chunks, which begin between two tokens
                         {2, 12, 64, 600, 3, 254, 8},
                         {2, 40, 96, 300, 2, 120, 8},
                         {1, 5, 200, 300, 2, 250, 3},
                         {2, 1, 8, 1000, 2, 900, 0}})
    Decoding<T>(size).run();
}

void decode_attention_tests() { every_size<float>(), every_size<BFloat16>(); }
