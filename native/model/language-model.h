// The language model interface that generation, rlhf and binding use: the forward pass, logits from hidden states, and
// the sites where adapters can be placed. decoder.cc computes it; language-model.cc holds what all models share.
#pragma once
#include "base/parameter.h"

#include <memory>
#include <optional>

#include "model/dropout.h"
#include "model/head.h"

namespace palm {

class KvCache;
class Readout;
class Scope;
class SlotReader;
class TokenReader;

// Which parameters the autograd graph includes.
enum class Gradients {
  none,      // no graph
  adapters,  // those of the scope in use, not the weights it adapts
  all,
};

// The weight itself if a graph for `gradients` trains it, otherwise detached.
Tensor detached_unless_trained(Gradients gradients, const Tensor& weight);

// Hidden states on their way through the layers.
struct Midway {
  int64_t layer = 0;   // the next one
  Tensor states = {};  // [B, T, D], its input; undefined before layer 0: the embeddings
};

struct ForwardOptions {
  const Scope* scope = nullptr;          // adapters to apply; none is the reference policy
  Tensor extra_embedding = {};           // [B, T, D], added to the token embeddings; may be undefined
  Tensor segments = {};                  // [B, T] int64, if sequences share a row (segments.h); undefined: one per row
  KvCache* cache = nullptr;              // continues after its contents; the caller advances it
  std::optional<Dropout> dropout = {};   // overrides the model's own
  Gradients gradients = Gradients::all;  // used if a graph is recorded
  Midway from = {};                      // where to begin
  std::optional<int64_t> until = {};     // the layer to stop before, without the final norm; nothing: at the end
};

// Sizes and options of the model for code that allocates its own tensors.
struct ModelShape {
  int64_t num_tokens;  // that have logits
  int64_t dim, depth;
  bool causal;           // otherwise negative ids are padding
  int64_t ignore_index;  // target id that the loss ignores
  at::TensorOptions options;
};

// Part of a layer's matrix that an adapter can be placed on: some rows of `input`, or some columns of `output`.
struct AdapterSite {
  enum class Matrix { input, output };

  std::string name;  // such as "query"
  Matrix matrix;
  int64_t first, count;  // the rows or columns
  int64_t in, out;       // input and output width of the part
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  // Hidden states [B, T, D] after the final norm, or before layer `until`; token ids [B, T] as returned by `accept`.
  virtual Tensor hidden(const Tensor& tokens, const ForwardOptions& options) = 0;
  virtual Head head(Gradients gradients) const = 0;
  virtual ModelShape shape() const = 0;

  // Throws unless the model can generate sequences of so many tokens, which `argument` asks for.
  virtual void expect_reach(int64_t length, const char* argument) const = 0;
  virtual KvCache make_cache(int64_t batch, int64_t capacity) const = 0;
  // A faster way to read on behind `cache`, one token of each row at a time; its row i is repeated `samples` times and
  // has slots i · samples …. nullptr if not supported. int8: use weights rounded to 8 bits.
  virtual std::unique_ptr<TokenReader> reader_behind(const KvCache& cache, int64_t samples, bool int8) = 0;
  // Reads sequences in `slots` slots of `capacity` tokens, by fast kernels where they support the model. `readout`
  // replaces the head; it may be null.
  virtual std::unique_ptr<SlotReader> slot_reader(int64_t slots, int64_t capacity, bool int8,
                                                  std::shared_ptr<Readout> readout) = 0;

  // A model that reads the weights of this one before layer `first_layer`, and has its own from there on: those of the
  // layers, the final norm and, unless it is tied, the head. Allocates only.
  virtual std::shared_ptr<LanguageModel> branch(int64_t first_layer) const = 0;
  virtual int64_t shared_layers() const = 0;  // of a branch, the layers whose weights it shares; 0 for other models

  virtual void initialise(int64_t seed) = 0;  // samples the weights
  virtual ParameterList parameters() const = 0;
  virtual std::vector<Tensor> storages() const = 0;
  // Called before a graph for all parameters is recorded: allocates the gradients of trained parameters.
  virtual void prepare_gradients() = 0;
  virtual std::vector<AdapterSite> sites() const = 0;                            // of every layer
  virtual Tensor site_weight(int64_t layer, const AdapterSite& site) const = 0;  // [out, in], a view

  // Turns dropout on (with random numbers from `seed`) or off.
  virtual void train(bool on, int64_t seed) = 0;
  virtual bool training() const = 0;
  virtual Tensor generator_state() const = 0;
  virtual void set_generator_state(const Tensor& state) = 0;

  // Throws unless the model has logits for all these tokens; `argument` is what holds them.
  void expect_tokens(const std::vector<int64_t>& tokens, const char* argument) const;
  // Logits [..., V] after hidden states [..., D], without a graph: those of `readout` if there is one.
  Tensor logits(const Tensor& hidden, const Readout* readout) const;
  // Checks ids and moves them to the device.
  Tensor accept(const Tensor& tokens, const char* argument) const;

  struct Output {
    Tensor logits;      // [B, T, V]
    Tensor embeddings;  // [B, T, D], after the final norm
  };
  // segments [B, T]: several sequences share a row (segments.h).
  Output forward(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& segments, Gradients gradients);
  struct Prediction {
    Tensor log_prob;  // [B, T], of the tokens given those before them in their sequence; 0 for the first of a sequence
    Tensor entropy;   // [B, T], likewise
    Tensor right;     // [B, T] bool, whether no token was likelier
  };
  Prediction predict(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& segments,
                     Gradients gradients);
  // Mean next-token cross entropy (losses/language.h) of tokens [B, T], within each sequence.
  Tensor loss(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& mask,
              const std::optional<Tensor>& segments, std::optional<double> denominator, Gradients gradients);

 private:
  struct Read;
  Read read(const Tensor& ids, const Scope* scope, const std::optional<Tensor>& segments, Gradients gradients);
  Tensor accept_segments(const std::optional<Tensor>& segments, const Tensor& tokens) const;
};

}  // namespace palm
