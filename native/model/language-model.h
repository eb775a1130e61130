// What decoding, feedback and the border need to know of a model: how to read tokens, and how to turn what was read
// into logits. Another family of models is another implementation of this.
#pragma once
#include "base/tensor.h"

#include <memory>
#include <optional>

#include "model/dropout.h"

namespace palm {

class Scope;
class KvCache;
class TokenReader;

// Which parameters a graph is recorded for.
enum class Gradients {
  none,      // no graph
  adapters,  // those of the scope that is read through, not the weights below it
  all,
};

struct ReadOptions {
  const Scope* scope = nullptr;          // adapters to read through; none is the reference policy
  Tensor extra_embedding = {};           // [B, T, D], added to the token embeddings; may be undefined
  Tensor segments = {};                  // [B, T] int64, sequences that share a row (segments.h); undefined: one a row
  KvCache* cache = nullptr;              // read on from here; the caller advances it
  std::optional<Dropout> dropout = {};   // instead of the model's own
  Gradients gradients = Gradients::all;  // where a graph is recorded
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  // Hidden states [B, T, D] after the final norm; token ids [B, T] int64 on the model's device, already checked.
  virtual Tensor hidden(const Tensor& tokens, const ReadOptions& options) = 0;
  // The tied head [V, D]: logits = hidden · headᵀ.
  virtual Tensor head() const = 0;
  virtual KvCache make_cache(int64_t batch, int64_t capacity) const = 0;
  // A faster way to read on from `cache` a token at a time, row i of it `samples` times; nothing where there is none.
  // int8: through weights rounded to 8 bits.
  virtual std::unique_ptr<TokenReader> token_reader(const Scope* scope, const KvCache& cache, int64_t samples,
                                                    bool int8) = 0;
  // Checks ids and brings them to the device. Negative ids are padding where a model allows them.
  virtual Tensor accept(const Tensor& tokens, const char* argument) const = 0;
  virtual int64_t dim() const = 0;
  virtual int64_t num_tokens() const = 0;
  virtual at::TensorOptions options() const = 0;
  virtual bool training() const = 0;
  // Called before a graph for all parameters is recorded: gives each that is trained a place for its gradient.
  virtual void prepare_gradients() = 0;
};

}  // namespace palm
