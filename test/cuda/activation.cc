#include "support.h"

using palm::Activation;

static double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
      return x > 0 ? x : 0;
  }
}

static double slope(Activation activation, double x) {
  constexpr double kStep = 1e-6;
  return (activated(activation, x + kStep) - activated(activation, x - kStep)) / (2 * kStep);
}

// up · activation(gate), or activation(up), between other columns; its gradient, which writes the output again, also
// over its own gradient.
template <class T>
static void feed_forward(Activation activation, bool gated, int64_t rows, int64_t width, int64_t lead, size_t off,
                         bool in_place) {
  const std::string of = text("activation", static_cast<int>(activation), gated ? "gated" : "plain", name<T>(), rows,
                              "x", width, "behind", lead, "off", off);
  const int64_t xs = lead + (gated ? 2 : 1) * width, ys = lead + width;
  Array<T> x(rows * xs, off), y(rows * ys, off), dy(rows * ys, off), dx(rows * xs, off), other(rows * ys, off);
  x.draw(2), dy.draw(), y.poison(), dx.poison(), other.poison();
  Array<T> down = dy.copy();
  palm::cuda::activation<T>({x.data + lead, xs, y.data + lead, ys, width, activation, gated}, 0, rows);
  T* const again = (in_place ? dy.data : other.data) + lead;
  palm::cuda::activation_grad<T>(
      {x.data + lead, xs, dy.data + lead, ys, dx.data + lead, xs, again, ys, width, activation, gated}, 0, rows);
  Gap gap_y, gap_dx;
  bool same = true;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) {
      const int64_t in = r * xs + lead + i, out = r * ys + lead + i;
      const double u = up(x[in]), d = up(down[out]), g = gated ? up(x[in + width]) : u, a = activated(activation, g);
      gap_y.add(up(y[out]), gated ? u * a : a);
      gap_dx.add(up(dx[in]), gated ? d * a : d * slope(activation, g));
      if (gated) gap_dx.add(up(dx[in + width]), d * u * slope(activation, g));
      same &= std::memcmp(again + r * ys + i, &y[out], sizeof(T)) == 0;
    }
  const double most = kWide<T> ? 2e-6 : 4e-3;
  expect(gap_y, most, of, "y"), expect(gap_dx, most, of, "dx"), expect(same, of, "y is not the same again");
}

template <class T>
static void every_size() {
  for (auto [rows, width] :
       std::vector<std::pair<int64_t, int64_t>>{{3, 1}, {2, 7}, {3, 40}, {2, 3072}, {2, 4100}, {1, 2056}}) {
    feed_forward<T>(Activation::silu, true, rows, width, 8, 0, true);
    feed_forward<T>(Activation::silu, true, rows, width, 3, 0, false);
    feed_forward<T>(Activation::silu, true, rows, width, 8, 1, true);
  }
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu})
    for (const bool gated : {true, false}) {
      feed_forward<T>(activation, gated, 3, 40, 8, 0, true);
      feed_forward<T>(activation, gated, 2, 307, 1, 0, false);
    }
}

void activation_tests() { every_size<float>(), every_size<BFloat16>(); }
