#include "model/weights.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/error.h"
#include "model/init.h"

namespace palm {

// --- names and shapes ------------------------------------------------------------------------------------------------

static std::vector<NamedShape> shapes_outside(const DecoderDescription& decoder) {
  return {{"token_embedding", {decoder.num_tokens, decoder.dim}}, {"norm", {decoder.dim}}};
}

static std::vector<NamedShape> shapes_of_layer(const DecoderDescription& decoder, int64_t layer) {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  std::vector<NamedShape> shapes = {{prefix + "norm", {decoder.dim}},
                                    {prefix + "input", {decoder.input_width(), decoder.dim}},
                                    {prefix + "output", {decoder.dim, decoder.hidden_width()}}};
  if (decoder.qk_norm) {
    shapes.push_back({prefix + "query_scale", {decoder.dim_head}});
    shapes.push_back({prefix + "key_scale", {decoder.dim_head}});
  }
  return shapes;
}

void check(const DecoderDescription& decoder) {
  constexpr int64_t kMaxSize = int64_t{1} << 30;  // the product of two such sizes fits in an int64
  const std::pair<const char*, int64_t> sizes[] = {{"numTokens", decoder.num_tokens},
                                                   {"dim", decoder.dim},
                                                   {"depth", decoder.depth},
                                                   {"heads", decoder.heads},
                                                   {"kvHeads", decoder.kv_heads},
                                                   {"dimHead", decoder.dim_head},
                                                   {"ff", decoder.ff}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) throw Error(ErrorKind::argument, name, std::to_string(size), "an integer of at least 1");
    if (size > kMaxSize) check_fits_in_memory({{name, {size, kMaxSize}}}, 1, "model");
  }
  if (decoder.heads % decoder.kv_heads != 0)
    throw Error(ErrorKind::argument, "kvHeads", std::to_string(decoder.kv_heads),
                "a divisor of heads, " + std::to_string(decoder.heads));
  if (decoder.dim_head % 2 != 0)
    throw Error(ErrorKind::argument, "dimHead", std::to_string(decoder.dim_head), "an even number");
  check_fits_in_memory(shapes_of_layer(decoder, 0), decoder.depth, "model");
  check_fits_in_memory(shapes_outside(decoder), 1, "model");
}

std::vector<NamedShape> parameter_shapes(const DecoderDescription& decoder) {
  const std::vector<NamedShape> outside = shapes_outside(decoder);
  std::vector<NamedShape> all = {outside[0]};
  for (int64_t layer = 0; layer < decoder.depth; ++layer)
    for (NamedShape& shape : shapes_of_layer(decoder, layer)) all.push_back(std::move(shape));
  all.push_back(outside[1]);
  return all;
}

std::vector<AdapterSite> adapter_sites(const DecoderDescription& decoder) {
  using enum AdapterSite::Matrix;
  const int64_t queries = decoder.query_width(), keys = decoder.key_width();
  const auto rows = [&](const char* name, int64_t first, int64_t count) {
    return AdapterSite{.name = name, .matrix = input, .first = first, .count = count, .in = decoder.dim, .out = count};
  };
  return {rows("query", 0, queries),
          rows("key", queries, keys),
          rows("value", queries + keys, keys),
          {.name = "output", .matrix = output, .first = 0, .count = queries, .in = queries, .out = decoder.dim}};
}

// --- the tensors -----------------------------------------------------------------------------------------------------

static const DecoderDescription& checked(const DecoderDescription& description) {
  check(description);
  return description;
}

DecoderWeights::DecoderWeights(const DecoderDescription& description)
    : description_(checked(description)),
      outside_(shapes_outside(description), description.dtype, description.device),
      token_embedding_(outside_.parameters()[0]->tensor),
      norm_(outside_.parameters()[1]->tensor) {
  for (int64_t layer = 0; layer < description.depth; ++layer) {
    layers_.push_back(
        std::make_unique<ParameterBuffer>(shapes_of_layer(description, layer), description.dtype, description.device));
    const auto& own = layers_.back()->parameters();
    Block block{
        .norm = own[0]->tensor, .input = own[1]->tensor, .output = own[2]->tensor, .query_scale = {}, .key_scale = {}};
    if (description.qk_norm) {
      block.query_scale = own[3]->tensor;
      block.key_scale = own[4]->tensor;
    }
    blocks_.push_back(block);
  }
}

// Embeddings N(0, 0.02); every matrix U(±1/√fan_in), with separate fan-ins for the two halves of `output`.
void DecoderWeights::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  const int64_t queries = description_.query_width(), ff = description_.ff;
  fill_normal(token_embedding_, 0.02, generator);
  norm_.zero_();
  for (const auto& block : blocks_) {
    block.norm.zero_();
    fill_uniform(block.input, 1 / std::sqrt(description_.dim), generator);
    fill_uniform(block.output.narrow(1, 0, queries), 1 / std::sqrt(queries), generator);
    fill_uniform(block.output.narrow(1, queries, ff), 1 / std::sqrt(ff), generator);
    if (description_.qk_norm) {
      block.query_scale.fill_(1);
      block.key_scale.fill_(1);
    }
  }
}

ParameterList DecoderWeights::parameters() const {
  ParameterList all = {outside_.parameters()[0]};
  for (const auto& layer : layers_) all.insert(all.end(), layer->parameters().begin(), layer->parameters().end());
  all.push_back(outside_.parameters()[1]);
  return all;
}

void DecoderWeights::prepare_gradients() {
  outside_.prepare_gradients();
  for (auto& layer : layers_) layer->prepare_gradients();
}

std::vector<Tensor> DecoderWeights::storages() const {
  std::vector<Tensor> all = {outside_.storage()};
  for (const auto& layer : layers_) all.push_back(layer->storage());
  return all;
}

}  // namespace palm
