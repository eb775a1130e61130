// Decodes rows: reads the last token of each, and draws the next one. This is the only such loop: batch.h and slots.h
// decide which rows there are, how their prompts are read, and what becomes of the tokens.
#pragma once
#include <memory>
#include <vector>

#include "generation/row-sampler.h"
#include "model/lora.h"
#include "model/token-reader.h"

namespace palm {

enum class Ended { no, token, length, released, numbers };

// A row behind its prompt.
struct DecodeRow {
  int64_t slot;
  std::shared_ptr<Scope> scope;
  RowSampler sampler;
  int64_t length;                         // tokens that were read; the last drawn one was not
  std::vector<int64_t> tokens = {};       // drawn; its owner may take them away
  std::vector<double> log_probs = {};     // of the distributions they were drawn from
  std::vector<ModelLogProbs> model = {};  // as many, if the row asks for them
  int64_t last = 0;                       // the last token drawn
  Ended ended = Ended::no;                // `numbers`: its logits were not finite

  // Adds a draw, unless the row has ended.
  void take(const RowDraw& draw);
};

class DecodeLoop {
 public:
  // Tokens of `suppress` are never drawn.
  DecodeLoop(TokenReader& reader, const std::vector<int64_t>& suppress, at::Device device);

  // Draws the next token of each row from its logits [n, V], which are changed.
  void draw(const std::vector<DecodeRow*>& rows, const Tensor& logits);
  // Reads the last token of rows of one scope and draws the next ones: at least one of each row, at most `most`. Returns
  // how many. Rows that have ended only keep their place.
  int64_t step(const std::vector<DecodeRow*>& rows, int64_t most);

 private:
  void suppress_in(const Tensor& logits);
  Draw draw_alike(const std::vector<DecodeRow*>& rows, const Tensor& logits, int64_t ahead) const;

  TokenReader& reader_;
  at::Device device_;  // of the model
  Tensor suppress_;    // [m] int64
};

}  // namespace palm
