#include "support.h"

using palm::NormKind;

// What a norm may have, and where its rows lie: `heads` of them in each row of matrices that are `rest` wider.
struct NormCase {
  NormKind kind;
  float eps, offset;
  bool weight, bias, residual;
  int64_t heads, rest;
};

// y = (x − mean) · rstd · (weight + offset) + bias, where rms has mean 0, and its gradients, in double.
template <class T>
static void norm(int64_t matrix_rows, int64_t width, const NormCase& of_case, size_t off) {
  const auto [kind, eps, offset, has_weight, has_bias, has_residual, heads, rest] = of_case;
  const std::string of = text(kind == NormKind::layer ? "layer norm" : "rms norm", name<T>(), matrix_rows, "x", heads,
                              "x", width, "and", rest, "off", off, has_weight, has_bias);
  const int64_t rows = matrix_rows * heads, stride = heads * width + rest, size = matrix_rows * stride;
  Array<T> x(size, off), weight(width, off), bias(width), y(size), dy(size), residual(size), dx(size);
  Array<float> mean(rows), rstd(rows), dweight(palm::cuda::kPartialSums * width),
      dbias(palm::cuda::kPartialSums * width);
  x.draw(2, 3), weight.draw(0.3), bias.draw(), dy.draw(), residual.draw();
  y.poison(), dx.poison(), mean.poison(), rstd.poison();
  std::fill_n(dweight.data, dweight.n, 0.0f), std::fill_n(dbias.data, dbias.n, 0.0f);
  const palm::RowsWithin within{heads, stride};
  const T* const w = has_weight ? weight.data : nullptr;
  float* const means = kind == NormKind::layer ? mean.data : nullptr;
  palm::cuda::norm<T>(
      {x.data, w, has_bias ? bias.data : nullptr, y.data, means, rstd.data, width, within, within, eps, offset, kind},
      0, rows);
  palm::cuda::norm_grad<T>({x.data, w, means, rstd.data, dy.data, has_residual ? residual.data : nullptr, dx.data,
                            has_weight ? dweight.data : nullptr, has_bias ? dbias.data : nullptr, width, within, within,
                            within, offset, kind},
                           0, rows);
  Gap gap_y, gap_dx, gap_dweight, gap_dbias;
  std::vector<double> weight_sums(width), bias_sums(width);
  const auto scale = [&](int64_t i) { return has_weight ? up(weight[i]) + double(offset) : 1.0; };
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r / heads * stride + r % heads * width;
    double m = 0, v = 0, a = 0, b = 0;
    for (int64_t i = 0; i < width && kind == NormKind::layer; ++i) m += up(x[at + i]) / width;
    for (int64_t i = 0; i < width; ++i) v += std::pow(up(x[at + i]) - m, 2) / width;
    const double s = 1 / std::sqrt(v + eps);
    const auto normed = [&](int64_t i) { return (up(x[at + i]) - m) * s; };
    const auto scaled = [&](int64_t i) { return up(dy[at + i]) * scale(i); };
    for (int64_t i = 0; i < width; ++i) {
      gap_y.add(up(y[at + i]), normed(i) * scale(i) + (has_bias ? up(bias[i]) : 0));
      a += kind == NormKind::layer ? scaled(i) : 0, b += scaled(i) * normed(i);
      weight_sums[i] += up(dy[at + i]) * normed(i);
      bias_sums[i] += up(dy[at + i]);
    }
    for (int64_t i = 0; i < width; ++i)
      gap_dx.add(up(dx[at + i]),
                 s * (scaled(i) - a / width - normed(i) * b / width) + (has_residual ? up(residual[at + i]) : 0));
  }
  const auto total = [&](Array<float>& sums, int64_t i) {
    double all = 0;
    for (int64_t p = 0; p < palm::cuda::kPartialSums; ++p) all += sums[p * width + i];
    return all;
  };
  for (int64_t i = 0; i < width; ++i) {
    if (has_weight) gap_dweight.add(total(dweight, i), weight_sums[i]);
    if (has_bias) gap_dbias.add(total(dbias, i), bias_sums[i]);
  }
  const double most = kWide<T> ? 2e-6 : 4e-3;
  expect(gap_y, most, of, "y"), expect(gap_dx, most, of, "dx");
  expect(gap_dweight, 1e-5, of, "dweight"), expect(gap_dbias, 1e-5, of, "dbias");
}

template <class T>
static void every_size() {
  for (auto [rows, width] : std::vector<std::pair<int64_t, int64_t>>{{3, 1},
                                                                     {5, 7},
                                                                     {4, 24},
                                                                     {3, 96},
                                                                     {9, 256},
                                                                     {17, 264},
                                                                     {3, 512},
                                                                     {2, 768},
                                                                     {2, 1000},
                                                                     {5, 1024},
                                                                     {2, 1032},
                                                                     {1, 2048},
                                                                     {1, 9000},
                                                                     {600, 16},
                                                                     {4200, 8}}) {
    norm<T>(rows, width, {NormKind::layer, 1e-5f, 1, true, false, rows % 2 > 0, 1, 0}, 0);
    norm<T>(rows, width, {NormKind::layer, 1e-5f, 0, true, true, true, 1, 0}, 1);
    norm<T>(rows, width, {NormKind::rms, 1e-6f, 0, true, false, rows % 2 > 0, 1, 0}, 0);
  }
  norm<T>(5, 24, {NormKind::layer, 1e-5f, 0, false, false, false, 1, 0}, 0);
  norm<T>(5, 1024, {NormKind::layer, 0.1f, 0, true, true, true, 1, 0}, 0);
  norm<T>(5, 2048, {NormKind::rms, 0.1f, 1, true, false, true, 1, 0}, 0);
  norm<T>(5, 64, {NormKind::rms, 1e-6f, 0, true, false, false, 3, 40}, 0);
  norm<T>(3, 10, {NormKind::layer, 1e-6f, 0, true, true, false, 4, 3}, 0);
}

void norm_tests() { every_size<float>(), every_size<BFloat16>(); }
