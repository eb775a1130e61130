#include "support.h"

// A draw must lie where its uniform number does in the cumulative distribution, and have that token's log-probability.
template <class T>
static void sample(int64_t rows, int64_t width, double temperature, size_t off) {
  const std::string of = text("sample", name<T>(), rows, "x", width, "temperature", temperature, "off", off);
  const bool greedy = temperature == 0;
  Array<T> logits(rows * width, off);
  logits.draw(2);
  if (width > 3)
    for (int64_t r = 0; r < rows; ++r) logits[r * width + (r * 7 + 1) % width] = down<T>(-3e38);
  Array<double> uniform(rows);
  for (int64_t r = 0; r < rows; ++r)
    uniform[r] = r == 0 ? 0 : r == 1 ? 1 - 1e-16 : std::uniform_real_distribution<double>()(rng);
  Array<int64_t> token(rows);
  Array<float> log_prob(rows);
  const float inverse = greedy ? 0 : static_cast<float>(1 / temperature);
  palm::cuda::sample<T>({logits.data, width, inverse, greedy ? nullptr : uniform.data, token.data, log_prob.data}, 0,
                        rows);
  bool right = true;
  Gap gap;
  for (int64_t r = 0; r < rows; ++r) {
    const T* const own = logits.data + r * width;
    const T* const best = std::max_element(own, own + width, [](T a, T b) { return up(a) < up(b); });
    if (greedy) {
      right &= token[r] == best - own && log_prob[r] == 0;
      continue;
    }
    const auto weight = [&](int64_t i) { return std::exp((up(own[i]) - up(*best)) * inverse); };
    double total = 0, before = 0;
    for (int64_t i = 0; i < width; ++i) total += weight(i);
    if (token[r] < 0 || token[r] >= width) {
      right = false;
      continue;
    }
    for (int64_t i = 0; i < token[r]; ++i) before += weight(i);
    const double p = weight(token[r]) / total;
    right &= p > 0 && uniform[r] >= before / total - 1e-5 && uniform[r] <= before / total + p + 1e-5;
    gap.add(log_prob[r], std::log(p));
  }
  expect(right, of, "a token that this number does not draw"), expect(gap, 1e-5, of, "log_prob");
}

// A logit that is not finite makes the row's log-probability NaN, and no other row's.
template <class T>
static void doubtful(double logit) {
  constexpr int64_t kRows = 3, kWidth = 300;
  const std::string of = text("sample", name<T>(), "with a logit of", logit);
  for (const float inverse : {0.0f, 1.0f}) {
    Array<T> logits(kRows * kWidth);
    logits.draw();
    logits[kWidth + 7] = down<T>(logit);
    Array<double> uniform(kRows);
    std::fill_n(uniform.data, kRows, 0.5);
    Array<int64_t> token(kRows);
    Array<float> log_prob(kRows);
    palm::cuda::sample<T>({logits.data, kWidth, inverse, uniform.data, token.data, log_prob.data}, 0, kRows);
    expect(std::isnan(log_prob[1]) && std::isfinite(log_prob[0]) && std::isfinite(log_prob[2]), of, "is not told");
    expect(token[1] >= 0 && token[1] < kWidth, of, "draws what is no token");
  }
}

template <class T>
static void every_size() {
  for (const double logit : {NAN, INFINITY, -INFINITY}) doubtful<T>(logit);
  for (auto [rows, width] : std::vector<std::pair<int64_t, int64_t>>{
           {6, 1}, {6, 2}, {7, 19}, {9, 97}, {6, 256}, {5, 1000}, {4, 32768}, {2, 8200}, {3, 50257}})
    for (const double temperature : {0.0, 1.0, 0.3, 2.0})
      for (const size_t off : {0, 1}) sample<T>(rows, width, temperature, off);
}

void sample_tests() { every_size<float>(), every_size<BFloat16>(); }
