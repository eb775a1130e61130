#include "support.h"

struct Size {
  int64_t rows, heads, kv_heads, head, capacity, steps, start;
  int64_t rest;  // columns of `projected` behind queries, keys and values
  int64_t window = 0;
  int64_t still = 0;  // dimensions of a head that do not rotate
  double scale = 1, softcap = 0;
  bool alibi = false, rounded = false;
};

template <class T>
class Decoding {
 public:
  explicit Decoding(const Size& size)
      : s_(size),
        chunk_(palm::decode_chunk(s_.heads / s_.kv_heads, s_.head, sizeof(T))),
        chunks_(palm::decode_chunks(s_.capacity, chunk_, s_.window)),
        keys_(s_.rows * s_.kv_heads * s_.capacity * s_.head),
        values_(keys_.n),
        projected_(s_.rows * width()),
        out_(s_.rows * mixed()),
        query_cos_(s_.capacity * half()),
        query_sin_(query_cos_.n),
        key_cos_(query_cos_.n),
        key_sin_(query_cos_.n),
        alibi_(s_.heads),
        partial_(s_.rows * chunks_ * s_.heads * (s_.head + 2)),
        arrived_(s_.rows * s_.kv_heads),
        position_(s_.rows) {
    for (auto* table : {&query_cos_, &query_sin_, &key_cos_, &key_sin_}) table->draw(0.7);
    alibi_.draw(0.1);
    for (size_t i = 0; i < arrived_.n; ++i) arrived_[i] = 0;
    keys_.poison(), values_.poison(), partial_.poison();  // only what a token attends to may count
    for (int64_t r = 0; r < s_.rows; ++r) {
      position_[r] = std::min(s_.capacity - s_.steps, s_.start + 13 * r);
      for (int64_t kv = 0; kv < s_.kv_heads; ++kv)
        for (int64_t i = at(r, kv, seen(position_[r])); i < at(r, kv, position_[r]); ++i)
          keys_[i] = down<T>(normal()), values_[i] = down<T>(normal());
    }
  }

  void run() {
    for (int64_t step = 0; step < s_.steps; ++step) {
      projected_.draw(0.8), out_.poison();
      emu::static_bytes = 16;  // of `last`
      palm::cuda::decode_attention<T>(args(), 0, s_.rows);
      emu::static_bytes = 0;
      for (int64_t r = 0; r < s_.rows; ++r) compare(r), ++position_[r];
    }
    const std::string of = text("decode_attention", name<T>(), s_.rows, "rows", s_.heads, "heads,", s_.kv_heads,
                                "of keys, of", s_.head, "capacity", s_.capacity, "chunk", chunk_, "window", s_.window);
    expect(gap_out_, kWide<T> ? 1e-5 : 5e-3, of, "out"), expect(gap_cache_, kWide<T> ? 2e-6 : 4e-3, of, "cache");
    for (size_t i = 0; i < arrived_.n; ++i) clean_ &= arrived_[i] == 0;
    expect(clean_, of, "`arrived` is not 0 behind it");
  }

 private:
  int64_t turned() const { return s_.head / 2 * 2 - s_.still; }
  int64_t half() const { return turned() / 2; }
  int64_t width() const { return (s_.heads + 2 * s_.kv_heads) * s_.head + s_.rest; }
  int64_t mixed() const { return s_.heads * s_.head + 5; }
  // Where a cached key begins, and the first that a token attends to.
  int64_t at(int64_t r, int64_t kv, int64_t key) const {
    return ((r * s_.kv_heads + kv) * s_.capacity + key) * s_.head;
  }
  int64_t seen(int64_t position) const { return s_.window ? std::max<int64_t>(0, position - s_.window + 1) : 0; }

