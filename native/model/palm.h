// PaLM (Chowdhery et al. 2022) as PaLM-rlhf-pytorch 0.7.5 builds it: pre-LayerNorm blocks whose attention and
// feed-forward run side by side, multi-query attention with rotary positions and xPos, SwiGLU, no biases, tied
// embeddings. palm.cc is the file to read first.
#pragma once
#include <string>

#include "base/parameter.h"
#include "model/language-model.h"

namespace palm {

// How much of a block's activations is computed again in the backward pass instead of being kept.
enum class Recompute {
  none,       // all is kept
  selective,  // layer norm and SwiGLU again: cheap, and half of the memory
  full,       // only the block's input is kept: least memory, a forward pass more
};

struct PalmConfig {
  int64_t num_tokens;               // V
  int64_t dim;                      // D
  int64_t depth;                    // L
  int64_t heads;                    // H
  int64_t dim_head;                 // K, even
  int64_t ff_mult;                  // F = D · ff_mult
  bool causal;                      // false: every token sees every other; negative ids are padding
  bool qk_rmsnorm;                  // l2-normalise queries and keys, with learned scales
  double qk_scale;                  // of the scores before softmax
  double rotary_xpos_scale_base;    // of xPos; used by causal models only
  int64_t ignore_index;             // target id that the loss leaves out
  double attn_dropout, ff_dropout;  // in training mode only
  Recompute recompute;
  at::ScalarType dtype;
  at::Device device{at::kCPU};  // at::Device cannot be made from nothing; always set

  int64_t ff() const { return dim * ff_mult; }
};

// One parallel block: x ← x + [attention(h) | swiglu(h)] · outputᵀ with h = layer_norm(x).
struct ParallelBlock {
  Tensor norm;                    // [D] gamma
  Tensor input;                   // [HK + 2K + 2F, D]: query, key, value, feed-forward (value, gate)
  Tensor output;                  // [D, HK + F]: attention and feed-forward leave through one product
  Tensor query_scale, key_scale;  // [K]; qk_rmsnorm only
};

struct PackedWeights;

class PaLM : public LanguageModel {
 public:
  explicit PaLM(const PalmConfig& config);  // allocates; `initialise` draws the weights

  void initialise(int64_t seed);
  ParameterList parameters() const;
  ParameterList python_parameters() const;  // views under PaLM-rlhf-pytorch's names

  struct Output {
    Tensor logits;      // [B, T, V]
    Tensor embeddings;  // [B, T, D], after the final norm
  };
  // segments [B, T]: several sequences share a row (segments.h).
  Output forward(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& segments, Gradients gradients);
  // Mean next-token cross entropy (losses/language.h) of tokens [B, T], within each sequence.
  Tensor loss(const Tensor& tokens, const Scope* scope, const std::optional<Tensor>& mask,
              const std::optional<Tensor>& segments, std::optional<double> denominator, Gradients gradients);
  // Folds a scope's adapters into the weights.
  void merge_scope(const Scope& scope);
  // Turns dropout on (drawing from `seed`) or off.
  void train(bool on, int64_t seed);
  Tensor generator_state() const;
  void set_generator_state(const Tensor& state);

  Tensor hidden(const Tensor& tokens, const ReadOptions& options) override;
  Tensor head() const override { return token_embedding_; }
  KvCache make_cache(int64_t batch, int64_t capacity) const override;
  std::unique_ptr<TokenReader> token_reader(const Scope* scope, const KvCache& cache, int64_t samples,
                                            bool int8) override;
  Tensor accept(const Tensor& tokens, const char* argument) const override;
  int64_t dim() const override { return config_.dim; }
  int64_t num_tokens() const override { return config_.num_tokens; }
  at::TensorOptions options() const override { return token_embedding_.options().requires_grad(false); }
  bool training() const override { return dropout_.generator.has_value(); }

  const PalmConfig& config() const { return config_; }
  const std::vector<ParallelBlock>& blocks() const { return blocks_; }
  const Tensor& norm() const { return norm_; }
  // The weights as decoding reads them; kept until they change or are asked for in another form.
  std::shared_ptr<const PackedWeights> packed(bool int8);
  void prepare_gradients() override;
  std::vector<Tensor> storages() const;

 private:
  const struct Kernels* kernels_to_read(const struct Reading& reading, const Tensor& x) const;
  Tensor accept_segments(const std::optional<Tensor>& segments, const Tensor& tokens) const;

  PalmConfig config_;
  ParameterBuffer outer_;                                // token_embedding, norm
  std::vector<std::unique_ptr<ParameterBuffer>> inner_;  // one per layer
  Tensor token_embedding_;                               // [V, D]
  Tensor norm_;                                          // [D]
  std::vector<ParallelBlock> blocks_;
  Dropout dropout_;
  std::shared_ptr<const PackedWeights> packed_;
};

// Draws on the CPU in float32 whatever the parameter's device and dtype, so that a seed means the same model
// everywhere.
void fill_normal(Tensor parameter, double deviation, at::Generator& generator);
void fill_uniform(Tensor parameter, double bound, at::Generator& generator);

}  // namespace palm
