// The weights of a decoder: what they are called, their shapes, where they start, and the parts of them that the
// blocks read. Names and shapes follow from the description alone; nothing else knows them.
#pragma once
#include "base/parameter.h"
#include "model/description.h"
#include "model/head.h"
#include "model/language-model.h"

namespace palm {

// Refuses sizes that make no decoder, and those that no machine could hold.
void check(const DecoderDescription& description);

// Names and shapes of all parameters, in the order of DecoderWeights::parameters; the description has been checked.
std::vector<NamedShape> parameter_shapes(const DecoderDescription& description);

// Where adapters can sit in every layer.
std::vector<AdapterSite> adapter_sites(const DecoderDescription& description);

// The weights of one block.
struct Block {
  Tensor norm;                    // [D] gamma
  Tensor input;                   // [HK + 2 KvK + 2F, D]: query, key, value, feed-forward (value, gate)
  Tensor output;                  // [D, HK + F]: attention and feed-forward leave through one product
  Tensor query_scale, key_scale;  // [K]; qk_norm only
};

class DecoderWeights {
 public:
  explicit DecoderWeights(const DecoderDescription& description);  // allocates; `initialise` draws them

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
  std::vector<std::unique_ptr<ParameterBuffer>> layers_;  // one each
  Tensor token_embedding_, norm_;
  std::vector<Block> blocks_;
};

}  // namespace palm
