#include "support.h"

// value · gate · σ(gate) between other columns; its gradient, which writes the output again, also over its own
// gradient.
template <class T>
static void swiglu(int64_t rows, int64_t width, int64_t lead, size_t off, bool in_place) {
  const std::string of = text("swiglu", name<T>(), rows, "x", width, "behind", lead, "off", off);
  const int64_t xs = lead + 2 * width, ys = lead + width;
  Array<T> x(rows * xs, off), y(rows * ys, off), dy(rows * ys, off), dx(rows * xs, off), other(rows * ys, off);
  x.draw(2), dy.draw(), y.poison(), dx.poison(), other.poison();
  Array<T> down = dy.copy();
  palm::cuda::swiglu<T>({x.data + lead, xs, y.data + lead, ys, width}, 0, rows);
  T* const again = (in_place ? dy.data : other.data) + lead;
  palm::cuda::swiglu_grad<T>({x.data + lead, xs, dy.data + lead, ys, dx.data + lead, xs, again, ys, width}, 0, rows);
  Gap gap_y, gap_dx;
  bool same = true;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) {
      const int64_t in = r * xs + lead + i, out = r * ys + lead + i;
      const double v = up(x[in]), g = up(x[in + width]), d = up(down[out]), s = 1 / (1 + std::exp(-g));
      gap_y.add(up(y[out]), v * g * s);
      gap_dx.add(up(dx[in]), d * g * s);
      gap_dx.add(up(dx[in + width]), d * v * s * (1 + g * (1 - s)));
      same &= std::memcmp(again + r * ys + i, &y[out], sizeof(T)) == 0;
    }
  const double most = kWide<T> ? 2e-6 : 4e-3;
  expect(gap_y, most, of, "y"), expect(gap_dx, most, of, "dx"), expect(same, of, "y is not the same again");
}

template <class T>
static void every_size() {
  for (auto [rows, width] :
       std::vector<std::pair<int64_t, int64_t>>{{3, 1}, {2, 7}, {3, 40}, {2, 3072}, {2, 4100}, {1, 2056}}) {
    swiglu<T>(rows, width, 8, 0, true);
    swiglu<T>(rows, width, 3, 0, false);
    swiglu<T>(rows, width, 8, 1, true);
  }
}

void swiglu_tests() { every_size<float>(), every_size<BFloat16>(); }
