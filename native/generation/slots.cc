#include "generation/slots.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/error.h"
#include "base/precision.h"
#include "base/shape.h"

namespace palm {

static int64_t size_of(const std::vector<int64_t>& tokens) { return static_cast<int64_t>(tokens.size()); }

Slots::Slots(std::shared_ptr<LanguageModel> model, int64_t slots, int64_t capacity,
             const std::vector<int64_t>& suppress, bool int8, std::shared_ptr<Readout> readout)
    : model_(std::move(model)), capacity_(capacity) {
  const auto expect_positive = [](const char* argument, int64_t value) {
    if (value < 1) throw Error(ErrorKind::argument, argument, std::to_string(value), "at least 1");
  };
  expect_positive("slots", slots);
  expect_positive("capacity", capacity);
  model_->expect_tokens(suppress, "suppress");
  reader_ = model_->slot_reader(slots, capacity, int8, std::move(readout));
  loop_.emplace(*reader_, suppress, model_->shape().options.device());
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
    rows_[name] = std::make_unique<Row>(
        Row{.decode = {.slot = slot, .scope = scope, .sampler = RowSampler(rows[i], prompt), .length = 0},
            .cancel = cancels.at(i),
            .prompt = prompt,
            .name = name,
            .leader = admission.rows.front()});
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
    if (!row.reads(begin) || (!pieces.empty() && pieces.front().first->decode.scope != row.decode.scope)) continue;
    const int64_t chunk = reader_->chunk(), count = std::min(size_of(row.prompt), (begin / chunk + 1) * chunk) - begin;
    if (total + count > reader_->most_rows() || total >= budget) break;
    pieces.emplace_back(&row, count);
    total += count;
  }
  return pieces;
}

// Reads the next tokens of these prompts, and draws the first token behind those that are complete.
void Slots::read(const Pieces& pieces) {
  TokenRows next;
  std::vector<int64_t> tokens;
  std::vector<Row*> complete;
  for (const auto& [row, count] : pieces) {
    std::vector<int64_t>& held = tokens_of(*row);
    for (int64_t i = 0; i < count; ++i) {
      next.slot.push_back(row->decode.slot);
      next.position.push_back(size_of(held));
      held.push_back(row->prompt[held.size()]);
      tokens.push_back(held.back());
    }
    row->prompt_read += count;
    if (length_of(*row) < size_of(row->prompt)) continue;
    next.wanted.push_back(next.size() - 1);
    complete.push_back(row);
  }
  next.token = at::tensor(tokens, at::kLong).to(model_->shape().options.device());
  const Tensor logits = reader_->read(pieces.front().first->decode.scope.get(), next);
  if (!complete.empty()) draw_first(complete, logits);
}

// Rows of the same prompt draw from the same logits, of which there are those of the prompts that were read.
void Slots::draw_first(const std::vector<Row*>& read, const Tensor& logits) {
  std::vector<DecodeRow*> drawing;
  std::vector<int64_t> from;
  const auto draws = [&](Row& row, size_t i) {
    row.decode.length = size_of(row.prompt);
    drawing.push_back(&row.decode);
    from.push_back(static_cast<int64_t>(i));
  };
  for (size_t i = 0; i < read.size(); ++i) {
    draws(*read[i], i);
    for (Row* follower : followers_of(*read[i])) {
      copy(*read[i], *follower);
      draws(*follower, i);
    }
  }
  loop_->draw(drawing, drawing.size() == read.size() ? logits : logits.index_select(0, at::tensor(from)));
}

// The rows that wait for this one to read their prompt.
std::vector<Slots::Row*> Slots::followers_of(const Row& leader) const {
  std::vector<Row*> followers;
  for (const auto& [name, row] : rows_)
    if (row->leader == leader.name && name != row->leader) followers.push_back(row.get());
  return followers;
}

// Gives a row what another one has read of their prompt.
void Slots::copy(const Row& from, const Row& to) {
  if (length_of(from) == 0) return;
  reader_->copy(from.decode.slot, to.decode.slot, length_of(from));
  tokens_of(to) = tokens_of(from);
}

// The next token of every row whose prompt is read.
void Slots::draw_tokens() {
  std::map<Scope*, std::vector<DecodeRow*>> by_scope;
  for (auto& [_, row] : rows_) {
    if (!row->draws()) continue;
    by_scope[row->decode.scope.get()].push_back(&row->decode);
    tokens_of(*row).push_back(row->decode.last);
  }
  for (const auto& [_, rows] : by_scope) loop_->step(rows, 1);
}

RowProgress Slots::Row::progress() {
  return {.row = name,
          .prompt_read = std::exchange(prompt_read, 0),
          .tokens = std::exchange(decode.tokens, {}),
          .log_probs = std::exchange(decode.log_probs, {}),
          .model = std::exchange(decode.model, {}),
          .ended = decode.ended};
}

// Frees the slots of rows that have ended or are cancelled.
void Slots::end_rows() {
  for (auto at = rows_.begin(); at != rows_.end();) {
    Row& row = *at->second;
    Ended& ended = row.decode.ended;
    if (ended == Ended::no && *row.cancel) ended = Ended::released;
    if (ended == Ended::no) {
      ++at;
      continue;
    }
    pass_on(row);
    Held& held = held_[row.decode.slot];
    held.free = true;
    held.used = ++clock_;
    if (ended == Ended::numbers) {
      reader_->clear(row.decode.slot);
      held.tokens.clear();
    }
    ended_.push_back(row.progress());
    at = rows_.erase(at);
  }
}

// If a row ends before its prompt is read, the first of those that wait for it reads on.
void Slots::pass_on(const Row& row) {
  const std::vector<Row*> followers = followers_of(row);
  if (followers.empty() || length_of(row) >= size_of(row.prompt)) return;
  copy(row, *followers.front());
  for (Row* follower : followers) follower->leader = followers.front()->name;
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
  for (auto& [_, row] : rows_)
    if (!row->decode.tokens.empty() || row->prompt_read > 0) progress.push_back(row->progress());
  return progress;
}

}  // namespace palm
