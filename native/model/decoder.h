// A decoder computed from its description: embed → blocks → norm. Other code uses it through LanguageModel.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "model/description.h"
#include "model/fast/packed-weights.h"
#include "model/fast/token-attention.h"
#include "model/language-model.h"
#include "model/weights.h"

namespace palm {

// The feature that keeps a decoder from being trained by fused blocks, and from being decoded by a fast step, in words;
// nothing where it is not kept from it.
struct Fallbacks {
  std::optional<std::string> training, decoding;
};

class Decoder : public LanguageModel {
 public:
  explicit Decoder(DecoderWeights weights) : weights_(std::move(weights)) {}
  explicit Decoder(const DecoderDescription& description) : weights_(description) {}  // weights are set by `initialise`

  // Of such a decoder without dropout, on its device.
  static Fallbacks fallbacks(const DecoderDescription& description);

  Tensor hidden(const Tensor& tokens, const ForwardOptions& options) override;
  Head head(Gradients gradients) const override;
  ModelShape shape() const override;

  void expect_reach(int64_t length, const char* argument) const override;
  KvCache make_cache(int64_t batch, int64_t capacity) const override;
  std::unique_ptr<TokenReader> reader_behind(const KvCache& cache, int64_t samples, bool int8) override;
  std::unique_ptr<SlotReader> slot_reader(int64_t slots, int64_t capacity, bool int8,
                                          std::shared_ptr<Readout> readout) override;

  std::shared_ptr<LanguageModel> branch(int64_t first_layer) const override {
    return std::make_shared<Decoder>(weights_.branch(first_layer));
  }
  int64_t shared_layers() const override { return weights_.shared_layers(); }

  void initialise(int64_t seed) override { weights_.initialise(seed); }
  ParameterList parameters() const override { return weights_.parameters(); }
  std::vector<Tensor> storages() const override { return weights_.storages(); }
  void prepare_gradients() override { weights_.prepare_gradients(); }
  std::vector<AdapterSite> sites() const override { return adapter_sites(description()); }
  Tensor site_weight(int64_t layer, const AdapterSite& site) const override;

  void train(bool on, int64_t seed) override;
  bool training() const override { return dropout_.generator.has_value(); }
  Tensor generator_state() const override;
  void set_generator_state(const Tensor& state) override;

 private:
  const DecoderDescription& description() const { return weights_.description(); }
  Tensor embed(const Tensor& tokens, const Tensor& positions, const ForwardOptions& options) const;
  std::function<Tensor(const Tensor& tokens, const Tensor& positions)> embedder() const;  // for decoding
  const struct Kernels* select_kernels(const struct ForwardState& state, const Scope* scope, const Tensor& x) const;
  Tensor through_blocks(Tensor x, const struct ForwardState& state, const class FusedForward* fused,
                        const ForwardOptions& options) const;
  Tensor next_logits(const struct Kernels& kernels, const Scope* scope, const Tensor& tokens, const Tensor& positions,
                     const TokenAttention& attend) const;

  DecoderWeights weights_;
  PackedWeightsCache packed_;
  Dropout dropout_;
};

}  // namespace palm
