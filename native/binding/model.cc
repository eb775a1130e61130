// Table rows for language models and their scopes.
#include "binding/bindings.h"
#include "model/decoder.h"

namespace palm::binding {

template <>
struct Js<Recompute> {
  static Recompute from(const Napi::Value& value) {
    const std::string wanted = Js<std::string>::from(value);
    if (wanted == "none") return Recompute::none;
    if (wanted == "selective") return Recompute::selective;
    if (wanted == "full") return Recompute::full;
    throw Error(ErrorKind::argument, "recompute", wanted, "none, selective or full");
  }
};

PALM_FIELDS(DecoderDescription, PALM_FIELD(num_tokens), PALM_FIELD(dim), PALM_FIELD(depth), PALM_FIELD(heads),
            PALM_FIELD(kv_heads), PALM_FIELD(dim_head), PALM_FIELD(ff), PALM_FIELD(causal), PALM_FIELD(qk_norm),
            PALM_FIELD(qk_scale), PALM_FIELD(xpos_scale_base), PALM_FIELD(ignore_index), PALM_FIELD(attn_dropout),
            PALM_FIELD(ff_dropout), PALM_FIELD(recompute), PALM_FIELD(dtype), PALM_FIELD(device));
PALM_FIELDS(NamedShape, PALM_FIELD(name), PALM_FIELD(shape));
PALM_FIELDS(LanguageModel::Output, PALM_FIELD(logits), PALM_FIELD(embeddings));

static std::vector<NamedShape> decoder_parameters(const DecoderDescription& description) {
  check(description);
  return parameter_shapes(description);
}

static std::vector<NamedShape> decoder_sites(const DecoderDescription& description) {
  check(description);
  std::vector<NamedShape> all;
  for (int64_t layer = 0; layer < description.depth; ++layer)
    for (const AdapterSite& site : adapter_sites(description))
      all.push_back({"layers." + std::to_string(layer) + "." + site.name, {site.out, site.in}});
  return all;
}

void model_rows(Table& table) {
  table.now<&make<Decoder, LanguageModel, DecoderDescription>>("decoderCreate");
  table.now<&decoder_parameters>("decoderParameters");
  table.now<&decoder_sites>("decoderSites");
  table.job<&LanguageModel::initialise>("modelInitialise");
  table.now<&parameters_of<LanguageModel>>("modelParameters");
  table.job<&LanguageModel::train>("modelTrain");
  table.job<&LanguageModel::generator_state>("modelGeneratorState");
  table.job<&LanguageModel::set_generator_state>("modelSetGeneratorState");
  table.job<&LanguageModel::forward>("modelForward");
  table.job<&LanguageModel::loss>("modelLoss");
  table.job<&LanguageModel::predict>("modelPredict");
  table.job<&merge>("modelMergeScope");
  table.now<&make<Scope, Scope, const LanguageModel&, std::vector<std::string>, int64_t, double>>("scopeCreate");
  table.job<&Scope::initialise>("scopeInitialise");
  table.now<&parameters_of<Scope>>("scopeParameters");
}

}  // namespace palm::binding
