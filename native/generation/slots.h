// Sequences that come and go between two tokens, each in a slot, with its own length and its own way to draw. What a row
// answers depends on its prompt, its options and the weights alone: not on other rows, on when it came, or on what its
// slot held before (on the CPU, bit for bit).
//
// A slot keeps its tokens after its row has ended. A prompt that begins like them is read on behind what they share.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "generation/cancel.h"
#include "generation/decode-loop.h"
#include "model/language-model.h"
#include "model/readout.h"

namespace palm {

// Of one row, since the last call.
struct RowProgress {
  int64_t row;
  int64_t prompt_read = 0;           // tokens of the prompt that were read
  std::vector<int64_t> tokens;       // drawn
  std::vector<double> log_probs;     // of the distributions they were drawn from
  std::vector<ModelLogProbs> model;  // as many, if the row asks for them
  Ended ended = Ended::no;           // `numbers`: its logits were not finite
};

// Rows that were admitted: their names, and how much of the prompt did not have to be read.
struct Admission {
  std::vector<int64_t> rows;
  int64_t cached;
};

class Slots {
 public:
  // `slots` rows at once, each with room for `capacity` tokens of prompt and answer. Tokens of `suppress` are never
  // drawn. int8: weights rounded to 8 bits. Without a readout, tokens are drawn from the model's own logits.
  Slots(std::shared_ptr<LanguageModel> model, int64_t slots, int64_t capacity, const std::vector<int64_t>& suppress,
        bool int8, std::shared_ptr<Readout> readout = nullptr);

  // Takes a free slot for each of `rows`, answers to one prompt, which is read once. Each ends before its next token
  // once its cancel flag is set, by any thread. Throws if fewer slots are free, or if the answers may not fit.
  Admission admit(const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope,
                  const std::vector<RowOptions>& rows, const std::vector<std::shared_ptr<Cancel>>& cancels);

  // Reads about `prompt_tokens` tokens of prompts, in pieces, those of earlier rows of `order` first; then draws up to
  // `tokens` tokens for every row whose prompt is read. Returns the rows to which something happened.
  std::vector<RowProgress> advance(const std::vector<int64_t>& order, int64_t prompt_tokens, int64_t tokens);

 private:
  struct Row {
    DecodeRow decode;
    std::shared_ptr<Cancel> cancel;
    std::vector<int64_t> prompt;
    int64_t name;
    int64_t leader;           // the row that reads the prompt for this one; its own name if none does
    int64_t prompt_read = 0;  // since the last call

    // Whether it reads its prompt, of which the slot has the first `length` tokens.
    bool reads(int64_t length) const { return leader == name && length < static_cast<int64_t>(prompt.size()); }
    bool draws() const { return decode.sampler.steps() > 0; }
    RowProgress progress();  // and begins anew
  };
  // A sequence whose keys and values are in a slot, and whose they are.
  struct Held {
    std::vector<int64_t> tokens;
    std::shared_ptr<Scope> scope;
    int64_t version;  // of the scope's weights
    int64_t used;     // when
    bool free;
  };
  using Pieces = std::vector<std::pair<Row*, int64_t>>;  // rows, and how many of their tokens to read

  void check(const std::vector<int64_t>& prompt, const std::vector<RowOptions>& rows) const;
  int64_t shared(const Held& held, const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope) const;
  std::pair<int64_t, int64_t> take_slot(const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope);
  Pieces next_prompts(const std::vector<int64_t>& order, int64_t budget);
  void read(const Pieces& pieces);
  void draw_first(const std::vector<Row*>& read, const Tensor& logits);
  void draw_tokens();
  std::vector<Row*> followers_of(const Row& leader) const;
  void copy(const Row& from, const Row& to);
  void end_rows();
  void pass_on(const Row& row);
  std::vector<int64_t>& tokens_of(const Row& row) { return held_[row.decode.slot].tokens; }
  int64_t length_of(const Row& row) const { return static_cast<int64_t>(held_[row.decode.slot].tokens.size()); }

  std::shared_ptr<LanguageModel> model_;
  int64_t capacity_;
  std::unique_ptr<SlotReader> reader_;
  std::optional<DecodeLoop> loop_;
  std::vector<Held> held_;                        // by slot
  std::map<int64_t, std::unique_ptr<Row>> rows_;  // that have not ended, by name
  std::vector<RowProgress> ended_;                // since the last call
  int64_t names_ = 0, clock_ = 0;
};

}  // namespace palm
