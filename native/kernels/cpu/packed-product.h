// Products of a few rows with a matrix packed in panels of 32 columns.
#pragma once
#include "kernels/cpu/simd.h"
#include "kernels/token-kernels.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace palm::cpu::PALM_ISA {

template <class T>
constexpr bool kPairs = false;
template <>
constexpr bool kPairs<BFloat16> = true;

// Rows per tile of kVectors vectors: the sums must fit the registers.
template <int kVectors>
#ifdef __AVX512F__
constexpr int kPackedRows = kVectors == 8 ? 2 : 6;
#else
constexpr int kPackedRows = kVectors == 8 ? 1 : 3;
#endif

template <int kNumber>
struct Count {
  static constexpr int value = kNumber;
};

typedef uint32_t UnalignedBits __attribute__((vector_size(kLanes * 4), aligned(4)));

// Written with intrinsics: GCC 12 converts vectors of bytes element by element.
static inline Vec load(const int8_t* from) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtepi32_ps(
      0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
  Vec x;
  for (int64_t lane = 0; lane < kLanes; ++lane) x[lane] = from[lane];
  return x;
#endif
}

// sums[row][vector] += x[row][k … k + 1] · the pairs at `from`.
template <int kRows, int kVectors, class Sums>
static inline void add_pair(Sums& sums, const float* x, int64_t stride, const BFloat16* from, const int64_t* at,
                            bool whole) {
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Bits pairs = *reinterpret_cast<const UnalignedBits*>(from + at[v]);
    const Vec even = reinterpret_cast<Vec>(pairs << 16), odd = reinterpret_cast<Vec>(pairs & 0xffff0000u);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      sums[r][v] += all(x[r * stride]) * even;
      if (whole) sums[r][v] += all(x[r * stride + 1]) * odd;
    }
  }
}

#ifdef __AVX512BF16__
template <int kRows, int kVectors, class Sums>
static inline void add_pair(Sums& sums, const BFloat16* x, int64_t stride, const BFloat16* from, const int64_t* at,
                            bool whole) {
  __m512bh pairs[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) pairs[v] = (__m512bh)_mm512_loadu_si512(from + at[v]);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    uint32_t bits = x[r * stride].bits;
    if (whole) __builtin_memcpy(&bits, x + r * stride, 4);
    const __m512bh both = (__m512bh)_mm512_set1_epi32(static_cast<int>(bits));
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = reinterpret_cast<Vec>(_mm512_dpbf16_ps((__m512)sums[r][v], both, pairs[v]));
  }
}
#endif

template <int kRows, int kVectors, class Sums, class W>
static inline void add_one(Sums& sums, const float* x, int64_t stride, const W* from, const int64_t* at) {
  Vec weight[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) weight[v] = load(from + at[v]);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] += all(x[r * stride]) * weight[v];
}

// y[kRows, kVectors · kLanes] from the columns at w; panels are `stride` apart.
template <int kRows, int kVectors, class X, class W>
static void packed_tile(const X* x, int64_t x_stride, const W* w, int64_t stride, int64_t depth, float* y,
                        int64_t y_stride) {
  constexpr int kWidth = kPairs<W> ? 2 : 1;
  Vec sums[kRows][kVectors] = {};
  int64_t at[kVectors];
  for (int v = 0; v < kVectors; ++v) at[v] = v * kLanes / kPanel * stride + v * kLanes % kPanel * kWidth;
  if constexpr (kPairs<W>) {
    int64_t k = 0;
    for (; k + 2 <= depth; k += 2) add_pair<kRows, kVectors>(sums, x + k, x_stride, w + k * kPanel, at, true);
    if (k < depth) add_pair<kRows, kVectors>(sums, x + k, x_stride, w + k * kPanel, at, false);
  } else {
    for (int64_t k = 0; k < depth; ++k) add_one<kRows, kVectors>(sums, x + k, x_stride, w + k * kPanel, at);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(y + r * y_stride + v * kLanes, sums[r][v]);
}

template <int kVectors, class X, class W>
static void packed_rows(int64_t rows, const X* x, int64_t x_stride, const W* w, int64_t stride, int64_t depth, float* y,
                        int64_t y_stride) {
  const int64_t tiles = (rows + kPackedRows<kVectors> - 1) / kPackedRows<kVectors>;
  for (int64_t done = 0, t = 0; t < tiles; ++t) {
    const int64_t count = rows * (t + 1) / tiles - done;
    const X* from = x + done * x_stride;
    float* to = y + done * y_stride;
    switch (count) {
#define PALM_TILE(n)                                                            \
  case n:                                                                       \
    if constexpr (n <= kPackedRows<kVectors>)                                   \
      packed_tile<n, kVectors>(from, x_stride, w, stride, depth, to, y_stride); \
    break;
      PALM_TILE(1)
      PALM_TILE(2)
      PALM_TILE(3)
      PALM_TILE(4)
      PALM_TILE(5)
      PALM_TILE(6)
#undef PALM_TILE
    }
    done += count;
  }
}

template <int kVectors, class X, class W>
static int64_t packed_columns(int64_t column, int64_t columns, int64_t rows, const X* x, int64_t x_stride, const W* w,
                              int64_t stride, int64_t depth, float* y, int64_t y_stride) {
  constexpr int64_t kStep = kVectors * kLanes, kWidth = kPairs<W> ? 2 : 1;
  for (; column + kStep <= columns; column += kStep)
    packed_rows<kVectors>(rows, x, x_stride, w + column / kPanel * stride + column % kPanel * kWidth, stride, depth,
                          y + column, y_stride);
  return column;
}

// y[rows, panels · 32] = x · panelsᵀ. A single row needs many columns at once to keep the multipliers busy.
template <class X, class W>
static void packed_sums(int64_t rows, const X* x, int64_t x_stride, const Panels& weight, int64_t panel, int64_t panels,
                        float* y, int64_t y_stride) {
  const W* const w = static_cast<const W*>(weight.data) + panel * weight.stride;
  const int64_t columns = panels * kPanel;
  const auto run = [&](auto width, int64_t from) {
    return packed_columns<decltype(width)::value>(from, columns, rows, x, x_stride, w, weight.stride, weight.depth, y,
                                                  y_stride);
  };
  int64_t column = 0;
  if (rows <= kPackedRows<8>) column = run(Count<8>{}, column);
  column = run(Count<4>{}, column);
  run(Count<2>{}, column);
  if (!weight.scale && !weight.bias) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; c += kLanes) {
      float* const to = y + r * y_stride + c;
      Vec sum = load(to);
      if (weight.scale) sum *= load(weight.scale + panel * kPanel + c);
      if (weight.bias) sum += load(weight.bias + panel * kPanel + c);
      store(to, sum);
    }
}

