// A language model as generation, feedback and the border see it: how to read tokens, how to turn what was read into
// logits, where adapters can sit. decoder.cc computes it; what is the same for every model is said once, in
// language-model.cc.
#pragma once
#include "base/parameter.h"

#include <memory>
#include <optional>

#include "model/dropout.h"
#include "model/head.h"

namespace palm {

class DecodeStep;
class KvCache;
class Scope;

// Which parameters a graph is recorded for.
enum class Gradients {
  none,      // no graph
  adapters,  // those of the scope that is read through, not the weights below it
  all,
};

// A weight as a graph for `gradients` sees it.
Tensor seen_by(Gradients gradients, const Tensor& weight);

struct ReadOptions {
  const Scope* scope = nullptr;          // adapters to read through; none is the reference policy
  Tensor extra_embedding = {};           // [B, T, D], added to the token embeddings; may be undefined
  Tensor segments = {};                  // [B, T] int64, sequences that share a row (segments.h); undefined: one a row
  KvCache* cache = nullptr;              // read on from here; the caller advances it
  std::optional<Dropout> dropout = {};   // instead of the model's own
  Gradients gradients = Gradients::all;  // where a graph is recorded
};

// What others size their own tensors by.
struct ModelShape {
  int64_t num_tokens, dim, depth;
  bool causal;           // else negative ids are padding
  int64_t ignore_index;  // target id that the loss leaves out
  at::TensorOptions options;
};

// Part of a layer's matrix that an adapter can sit on: some rows of `input`, or some columns of `output`.
struct AdapterSite {
  enum class Matrix { input, output };

  std::string name;  // query
  Matrix matrix;
  int64_t first, count;  // the rows or columns
  int64_t in, out;       // widths of what the part reads and gives
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  // Hidden states [B, T, D] after the final norm; token ids [B, T] as `accept` gives them.
  virtual Tensor hidden(const Tensor& tokens, const ReadOptions& options) = 0;
  virtual Head head(Gradients gradients) const = 0;
  virtual ModelShape shape() const = 0;

  virtual KvCache make_cache(int64_t batch, int64_t capacity) const = 0;
  // A faster way to read on from `cache` a token at a time, row i of it `samples` times; nothing where there is none.
  // int8: through weights rounded to 8 bits.
  virtual std::unique_ptr<DecodeStep> decode_step(const Scope* scope, const KvCache& cache, int64_t samples,
                                                  bool int8) = 0;

  virtual void initialise(int64_t seed) = 0;  // draws the weights
  virtual ParameterList parameters() const = 0;
  virtual std::vector<Tensor> storages() const = 0;
  // Called before a graph for all parameters is recorded: gives each that is trained a place for its gradient.
  virtual void prepare_gradients() = 0;
  virtual std::vector<AdapterSite> sites() const = 0;                            // of every layer
  virtual Tensor site_weight(int64_t layer, const AdapterSite& site) const = 0;  // [out, in], a view

  // Turns dropout on (drawing from `seed`) or off.
  virtual void train(bool on, int64_t seed) = 0;
  virtual bool training() const = 0;
  virtual Tensor generator_state() const = 0;
  virtual void set_generator_state(const Tensor& state) = 0;

  // Checks ids and brings them to the device.
  Tensor accept(const Tensor& tokens, const char* argument) const;

  struct Output {
    Tensor logits;      // [B, T, V]
    Tensor embeddings;  // [B, T, D], after the final norm
  };
  // segments [B, T]: several sequences share a row (segments.h).
  Output forward(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& segments, Gradients gradients);
  // Mean next-token cross entropy (losses/language.h) of tokens [B, T], within each sequence.
  Tensor loss(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& mask,
              const std::optional<Tensor>& segments, std::optional<double> denominator, Gradients gradients);

 private:
  Tensor accept_segments(const std::optional<Tensor>& segments, const Tensor& tokens) const;
};

}  // namespace palm
