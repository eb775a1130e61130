#include "generation/slots.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/precision.h"
#include "base/shape.h"

namespace palm {

static int64_t size_of(const std::vector<int64_t>& tokens) { return static_cast<int64_t>(tokens.size()); }

Slots::Slots(std::shared_ptr<LanguageModel> model, int64_t slots, int64_t capacity,
             const std::vector<int64_t>& suppress, bool int8)
    : model_(std::move(model)), capacity_(capacity), suppress_(at::tensor(suppress, at::kLong)) {
  const auto expect_positive = [](const char* argument, int64_t value) {
    if (value < 1) throw Error(ErrorKind::argument, argument, std::to_string(value), "at least 1");
  };
  expect_positive("slots", slots);
  expect_positive("capacity", capacity);
  model_->expect_tokens(suppress, "suppress");
  reader_ = model_->slot_reader(slots, capacity, int8);
  held_.assign(slots, {.tokens = {}, .scope = nullptr, .version = 0, .used = 0, .free = true});
}

// --- admission

void Slots::check(const std::vector<int64_t>& prompt, const std::vector<RowOptions>& rows) const {
  if (prompt.empty()) throw Error(ErrorKind::argument, "prompt", "no tokens", "at least one token");
  if (rows.empty()) throw Error(ErrorKind::argument, "rows", "none", "at least one row");
  model_->expect_tokens(prompt, "prompt");
  for (const RowOptions& row : rows) {
    model_->expect_tokens(row.bias_tokens, "biasTokens");
    model_->expect_tokens(row.end_tokens, "endTokens");
    if (row.bias.size() != row.bias_tokens.size())
      throw Error(ErrorKind::argument, "bias", std::to_string(row.bias.size()) + " numbers",
                  "one for each of biasTokens");
    if (row.max_tokens < 1 || size_of(prompt) + row.max_tokens > capacity_)
      throw Error(ErrorKind::argument, "maxTokens",
                  std::to_string(row.max_tokens) + " behind a prompt of " + std::to_string(prompt.size()),
                  "at least 1, and together at most " + std::to_string(capacity_) + ", the capacity of a slot",
                  "Shorten the prompt or the answer.");
  }
  const auto free = std::ranges::count_if(held_, [](const Held& held) { return held.free; });
  if (static_cast<int64_t>(rows.size()) > free)
    throw Error(ErrorKind::argument, "rows", std::to_string(rows.size()),
                "at most the free slots, " + std::to_string(free), "Wait until rows have ended.");
}

// How many tokens of `prompt` need not be read behind what is held: not its last one, whose logits are needed.
int64_t Slots::shared(const Held& held, const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope) const {
  if (!reader_->divides_freely() || held.scope != scope || held.version != version_of(scope.get())) return 0;
  const auto [end, _] = std::mismatch(held.tokens.begin(), held.tokens.end(), prompt.begin(), prompt.end() - 1);
  return end - held.tokens.begin();
}

// A free slot for a prompt, and how many of its tokens it holds now: the slot that shares most; else, the longest unused
// one, with a copy of what another slot shares.
std::pair<int64_t, int64_t> Slots::take_slot(const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope) {
  int64_t best = -1, most = 0, own = -1, own_most = -1;
  for (int64_t slot = 0; slot < static_cast<int64_t>(held_.size()); ++slot) {
    const int64_t common = shared(held_[slot], prompt, scope);
    if (common > most) best = slot, most = common;
    if (!held_[slot].free) continue;
    const bool older = own >= 0 && held_[slot].used < held_[own].used;
    if (own < 0 || common > own_most || (common == own_most && older)) own = slot, own_most = common;
  }
  if (own_most < most) {
    for (int64_t slot = 0; slot < static_cast<int64_t>(held_.size()); ++slot)
      if (held_[slot].free && held_[slot].used < held_[own].used) own = slot;
    if (own != best) reader_->copy(best, own, most);
  }
  const auto before = held_[own].scope;
  held_[own] = {.tokens = {prompt.begin(), prompt.begin() + most},
                .scope = scope,
                .version = version_of(scope.get()),
                .used = ++clock_,
                .free = false};
  const bool used = std::ranges::any_of(held_, [&](const Held& held) { return held.scope == before; });
  if (!used) reader_->forget(before.get());
  return {own, most};
}

Admission Slots::admit(const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope,
                       const std::vector<RowOptions>& rows, const std::vector<std::shared_ptr<Cancel>>& cancels) {
  at::NoGradGuard no_grad;
  check(prompt, rows);
  Admission admission{.rows = {}, .cached = 0};
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t name = ++names_;
    const auto [slot, cached] = i == 0 ? take_slot(prompt, scope) : take_slot({prompt.front()}, scope);
    if (i == 0) admission.cached = cached;
    admission.rows.push_back(name);
    rows_[name] = std::make_unique<Row>(Row{.slot = slot,
                                            .scope = scope,
                                            .cancel = cancels.at(i),
                                            .sampler = RowSampler(rows[i], prompt),
                                            .tokens = prompt,
                                            .prompt = size_of(prompt),
                                            .leader = admission.rows.front(),
                                            .progress = RowProgress(name)});
  }
  return admission;
}

// --- reading and drawing

// Pieces of prompts, all of one scope: about `budget` tokens, at most one piece of each row.
Slots::Pieces Slots::next_prompts(const std::vector<int64_t>& order, int64_t budget) {
  Pieces pieces;
  int64_t total = 0;
  for (const int64_t name : order) {
    const auto found = rows_.find(name);
    if (found == rows_.end()) continue;
    Row& row = *found->second;
    const int64_t begin = length_of(row);
    if (!row.reads(begin) || (!pieces.empty() && pieces.front().first->scope != row.scope)) continue;
    const int64_t chunk = reader_->chunk(), count = std::min(row.prompt, (begin / chunk + 1) * chunk) - begin;
    if (total + count > reader_->most_rows() || total >= budget) break;
    pieces.emplace_back(&row, count);
    total += count;
  }
  return pieces;
}

