#include "support.h"

// The third step: clip, moments, decay, weight and the rounded copy; a broken step leaves everything as it was.
template <class T>
static void adam_w(int64_t n, size_t off, bool broken) {
  const std::string of = text("adam_w", name<T>(), n, "off", off, broken ? "broken" : "");
  Array<T> parameter(n, off);
  Array<float> gradient(n, off), master(n), mean(n), square(n);
  parameter.draw(), gradient.draw(), mean.draw(0.1), square.draw(0.01);
  for (int64_t i = 0; i < n; ++i) square[i] = std::abs(square[i]), master[i] = up(parameter[i]) + 1e-3f;
  Array<T> parameter_before = parameter.copy();
  Array<float> master_before = master.copy(), mean_before = mean.copy(), square_before = square.copy();
  const float step = 3, divisor = 1.7f, flag = broken;
  palm::cuda::adam_w<T>({parameter.data, gradient.data, kWide<T> ? nullptr : master.data, mean.data, square.data, &step,
                         &divisor, &flag, 1e-2f, 0.9f, 0.99f, 1e-8f, 0.1f},
                        0, n);
  Gap gap_weight, gap_mean, gap_square;
  bool right = true;
  for (int64_t i = 0; i < n; ++i) {
    const double g = gradient[i] / static_cast<double>(divisor);
    const double m = mean_before[i] * 0.9 + 0.1 * g, v = square_before[i] * 0.99 + 0.01 * g * g;
    const double from = kWide<T> ? up(parameter_before[i]) : master_before[i];
    const double to =
        from * (1 - 1e-3) - 1e-2 * (m / (1 - std::pow(0.9, 3))) / (std::sqrt(v / (1 - std::pow(0.99, 3))) + 1e-8);
    gap_weight.add(kWide<T> ? up(parameter[i]) : master[i], to);
    gap_mean.add(mean[i], m), gap_square.add(square[i], v);
    if (broken)
      right &=
          up(parameter[i]) == up(parameter_before[i]) && mean[i] == mean_before[i] && square[i] == square_before[i];
    else if (!kWide<T>)
      right &= up(parameter[i]) == up(down<T>(master[i]));
  }
  expect(right, of, broken ? "something moved" : "the copy is not the rounded master");
  if (broken) return;
  // A single moment may be a small difference of large numbers.
  expect(gap_weight, 1e-6, of, "weight"), expect(gap_mean, n == 1 ? 1e-4 : 1e-5, of, "first moment");
  expect(gap_square, 1e-5, of, "second moment");
}

template <class T>
static void every_size() {
  for (const int64_t n : {1, 7, 64, 1000, 4096 * 3 + 8}) {
    adam_w<T>(n, 0, false);
    adam_w<T>(n, 1, false);
    adam_w<T>(n, 0, true);
  }
}

void adam_w_tests() { every_size<float>(), every_size<BFloat16>(); }
