#include "support.h"

// y = (x − mean) · rstd · (1 + gamma), and its gradients, in double.
template <class T>
static void layer_norm(int64_t rows, int64_t width, bool with_residual, size_t off) {
  const std::string of = text("layer_norm", name<T>(), rows, "x", width, "off", off);
  Array<T> x(rows * width, off), gamma(width, off), y(rows * width), dy(rows * width), residual(rows * width),
      dx(rows * width);
  Array<float> mean(rows), rstd(rows), dgamma(palm::cuda::kPartialSums * width);
  x.draw(2, 3), gamma.draw(0.3), dy.draw(), residual.draw();
  y.poison(), dx.poison(), mean.poison(), rstd.poison();
  std::fill_n(dgamma.data, dgamma.n, 0.0f);
  palm::cuda::layer_norm<T>({x.data, gamma.data, y.data, mean.data, rstd.data, width}, 0, rows);
  palm::cuda::layer_norm_grad<T>({x.data, gamma.data, mean.data, rstd.data, dy.data,
                                  with_residual ? residual.data : nullptr, dx.data, dgamma.data, width},
                                 0, rows);
  Gap gap_y, gap_dx, gap_dgamma;
  std::vector<double> sums(width);
  for (int64_t r = 0; r < rows; ++r) {
    double m = 0, v = 0, a = 0, b = 0;
    for (int64_t i = 0; i < width; ++i) m += up(x[r * width + i]) / width;
    for (int64_t i = 0; i < width; ++i) v += std::pow(up(x[r * width + i]) - m, 2) / width;
    const double s = 1 / std::sqrt(v + 1e-5);
    const auto normed = [&](int64_t i) { return (up(x[r * width + i]) - m) * s; };
    const auto scaled = [&](int64_t i) { return up(dy[r * width + i]) * (1.0 + up(gamma[i])); };
    for (int64_t i = 0; i < width; ++i) {
      gap_y.add(up(y[r * width + i]), normed(i) * (1 + up(gamma[i])));
      a += scaled(i), b += scaled(i) * normed(i);
      sums[i] += up(dy[r * width + i]) * normed(i);
    }
    for (int64_t i = 0; i < width; ++i)
      gap_dx.add(up(dx[r * width + i]), s * (scaled(i) - a / width - normed(i) * b / width) +
                                            (with_residual ? up(residual[r * width + i]) : 0));
  }
  for (int64_t i = 0; i < width; ++i) {
    double total = 0;
    for (int64_t p = 0; p < palm::cuda::kPartialSums; ++p) total += dgamma[p * width + i];
    gap_dgamma.add(total, sums[i]);
  }
  const double most = kWide<T> ? 2e-6 : 4e-3;
  expect(gap_y, most, of, "y"), expect(gap_dx, most, of, "dx"), expect(gap_dgamma, 1e-5, of, "dgamma");
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
    layer_norm<T>(rows, width, rows % 2 > 0, 0);
    layer_norm<T>(rows, width, true, 1);
  }
}

void layer_norm_tests() { every_size<float>(), every_size<BFloat16>(); }