// Reads the next tokens of these rows, and draws behind all that is known of a row.
void Slots::read(const Pieces& pieces) {
  TokenRows next;
  std::vector<Row*> drawing;
  for (const auto& [row, count] : pieces) {
    std::vector<int64_t>& held = held_[row->slot].tokens;
    for (int64_t i = 0; i < count; ++i) {
      next.token.push_back(row->tokens[held.size()]);
      next.slot.push_back(row->slot);
      next.position.push_back(size_of(held));
      held.push_back(next.token.back());
    }
    if (size_of(row->tokens) > row->prompt || length_of(*row) == row->prompt) {
      next.wanted.push_back(next.size() - 1);
      drawing.push_back(row);
    }
    if (length_of(*row) <= row->prompt) row->progress.prompt_read += count;
  }
  const Tensor found = reader_->read(pieces.front().first->scope.get(), next);
  if (drawing.empty()) return;
  Tensor logits = found.to(at::kCPU);
  if (suppress_.numel() > 0) logits.index_fill_(1, suppress_, kNeverDrawn);
  for (const Row* row : drawing)
    if (length_of(*row) == row->prompt)
      for (const Row* follower : followers_of(*row)) copy(*row, *follower);
  at::parallel_for(0, static_cast<int64_t>(drawing.size()), 1, [&](int64_t begin, int64_t end) {
    at::NoGradGuard no_grad;
    for (int64_t i = begin; i < end; ++i) {
      const bool leads = length_of(*drawing[i]) == drawing[i]->prompt;
      draw(*drawing[i], logits.select(0, i));
      // Rows of the same prompt draw from the same logits.
      for (Row* row : leads ? followers_of(*drawing[i]) : std::vector<Row*>()) draw(*row, logits.select(0, i));
    }
  });
}

// The rows that wait for this one to read their prompt.
std::vector<Slots::Row*> Slots::followers_of(const Row& leader) const {
  std::vector<Row*> followers;
  for (const auto& [name, row] : rows_)
    if (row->leader == leader.progress.row && name != row->leader) followers.push_back(row.get());
  return followers;
}

// Gives a row what another one has read of their prompt.
void Slots::copy(const Row& from, const Row& to) {
  if (length_of(from) == 0) return;
  reader_->copy(from.slot, to.slot, length_of(from));
  held_[to.slot].tokens = held_[from.slot].tokens;
}

void Slots::draw(Row& row, const Tensor& logits) {
  RowProgress& progress = row.progress;
  const RowDraw draw = row.sampler.draw(logits);
  if (std::isnan(draw.log_prob)) {
    progress.ended = Ended::numbers;
    return;
  }
  row.tokens.push_back(draw.token);
  progress.tokens.push_back(draw.token);
  progress.log_probs.push_back(draw.log_prob);
  if (draw.model) progress.model.push_back(*draw.model);
  if (row.sampler.ends_with(draw.token))
    progress.ended = Ended::token;
  else if (row.sampler.steps() == row.sampler.options().max_tokens)
    progress.ended = Ended::length;
}

void Slots::draw_tokens() {
  std::map<Scope*, Pieces> by_scope;
  for (auto& [_, row] : rows_)
    if (row->progress.ended == Ended::no && size_of(row->tokens) > row->prompt)
      by_scope[row->scope.get()].emplace_back(row.get(), 1);
  for (const auto& [_, pieces] : by_scope) read(pieces);
}

// Frees the slots of rows that have ended or are cancelled.
void Slots::end_rows() {
  for (auto at = rows_.begin(); at != rows_.end();) {
    Row& row = *at->second;
    RowProgress& progress = row.progress;
    if (progress.ended == Ended::no && *row.cancel) progress.ended = Ended::released;
    if (progress.ended == Ended::no) {
      ++at;
      continue;
    }
    pass_on(row);
    Held& held = held_[row.slot];
    held.free = true;
    held.used = ++clock_;
    if (progress.ended == Ended::numbers) {
      reader_->clear(row.slot);
      held.tokens.clear();
    }
    ended_.push_back(std::move(progress));
    at = rows_.erase(at);
  }
}

// If a row ends before its prompt is read, the first of those that wait for it reads on.
void Slots::pass_on(const Row& row) {
  const std::vector<Row*> followers = followers_of(row);
  if (followers.empty() || length_of(row) >= row.prompt) return;
  copy(row, *followers.front());
  for (Row* follower : followers) follower->leader = followers.front()->progress.row;
}

std::vector<RowProgress> Slots::advance(const std::vector<int64_t>& order, int64_t prompt_tokens, int64_t tokens) {
  at::NoGradGuard no_grad;
  const PreferMkl routing;
  if (reader_->refresh())
    for (Held& held : held_)
      if (held.free) held.tokens.clear();
  end_rows();
  for (int64_t left = prompt_tokens; left > 0;) {
    const Pieces pieces = next_prompts(order, left);
    if (pieces.empty()) break;
    read(pieces);
    for (const auto& [_, count] : pieces) left -= count;
    end_rows();
  }
  for (int64_t i = 0; i < tokens && !rows_.empty(); ++i) {
    draw_tokens();
    end_rows();
  }
  std::vector<RowProgress> progress = std::exchange(ended_, {});
  for (auto& [name, row] : rows_) {
    if (row->progress.tokens.empty() && row->progress.prompt_read == 0) continue;
    progress.push_back(std::exchange(row->progress, RowProgress(name)));
  }
  return progress;
}

}  // namespace palm