  palm::DecodeAttentionArgs args() {
    return {.query = projected_.data,
            .key = projected_.data + s_.heads * s_.head,
            .value = projected_.data + (s_.heads + s_.kv_heads) * s_.head,
            .query_stride = width(),
            .key_stride = width(),
            .value_stride = width(),
            .turned = turned(),
            .query_cos = query_cos_.data,
            .query_sin = query_sin_.data,
            .key_cos = key_cos_.data,
            .key_sin = key_sin_.data,
            .position = position_.data,
            .keys = keys_.data,
            .values = values_.data,
            .out = out_.data,
            .out_stride = mixed(),
            .heads = s_.heads,
            .kv_heads = s_.kv_heads,
            .head = s_.head,
            .capacity = s_.capacity,
            .window = s_.window,
            .scale = static_cast<float>(s_.scale),
            .softcap = static_cast<float>(s_.softcap),
            .alibi = s_.alibi ? alibi_.data : nullptr,
            .alibi_rounded = s_.rounded,
            .chunk = chunk_,
            .chunks = chunks_,
            .partial = partial_.data,
            .arrived = arrived_.data};
  }

  std::vector<double> turned(const T* x, Array<float>& cos, Array<float>& sin, int64_t position) const {
    std::vector<double> y(s_.head);
    for (int64_t i = turned(); i < s_.head; ++i) y[i] = up(x[i]);
    for (int64_t i = 0; i < half(); ++i) {
      const double a = up(x[i]), b = up(x[i + half()]), c = cos[position * half() + i], s = sin[position * half() + i];
      y[i] = up(down<T>(a * c - b * s)), y[i + half()] = up(down<T>(b * c + a * s));
    }
    return y;
  }

  double score(const std::vector<double>& query, int64_t h, const T* key, int64_t position) {
    double all = 0;
    for (int64_t k = 0; k < s_.head; ++k) all += query[k] * up(key[k]);
    all *= s_.scale;
    if (s_.softcap > 0) all = s_.softcap * std::tanh(all / s_.softcap);
    if (!s_.alibi) return all;
    const float bias = alibi_[h] * static_cast<float>(position);
    return all + (s_.rounded ? up(down<BFloat16>(bias)) * s_.scale : bias);
  }

  void compare(int64_t r) {
    const int64_t position = position_[r];
    const T* const row = projected_.data + r * width();
    for (int64_t kv = 0; kv < s_.kv_heads; ++kv) {
      const auto key = turned(row + (s_.heads + kv) * s_.head, key_cos_, key_sin_, position);
      for (int64_t k = 0; k < s_.head; ++k) {
        gap_cache_.add(up(keys_[at(r, kv, position) + k]), key[k]);
        gap_cache_.add(up(values_[at(r, kv, position) + k]), up(row[(s_.heads + s_.kv_heads + kv) * s_.head + k]));
      }
    }
    for (int64_t h = 0; h < s_.heads; ++h)
      compare_head(r, h, turned(row + h * s_.head, query_cos_, query_sin_, position));
  }

  void compare_head(int64_t r, int64_t h, const std::vector<double>& query) {
    const int64_t kv = h / (s_.heads / s_.kv_heads), from = seen(position_[r]), count = position_[r] + 1 - from;
    std::vector<double> weight(count);
    for (int64_t i = 0; i < count; ++i) weight[i] = score(query, h, keys_.data + at(r, kv, from + i), from + i);
    const double most = *std::max_element(weight.begin(), weight.end());
    double total = 0;
    for (double& w : weight) total += w = std::exp(w - most);
    for (int64_t k = 0; k < s_.head; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < count; ++i) sum += weight[i] * up(values_[at(r, kv, from + i) + k]);
      gap_out_.add(up(out_[r * mixed() + h * s_.head + k]), sum / total);
    }
  }

  const Size s_;
  const int64_t chunk_, chunks_;
  Array<T> keys_, values_, projected_, out_;
  Array<float> query_cos_, query_sin_, key_cos_, key_sin_, alibi_, partial_;
  Array<int32_t> arrived_;
  Array<int64_t> position_;
  Gap gap_out_, gap_cache_;
  bool clean_ = true;
};

// One head of keys for all.
static const std::vector<Size> kMultiQuery = {
    {3, 3, 1, 6, 40, 3, 4, 7},     // no width that packs divide
    {2, 2, 1, 64, 70, 2, 30, 8},   // one chunk, then two
    {1, 64, 1, 64, 80, 1, 60, 8},  // what fills shared memory
    {1, 32, 1, 128, 80, 1, 60, 8},  {1, 96, 1, 64, 80, 1, 60, 8},   {1, 16, 1, 128, 80, 1, 60, 8},
    {1, 24, 1, 128, 80, 1, 60, 8},  {3, 12, 1, 64, 700, 2, 510, 8},  // several chunks, which begin between two tokens
    {2, 12, 1, 64, 600, 3, 254, 8}, {2, 40, 1, 96, 300, 2, 120, 8}, {1, 5, 1, 200, 300, 2, 250, 3},
    {2, 1, 1, 8, 1000, 2, 900, 0}};

