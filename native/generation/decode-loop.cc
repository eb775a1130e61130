#include "generation/decode-loop.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

namespace palm {

void DecodeRow::take(const RowDraw& draw) {
  if (ended != Ended::no) return;
  if (std::isnan(draw.log_prob)) {
    ended = Ended::numbers;
    return;
  }
  last = draw.token;
  tokens.push_back(draw.token);
  log_probs.push_back(draw.log_prob);
  if (draw.model) model.push_back(*draw.model);
  sampler.accept(draw.token);
  if (sampler.stopped())
    ended = Ended::token;
  else if (sampler.steps() == sampler.options().max_tokens)
    ended = Ended::length;
}

DecodeLoop::DecodeLoop(TokenReader& reader, const std::vector<int64_t>& suppress, at::Device device)
    : reader_(reader), device_(device), suppress_(at::tensor(suppress, at::kLong)) {}

void DecodeLoop::suppress_in(const Tensor& logits) {
  if (suppress_.numel() == 0) return;
  if (suppress_.device() != logits.device()) suppress_ = suppress_.to(logits.device());
  logits.index_fill_(1, suppress_, kNeverDrawn);
}

// Whether one call draws for all rows.
static bool alike(const std::vector<DecodeRow*>& rows) {
  return std::ranges::all_of(rows, [&](const DecodeRow* row) {
    return !row->sampler.differs() && row->sampler.options().sampler() == rows.front()->sampler.options().sampler();
  });
}

// The tokens that come `ahead` steps after the next ones.
Draw DecodeLoop::draw_alike(const std::vector<DecodeRow*>& rows, const Tensor& logits, int64_t ahead) const {
  const SamplerOptions options = rows.front()->sampler.options().sampler();
  if (options.greedy()) return sample(logits, options, {});
  std::vector<double> uniform;
  for (const DecodeRow* row : rows) uniform.push_back(row->sampler.uniform(ahead));
  return sample(logits, options, at::tensor(uniform, at::kDouble).to(logits.device()));
}

static void draw_each(const std::vector<DecodeRow*>& rows, const Tensor& logits) {
  const Tensor own = logits.to(at::kCPU);
  at::parallel_for(0, static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    at::NoGradGuard no_grad;
    for (int64_t i = begin; i < end; ++i) rows[i]->take(rows[i]->sampler.draw(own.select(0, i)));
  });
}

// Gives rows what was drawn for them in consecutive steps.
static void take_all(const std::vector<DecodeRow*>& rows, const std::vector<Draw>& draws) {
  std::vector<Tensor> tokens, log_probs;
  for (const Draw& draw : draws) tokens.push_back(draw.token), log_probs.push_back(draw.log_prob);
  const auto together = [](const std::vector<Tensor>& all, at::ScalarType dtype) {
    return (all.size() == 1 ? all.front() : at::cat(all)).to(at::kCPU, dtype);
  };
  const Tensor token = together(tokens, at::kLong), log_prob = together(log_probs, at::kDouble);
  for (size_t i = 0; i < rows.size() * draws.size(); ++i)
    rows[i % rows.size()]->take({token.const_data_ptr<int64_t>()[i], log_prob.const_data_ptr<double>()[i], {}});
}

void DecodeLoop::draw(const std::vector<DecodeRow*>& rows, const Tensor& logits) {
  suppress_in(logits);
  alike(rows) ? take_all(rows, {draw_alike(rows, logits, 0)}) : draw_each(rows, logits);
}

int64_t DecodeLoop::step(const std::vector<DecodeRow*>& rows, int64_t most) {
  const bool together = alike(rows);
  const int64_t steps = together ? std::min(most, reader_.ahead()) : 1;
  TokenRows next;
  std::vector<int64_t> last;
  for (const DecodeRow* row : rows) {
    last.push_back(row->last);
    next.slot.push_back(row->slot);
    next.position.push_back(row->length);
  }
  next.token = at::tensor(last, at::kLong).to(device_);
  next.want_all();
  std::vector<Draw> draws;
  for (int64_t i = 0; i < steps; ++i) {
    const Tensor logits = reader_.read(rows.front()->scope.get(), next);
    suppress_in(logits);
    if (!together) {
      draw_each(rows, logits);
      break;
    }
    draws.push_back(draw_alike(rows, logits, i));
    next.token = draws.back().token;
    for (int64_t& position : next.position) ++position;
  }
  for (DecodeRow* row : rows) row->length += steps;
  if (together) take_all(rows, draws);
  return steps;
}

}  // namespace palm
