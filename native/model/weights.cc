#include "model/weights.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/init.h"

namespace palm {

// --- names and shapes ------------------------------------------------------------------------------------------------

template <class Visit>
static void visit_norm(Visit& visit, const std::string& name, Norm& norm, const NormDescription& description,
                       int64_t width) {
  if (description.weight) visit(name, norm.weight, {width});
  if (description.bias) visit(name + "_bias", norm.bias, {width});
}

static int64_t qk_norm_width(const DecoderDescription& decoder, int64_t heads) {
  return decoder.qk_norm->over == QkNormOver::head ? decoder.dim_head : heads * decoder.dim_head;
}

// visit(name, tensor, shape) for every weight of a block that the description asks for.
template <class Visit>
static void visit_block(const DecoderDescription& decoder, Block& block, Visit visit) {
  const NormDescription& norm = decoder.norm;
  const int64_t dim = decoder.dim;
  const bool after = decoder.form == BlockForm::after;
  if (decoder.norm_before() || after) visit_norm(visit, "norm", block.norm, norm, dim);
  visit("input", block.input, {decoder.input_width(), dim});
  visit("output", block.output, {dim, decoder.hidden_width()});
  if (decoder.qk_norm) {
    visit_norm(visit, "query_scale", block.query_norm, decoder.qk_norm->norm, qk_norm_width(decoder, decoder.heads));
    visit_norm(visit, "key_scale", block.key_norm, decoder.qk_norm->norm, qk_norm_width(decoder, decoder.kv_heads));
  }
  if ((decoder.norm_before() && !decoder.shared_norm) || after) visit_norm(visit, "ff_norm", block.ff_norm, norm, dim);
  if (decoder.norm_of_output()) {
    visit_norm(visit, "attention_out_norm", block.attention_out_norm, norm, dim);
    visit_norm(visit, "ff_out_norm", block.ff_out_norm, norm, dim);
  }
  if (decoder.qkv_bias) visit("qkv_bias", block.qkv_bias, {decoder.qkv_width()});
  if (decoder.output_bias) visit("output_bias", block.output_bias, {dim});
  if (decoder.ff_bias) {
    visit("ff_bias", block.ff_bias, {decoder.ff_width()});
    visit("ff_output_bias", block.ff_output_bias, {dim});
  }
}

// The same outside the blocks, for what comes before them and after them.
template <class Visit>
static void visit_front(const DecoderDescription& decoder, OuterWeights& outer, Visit visit) {
  visit("token_embedding", outer.token_embedding, {decoder.num_tokens, decoder.embedding_dim});
  if (decoder.positions) visit("position_embedding", outer.position_embedding, {decoder.positions->rows, decoder.dim});
  if (decoder.narrow_embedding()) visit("embedding_in", outer.embedding_in, {decoder.dim, decoder.embedding_dim});
  if (decoder.embedding_norm) visit_norm(visit, "embedding_norm", outer.embedding_norm, decoder.norm, decoder.dim);
}

template <class Visit>
static void visit_back(const DecoderDescription& decoder, OuterWeights& outer, Visit visit) {
  if (decoder.final_norm) visit_norm(visit, "norm", outer.norm, decoder.norm, decoder.dim);
  if (decoder.narrow_embedding()) visit("embedding_out", outer.embedding_out, {decoder.embedding_dim, decoder.dim});
  if (!decoder.tied) visit("head", outer.head, {decoder.num_tokens, decoder.embedding_dim});
  if (decoder.head_bias) visit("head_bias", outer.head_bias, {decoder.num_tokens});
}

// Collects names and shapes.
struct Listing {
  std::vector<NamedShape>& shapes;
  std::string prefix = "";
  void operator()(const std::string& name, const Tensor&, std::vector<int64_t> shape) const {
    shapes.push_back({prefix + name, std::move(shape)});
  }
};

// Sets the tensors of the weights to a buffer's parameters, in the same order.
struct Filling {
  const ParameterList& parameters;
  size_t& next;
  void operator()(const std::string&, Tensor& tensor, const std::vector<int64_t>&) const {
    tensor = parameters[next++]->tensor;
  }
};

static std::vector<NamedShape> shapes_in_front(const DecoderDescription& decoder) {
  std::vector<NamedShape> shapes;
  OuterWeights none;
  visit_front(decoder, none, Listing{shapes});
  return shapes;
}

static std::vector<NamedShape> shapes_in_back(const DecoderDescription& decoder) {
  std::vector<NamedShape> shapes;
  OuterWeights none;
  visit_back(decoder, none, Listing{shapes});
  return shapes;
}

static std::vector<NamedShape> shapes_of_layer(const DecoderDescription& decoder, int64_t layer) {
  std::vector<NamedShape> shapes;
  Block none;
  visit_block(decoder, none, Listing{shapes, "layers." + std::to_string(layer) + "."});
  return shapes;
}

// --- checks ----------------------------------------------------------------------------------------------------------

static void expect(bool right, const char* argument, int64_t received, const std::string& expected) {
  if (!right) throw Error(ErrorKind::argument, argument, std::to_string(received), expected);
}

static void check_sizes(const DecoderDescription& decoder) {
  constexpr int64_t kMaxSize = int64_t{1} << 30;  // the product of two such sizes fits in an int64
  const std::pair<const char*, int64_t> sizes[] = {{"numTokens", decoder.num_tokens},
                                                   {"dim", decoder.dim},
                                                   {"depth", decoder.depth},
                                                   {"heads", decoder.heads},
                                                   {"kvHeads", decoder.kv_heads},
                                                   {"dimHead", decoder.dim_head},
                                                   {"ff", decoder.ff},
                                                   {"embeddingDim", decoder.embedding_dim},
                                                   {"positions", decoder.positions ? decoder.positions->rows : 1}};
  for (const auto& [name, size] : sizes) {
    expect(size >= 1, name, size, "an integer of at least 1");
    if (size > kMaxSize) check_fits_in_memory({{name, {size, kMaxSize}}}, 1, "model");
  }
}

static void check_positions(const DecoderDescription& decoder) {
  const int64_t slopes = static_cast<int64_t>(decoder.alibi.size());
  expect(slopes == 0 || slopes == decoder.heads, "alibi", slopes, "a slope for every head");
  if (decoder.positions)
    expect(decoder.positions->offset >= 0 && decoder.positions->offset < decoder.positions->rows, "positions",
           decoder.positions->offset, "an offset smaller than the number of rows");
  if (!decoder.ropes.empty()) expect(decoder.dim_head % 2 == 0, "dimHead", decoder.dim_head, "an even number");
  for (const RopeDescription& rope : decoder.ropes)
    expect(rope.width() > 0 && rope.width() <= decoder.dim_head, "ropes", rope.width(),
           "an even width of at most the head's, " + std::to_string(decoder.dim_head));
}

static void check_layers(const DecoderDescription& decoder) {
  const int64_t layers = static_cast<int64_t>(decoder.layers.size()),
                ropes = static_cast<int64_t>(decoder.ropes.size());
  expect(layers == 1 || layers == decoder.depth, "layers", layers,
         "one, or one for each of the " + std::to_string(decoder.depth) + " layers");
  for (const LayerDescription& layer : decoder.layers) {
    expect(layer.rope >= -1 && layer.rope < ropes, "rope", layer.rope, "-1 or the index of one of the ropes");
    expect(layer.window >= 0 && (layer.window == 0 || decoder.causal), "window", layer.window,
           "0, or the number of tokens that a token of a causal model sees");
  }
}

void check(const DecoderDescription& decoder) {
  check_sizes(decoder);
  expect(decoder.heads % decoder.kv_heads == 0, "kvHeads", decoder.kv_heads,
         "a divisor of heads, " + std::to_string(decoder.heads));
  expect(decoder.used_tokens >= 1 && decoder.used_tokens <= decoder.num_tokens, "usedTokens", decoder.used_tokens,
         "at most numTokens, " + std::to_string(decoder.num_tokens));
  expect(!decoder.parallel || decoder.form == BlockForm::pre, "form", static_cast<int64_t>(decoder.form),
         "pre for parallel blocks");
  expect(decoder.parallel || !decoder.shared_norm, "sharedNorm", decoder.shared_norm, "false for sequential blocks");
  check_fits_in_memory(shapes_of_layer(decoder, 0), decoder.depth, "model");
  check_fits_in_memory(shapes_in_front(decoder), 1, "model");
  check_fits_in_memory(shapes_in_back(decoder), 1, "model");
  check_positions(decoder);
  check_layers(decoder);
}

std::vector<NamedShape> parameter_shapes(const DecoderDescription& decoder) {
  std::vector<NamedShape> all = shapes_in_front(decoder);
  const auto append = [&](const std::vector<NamedShape>& more) { all.insert(all.end(), more.begin(), more.end()); };
  for (int64_t layer = 0; layer < decoder.depth; ++layer) append(shapes_of_layer(decoder, layer));
  append(shapes_in_back(decoder));
  return all;
}

std::vector<AdapterSite> adapter_sites(const DecoderDescription& decoder) {
  using enum AdapterSite::Matrix;
  const int64_t dim = decoder.dim, queries = decoder.query_width(), keys = decoder.key_width(), ff = decoder.ff;
  const auto rows = [&](const char* name, int64_t first, int64_t count) {
    return AdapterSite{.name = name, .matrix = input, .first = first, .count = count, .in = dim, .out = count};
  };
  const auto columns = [&](const char* name, int64_t first, int64_t count) {
    return AdapterSite{.name = name, .matrix = output, .first = first, .count = count, .in = count, .out = dim};
  };
  std::vector<AdapterSite> all = {rows("query", 0, queries), rows("key", queries, keys),
                                  rows("value", queries + keys, keys), rows("up", decoder.qkv_width(), ff)};
  if (decoder.gated) all.push_back(rows("gate", decoder.qkv_width() + ff, ff));
  all.push_back(columns("output", 0, queries));
  all.push_back(columns("down", queries, ff));
  all.push_back(rows("query_key_value", 0, decoder.qkv_width()));  // one adapter for all of them, as in fused modules
  if (decoder.gated) all.push_back(rows("up_gate", decoder.qkv_width(), 2 * ff));
  return all;
}

// --- the tensors -----------------------------------------------------------------------------------------------------

static const DecoderDescription& checked(const DecoderDescription& description) {
  check(description);
  return description;
}

DecoderWeights::DecoderWeights(const DecoderDescription& description)
    : description_(checked(description)),
      front_(allocated(shapes_in_front(description))),
      back_(allocated(shapes_in_back(description))) {
  for (int64_t layer = 0; layer < description.depth; ++layer)
    layers_.push_back(allocated(shapes_of_layer(description, layer)));
  fill();
}

DecoderWeights DecoderWeights::branch(int64_t first_layer) const {
  expect(first_layer >= 0 && first_layer < description_.depth, "firstLayer", first_layer, "the index of a layer");
  DecoderWeights own = *this;
  own.shared_layers_ = first_layer;
  for (int64_t layer = first_layer; layer < description_.depth; ++layer)
    own.layers_[layer] = allocated(shapes_of_layer(description_, layer));
  own.back_ = allocated(shapes_in_back(description_));
  own.fill();
  return own;
}

DecoderWeights::Buffer DecoderWeights::allocated(const std::vector<NamedShape>& shapes) const {
  return std::make_shared<ParameterBuffer>(shapes, description_.dtype, description_.device);
}

std::vector<DecoderWeights::Buffer> DecoderWeights::buffers() const {
  std::vector<Buffer> all = {front_};
  all.insert(all.end(), layers_.begin(), layers_.end());
  all.push_back(back_);
  return all;
}

void DecoderWeights::fill() {
  size_t next = 0;
  visit_front(description_, outer_, Filling{front_->parameters(), next});
  next = 0;
  visit_back(description_, outer_, Filling{back_->parameters(), next});
  if (description_.tied) outer_.head = outer_.token_embedding;
  blocks_.assign(layers_.size(), Block{});
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    next = 0;
    visit_block(description_, blocks_[layer], Filling{layers_[layer]->parameters(), next});
  }
}

