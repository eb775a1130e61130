#include "support.h"

constexpr int64_t kIgnored = -1;

// One logit of every row is −∞, every fifth target is ignored.
template <class T>
static void log_prob(int64_t rows, int64_t width, double temperature, size_t off, bool of_entropy) {
  const std::string of = text("log_prob", name<T>(), rows, "x", width, "temperature", temperature, "off", off);
  const auto hidden = [&](int64_t r) { return width > 3 ? (r * 7 + 1) % width : -1; };
  Array<T> logits(rows * width, off);
  logits.draw(3);
  Array<int64_t> target(rows);
  for (int64_t r = 0; r < rows; ++r) {
    const auto drawn = static_cast<int64_t>(rng() % width);
    target[r] = r % 5 == 4 ? kIgnored : drawn == hidden(r) ? (drawn + 1) % width : drawn;
    if (hidden(r) >= 0) logits[r * width + hidden(r)] = down<T>(-INFINITY);
  }
  Array<T> before = logits.copy();
  Array<float> log_prob(rows), entropy(rows), lse(rows), dlog_prob(rows), dentropy(rows);
  dlog_prob.draw(), dentropy.draw(), log_prob.poison(), entropy.poison(), lse.poison();
  const auto inverse = static_cast<float>(1 / temperature);
  palm::cuda::log_prob<T>({logits.data, target.data, log_prob.data, entropy.data, lse.data, width, inverse}, 0, rows);
  palm::cuda::log_prob_grad<T>({logits.data, target.data, lse.data, entropy.data, dlog_prob.data,
                                of_entropy ? dentropy.data : nullptr, width, inverse},
                               0, rows);
  Gap gap_log_prob, gap_entropy, gap_grad;
  for (int64_t r = 0; r < rows; ++r) {
    const auto z = [&](int64_t i) { return static_cast<double>(up(before[r * width + i])) * inverse; };
    double top = -INFINITY, total = 0, plogp = 0;
    for (int64_t i = 0; i < width; ++i) top = std::max(top, z(i));
    for (int64_t i = 0; i < width; ++i) total += std::exp(z(i) - top);
    const double log_total = top + std::log(total);
    const auto log_p = [&](int64_t i) { return z(i) - log_total; };
    for (int64_t i = 0; i < width; ++i) plogp += i == hidden(r) ? 0 : std::exp(log_p(i)) * log_p(i);
    const bool ignored = target[r] == kIgnored;
    gap_log_prob.add(log_prob[r], ignored ? 0 : log_p(target[r]));
    gap_entropy.add(entropy[r], -plogp);
    for (int64_t i = 0; i < width; ++i) {
      const double p = i == hidden(r) ? 0 : std::exp(log_p(i));
      double grad = ignored ? 0 : dlog_prob[r] * ((i == target[r]) - p);
      if (of_entropy && p > 0) grad -= dentropy[r] * p * (log_p(i) - plogp);
      gap_grad.add(up(logits[r * width + i]), grad * inverse);
    }
  }
  expect(gap_log_prob, 1e-5, of, "log_prob"), expect(gap_entropy, 1e-5, of, "entropy");
  expect(gap_grad, kWide<T> ? 1e-5 : 4e-3, of, "gradient");
}

template <class T>
static void every_size() {
  for (auto [rows, width] :
       std::vector<std::pair<int64_t, int64_t>>{{6, 1}, {6, 2}, {7, 19}, {6, 256}, {5, 1000}, {2, 32768}, {2, 8200}}) {
    log_prob<T>(rows, width, 1, 0, false);
    log_prob<T>(rows, width, 0.7, 0, true);
    log_prob<T>(rows, width, 2, 1, true);
  }
}

void log_prob_tests() { every_size<float>(), every_size<BFloat16>(); }