// Groups of heads, rows at other positions, windows, and what else changes a score.
static const std::vector<Size> kOthers = {
    {.rows = 3,
     .heads = 9,
     .kv_heads = 3,
     .head = 64,
     .capacity = 300,
     .steps = 3,
     .start = 125,
     .rest = 0},  // SmolLM2
    {.rows = 2, .heads = 8, .kv_heads = 8, .head = 80, .capacity = 140, .steps = 2, .start = 62, .rest = 8},
    {.rows = 2, .heads = 8, .kv_heads = 2, .head = 96, .capacity = 200, .steps = 2, .start = 100, .rest = 8},
    {.rows = 2,
     .heads = 14,
     .kv_heads = 2,
     .head = 64,
     .capacity = 400,
     .steps = 2,
     .start = 250,
     .rest = 0,
     .scale = 0.125},
    {.rows = 2, .heads = 16, .kv_heads = 8, .head = 128, .capacity = 150, .steps = 2, .start = 120, .rest = 0},
    {.rows = 2,
     .heads = 8,
     .kv_heads = 1,
     .head = 256,
     .capacity = 90,
     .steps = 2,
     .start = 40,
     .rest = 0,
     .scale = 0.0625},
    {.rows = 3, .heads = 4, .kv_heads = 2, .head = 6, .capacity = 60, .steps = 4, .start = 1, .rest = 3, .window = 4},
    {.rows = 2,
     .heads = 4,
     .kv_heads = 2,
     .head = 64,
     .capacity = 500,
     .steps = 4,
     .start = 297,
     .rest = 0,
     .window = 44},
    {.rows = 2,
     .heads = 4,
     .kv_heads = 2,
     .head = 64,
     .capacity = 500,
     .steps = 4,
     .start = 254,
     .rest = 0,
     .window = 128},
    {.rows = 3,
     .heads = 6,
     .kv_heads = 3,
     .head = 128,
     .capacity = 400,
     .steps = 3,
     .start = 318,
     .rest = 0,
     .window = 150},
    {.rows = 1,
     .heads = 2,
     .kv_heads = 1,
     .head = 64,
     .capacity = 300,
     .steps = 3,
     .start = 127,
     .rest = 0,
     .window = 1},
    {.rows = 2,
     .heads = 4,
     .kv_heads = 4,
     .head = 64,
     .capacity = 150,
     .steps = 2,
     .start = 120,
     .rest = 0,
     .still = 48},
    {.rows = 2, .heads = 4, .kv_heads = 2, .head = 7, .capacity = 30, .steps = 2, .start = 9, .rest = 0, .still = 6},
    {.rows = 2,
     .heads = 4,
     .kv_heads = 2,
     .head = 64,
     .capacity = 150,
     .steps = 2,
     .start = 120,
     .rest = 0,
     .still = 64},
    {.rows = 2,
     .heads = 8,
     .kv_heads = 4,
     .head = 64,
     .capacity = 300,
     .steps = 2,
     .start = 130,
     .rest = 0,
     .window = 100,
     .scale = 0.3,
     .softcap = 2},
    {.rows = 2,
     .heads = 4,
     .kv_heads = 4,
     .head = 64,
     .capacity = 300,
     .steps = 2,
     .start = 130,
     .rest = 0,
     .scale = 0.2,
     .alibi = true},
    {.rows = 2,
     .heads = 4,
     .kv_heads = 2,
     .head = 40,
     .capacity = 300,
     .steps = 2,
     .start = 130,
     .rest = 0,
     .scale = 0.2,
     .alibi = true,
     .rounded = true}};

template <class T>
static void every_size() {
  for (const auto* sizes : {&kMultiQuery, &kOthers})
    for (const Size& size : *sizes) Decoding<T>(size).run();
}

void decode_attention_tests() { every_size<float>(), every_size<BFloat16>(); }