static void initialise(const Norm& norm, const NormDescription& description) {
  if (norm.weight.defined()) Tensor(norm.weight).fill_(1 - description.offset);
  if (norm.bias.defined()) Tensor(norm.bias).zero_();
}

// Embeddings N(0, 0.02); every matrix U(±1/√fan_in), with separate fan-ins for the two halves of `output`; norms as the
// identity, biases 0.
void DecoderWeights::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  const int64_t queries = description_.query_width(), ff = description_.ff;
  const auto zero = [](std::initializer_list<Tensor> biases) {
    for (Tensor bias : biases)
      if (bias.defined()) bias.zero_();
  };
  fill_normal(outer_.token_embedding, 0.02, generator);
  if (description_.positions) fill_normal(outer_.position_embedding, 0.02, generator);
  for (const Block& block : blocks_) {
    fill_uniform(block.input, 1 / std::sqrt(description_.dim), generator);
    fill_uniform(block.output.narrow(1, 0, queries), 1 / std::sqrt(queries), generator);
    fill_uniform(block.output.narrow(1, queries, ff), 1 / std::sqrt(ff), generator);
    for (const Norm* norm : {&block.norm, &block.ff_norm, &block.attention_out_norm, &block.ff_out_norm})
      palm::initialise(*norm, description_.norm);
    if (description_.qk_norm)
      for (const Norm* norm : {&block.query_norm, &block.key_norm}) palm::initialise(*norm, description_.qk_norm->norm);
    zero({block.qkv_bias, block.output_bias, block.ff_bias, block.ff_output_bias});
  }
  palm::initialise(outer_.embedding_norm, description_.norm);
  palm::initialise(outer_.norm, description_.norm);
  if (description_.narrow_embedding()) {
    fill_uniform(outer_.embedding_in, 1 / std::sqrt(description_.embedding_dim), generator);
    fill_uniform(outer_.embedding_out, 1 / std::sqrt(description_.dim), generator);
  }
  if (!description_.tied) fill_normal(outer_.head, 0.02, generator);
  zero({outer_.head_bias});
}

