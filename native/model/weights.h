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

// The weights of one block. What the description does not ask for is undefined.
struct Block {
  Norm norm, ff_norm;                    // of the input of attention and of the feed-forward; form `after`: of the sums
  Norm attention_out_norm, ff_out_norm;  // of their outputs
  Tensor input;                          // [HK + 2 KvK + (1 or 2)F, D]: query, key, value, up, gate
  Tensor output;                         // [D, HK + F]: attention and feed-forward, which may share a product
  Tensor qkv_bias, output_bias;          // [HK + 2 KvK], [D]
  Tensor ff_bias, ff_output_bias;        // [(1 or 2)F], [D]
  Norm query_norm, key_norm;             // qk_norm only
};

// The weights outside the blocks.
struct OuterWeights {
  Tensor token_embedding;     // [V, E]
  Tensor position_embedding;  // [rows, D]
  Tensor embedding_in;        // [D, E]
  Norm embedding_norm;
  Norm norm;
  Tensor embedding_out;  // [E, D]
  Tensor head;           // [V, E]; tied: the token embedding
  Tensor head_bias;      // [V]
};

// Every weight that a block can have, always in the same order.
std::vector<Tensor*> tensors_of(Block& block);

// The weights with those detached that a graph for `gradients` does not train.
Block detached_unless_trained(Gradients gradients, const Block& block);
Norm detached_unless_trained(Gradients gradients, const Norm& norm);

class DecoderWeights {
 public:
  explicit DecoderWeights(const DecoderDescription& description);  // allocates only; `initialise` sets the values

  // Weights that share these before layer `first_layer`, and have their own from there on, also only allocated.
  DecoderWeights branch(int64_t first_layer) const;
  int64_t shared_layers() const { return shared_layers_; }

  void initialise(int64_t seed);
  ParameterList parameters() const;
  void prepare_gradients();
  std::vector<Tensor> storages() const;

  const DecoderDescription& description() const { return description_; }
  const OuterWeights& outer() const { return outer_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  Head head(Gradients gradients = Gradients::all) const;

 private:
  using Buffer = std::shared_ptr<ParameterBuffer>;
  Buffer allocated(const std::vector<NamedShape>& shapes) const;
  std::vector<Buffer> buffers() const;  // in the order of the forward pass
  void fill();                          // outer_ and blocks_, from the buffers

  DecoderDescription description_;
  int64_t shared_layers_ = 0;   // the first layers, which belong to other weights
  Buffer front_, back_;         // what comes before the layers and after them
  std::vector<Buffer> layers_;  // one per layer
  OuterWeights outer_;
  std::vector<Block> blocks_;
};

}  // namespace palm