// The same for rows of the model's dtype: float32 unchanged; bfloat16 unchanged if the CPU multiplies pairs of them,
// otherwise converted into `converted` [rows, depth].
static void packed_product(int64_t rows, const float* x, int64_t x_stride, const Panels& weight, int64_t panel,
                           int64_t panels, float* y, int64_t y_stride, float*) {
  if (weight.type == PanelType::int8)
    packed_sums<float, int8_t>(rows, x, x_stride, weight, panel, panels, y, y_stride);
  else if (weight.type == PanelType::bfloat16)
    packed_sums<float, BFloat16>(rows, x, x_stride, weight, panel, panels, y, y_stride);
  else
    packed_sums<float, float>(rows, x, x_stride, weight, panel, panels, y, y_stride);
}

static void packed_product(int64_t rows, const BFloat16* x, int64_t x_stride, const Panels& weight, int64_t panel,
                           int64_t panels, float* y, int64_t y_stride, float* converted) {
#ifdef __AVX512BF16__
  if (weight.type == PanelType::bfloat16)
    return packed_sums<BFloat16, BFloat16>(rows, x, x_stride, weight, panel, panels, y, y_stride);
#endif
  for (int64_t r = 0; r < rows; ++r)
    each(weight.depth,
         [&](int64_t i, int64_t n) { store(converted + r * weight.depth + i, load(x + r * x_stride + i, n), n); });
  packed_product(rows, converted, weight.depth, weight, panel, panels, y, y_stride, nullptr);
}

// body(first, count) over all rows, in even blocks of at most kTokenRows.
template <class Body>
static void row_blocks(int64_t rows, Body body) {
  const int64_t blocks = (rows + kTokenRows - 1) / kTokenRows;
  for (int64_t b = 0; b < blocks; ++b) body(rows * b / blocks, rows * (b + 1) / blocks - rows * b / blocks);
}

template <class T>
void product(const PackedProductArgs& args, int64_t begin, int64_t end) {
  constexpr int64_t kPanels = kTokenColumns / kPanel;
  float* const sums = args.scratch;
  float* const converted = sums + kTokenRows * kTokenColumns;
  for (int64_t panel = begin; panel < end; panel += kPanels) {
    const int64_t panels = end - panel < kPanels ? end - panel : kPanels;
    const int64_t column = panel * kPanel, left = args.columns - column;
    const int64_t columns = left < panels * kPanel ? left : panels * kPanel;
    row_blocks(args.rows, [&](int64_t first, int64_t rows) {
      packed_product(rows, static_cast<const T*>(args.x) + first * args.x_stride, args.x_stride, args.weight, panel,
                     panels, sums, kTokenColumns, converted);
      for (int64_t r = 0; r < rows; ++r) {
        T* const y = static_cast<T*>(args.y) + (first + r) * args.y_stride + column;
        each(columns, [&](int64_t i, int64_t n) {
          const Vec sum = load(sums + r * kTokenColumns + i);
          store(y + i, args.add ? load(y + i, n) + sum * args.share : sum, n);
        });
      }
    });
  }
}

}  // namespace palm::cpu::PALM_ISA