ParameterList DecoderWeights::parameters() const {
  ParameterList all;
  for (const Buffer& buffer : buffers())
    all.insert(all.end(), buffer->parameters().begin(), buffer->parameters().end());
  return all;
}

void DecoderWeights::prepare_gradients() {
  for (const Buffer& buffer : buffers()) buffer->prepare_gradients();
}

std::vector<Tensor> DecoderWeights::storages() const {
  std::vector<Tensor> all;
  for (const Buffer& buffer : buffers()) all.push_back(buffer->storage());
  return all;
}

Head DecoderWeights::head(Gradients gradients) const {
  const auto prepared = [&](const Tensor& weight) { return detached_unless_trained(gradients, weight); };
  return Head({.weight = prepared(outer_.head),
               .bias = prepared(outer_.head_bias),
               .rows = description_.used_tokens,
               .scale = description_.logit_scale,
               .softcap = description_.final_softcap},
              prepared(outer_.embedding_out));
}

std::vector<Tensor*> tensors_of(Block& block) {
  std::vector<Tensor*> all = {&block.input,       &block.output,  &block.qkv_bias,
                              &block.output_bias, &block.ff_bias, &block.ff_output_bias};
  for (Norm* norm : {&block.norm, &block.ff_norm, &block.attention_out_norm, &block.ff_out_norm, &block.query_norm,
                     &block.key_norm}) {
    all.push_back(&norm->weight);
    all.push_back(&norm->bias);
  }
  return all;
}

Block detached_unless_trained(Gradients gradients, const Block& block) {
  Block all = block;
  for (Tensor* weight : tensors_of(all)) *weight = detached_unless_trained(gradients, *weight);
  return all;
}

Norm detached_unless_trained(Gradients gradients, const Norm& norm) {
  return {detached_unless_trained(gradients, norm.weight), detached_unless_trained(gradients, norm.bias)};
}

}  // namespace palm
