// The weights of a decoder: names, shapes, initial values, and the parts that blocks use. Names and shapes follow from
// the description alone and are defined only here.
#pragma once
#include "base/parameter.h"
#include "model/description.h"
#include "model/head.h"
#include "model/language-model.h"

namespace palm {

// Throws for invalid sizes and for sizes that no machine could hold.
void check(const DecoderDescription& description);

// Names and shapes of all parameters, in the order of DecoderWeights::parameters, for a checked description.
std::vector<NamedShape> parameter_shapes(const DecoderDescription& description);

// The sites in every layer on which adapters can be placed.
std::vector<AdapterSite> adapter_sites(const DecoderDescription& description);

// The weights of one block.
struct Block {
  Tensor norm;                    // [D] gamma
  Tensor input;                   // [HK + 2 KvK + 2F, D]: query, key, value, feed-forward (value, gate)
  Tensor output;                  // [D, HK + F]: attention and feed-forward share one output product
  Tensor query_scale, key_scale;  // [K]; qk_norm only
};

class DecoderWeights {
 public:
  explicit DecoderWeights(const DecoderDescription& description);  // allocates only; `initialise` sets the values

  void initialise(int64_t seed);
  ParameterList parameters() const;
  void prepare_gradients();
  std::vector<Tensor> storages() const;

  const DecoderDescription& description() const { return description_; }
  const Tensor& token_embedding() const { return token_embedding_; }  // [V, D]
  const std::vector<Block>& blocks() const { return blocks_; }
  const Tensor& norm() const { return norm_; }          // [D]
  Head head() const { return Head(token_embedding_); }  // tied

 private:
  DecoderDescription description_;
  ParameterBuffer outside_;                               // token_embedding, norm
  std::vector<std::unique_ptr<ParameterBuffer>> layers_;  // one per layer
  Tensor token_embedding_, norm_;
  std::vector<Block> blocks_;
};

}  // namespace palm
