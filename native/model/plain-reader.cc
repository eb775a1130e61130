#include "model/plain-reader.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

namespace palm {

PlainReader::PlainReader(LanguageModel& model, int64_t slots, int64_t capacity, std::shared_ptr<Readout> readout)
    : model_(model), capacity_(capacity), readout_(std::move(readout)), caches_(slots) {}

int64_t PlainReader::most_rows() const { return static_cast<int64_t>(caches_.size()) * chunk(); }

Tensor PlainReader::read(const Scope* scope, const TokenRows& rows) {
  std::vector<Tensor> hidden;
  for (int64_t begin = 0, end; begin < rows.size(); begin = end) {
    for (end = begin + 1; end < rows.size() && rows.slot[end] == rows.slot[begin];) ++end;
    hidden.push_back(read_slot(scope, rows, begin, end));
  }
  const Tensor all = at::cat(hidden);
  const auto read = [&](const Tensor& one) { return model_.logits(one, readout_.get()); };
  std::vector<Tensor> logits;  // one by one: in a product with more rows, sums have another order
  for (const int64_t row : rows.wanted) logits.push_back(read(all.narrow(0, row, 1)));
  return logits.empty() ? Tensor() : at::cat(logits).to(at::kCPU);
}

Tensor PlainReader::read_slot(const Scope* scope, const TokenRows& rows, int64_t begin, int64_t end) {
  std::optional<KvCache>& cache = caches_[rows.slot[begin]];
  if (!cache) cache = model_.make_cache(1, capacity_);
  cache->rewind(rows.position[begin]);
  const Tensor tokens = rows.token.narrow(0, begin, end - begin).unsqueeze(0);
  const Tensor hidden = model_.hidden(tokens, {.scope = scope, .cache = &*cache, .gradients = Gradients::none});
  cache->advance(at::full({1}, end - begin, cache->lengths().options()), end - begin);
  return hidden.squeeze(0);
}

void PlainReader::copy(int64_t from, int64_t to, int64_t length) {
  caches_[to] = caches_[from];
  caches_[to]->keep_rows(at::zeros({1}, caches_[to]->lengths().options()));  // copies
  caches_[to]->rewind(length);
}

}  // namespace palm
