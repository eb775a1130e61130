// Table rows for language models and their scopes.
#include "binding/bindings.h"
#include "model/decoder.h"
#include "model/lora.h"

namespace palm::binding {

PALM_WORDS(Recompute, "recompute", {"none", Recompute::none}, {"selective", Recompute::selective},
           {"full", Recompute::full});
PALM_WORDS(NormKind, "norm.kind", {"layer", NormKind::layer}, {"rms", NormKind::rms}, {"l2", NormKind::l2});
PALM_WORDS(BlockForm, "form", {"pre", BlockForm::pre}, {"post", BlockForm::post}, {"sandwich", BlockForm::sandwich},
           {"after", BlockForm::after});
PALM_WORDS(QkNormOver, "qkNorm.over", {"head", QkNormOver::head}, {"perHead", QkNormOver::per_head},
           {"all", QkNormOver::all});
PALM_WORDS(Activation, "activation", {"silu", Activation::silu}, {"gelu", Activation::gelu},
           {"geluTanh", Activation::gelu_tanh}, {"relu", Activation::relu});

PALM_FIELDS(NormDescription, PALM_FIELD(kind), PALM_FIELD(eps), PALM_FIELD(offset), PALM_FIELD(weight),
            PALM_FIELD(bias));
PALM_FIELDS(QkNormDescription, PALM_FIELD(over), PALM_FIELD(norm));
PALM_FIELDS(RopeDescription, PALM_FIELD(inverse_frequency), PALM_FIELD(factor), PALM_FIELD(wide),
            PALM_FIELD(xpos_scale_base), PALM_FIELD(reach));
PALM_FIELDS(LayerDescription, PALM_FIELD(window), PALM_FIELD(rope), PALM_FIELD(scale));
PALM_FIELDS(PositionsDescription, PALM_FIELD(rows), PALM_FIELD(offset));
PALM_FIELDS(DecoderDescription, PALM_FIELD(num_tokens), PALM_FIELD(used_tokens), PALM_FIELD(dim), PALM_FIELD(depth),
            PALM_FIELD(heads), PALM_FIELD(kv_heads), PALM_FIELD(dim_head), PALM_FIELD(ff), PALM_FIELD(causal),
            PALM_FIELD(norm), PALM_FIELD(form), PALM_FIELD(parallel), PALM_FIELD(shared_norm),
            PALM_FIELD(residual_from_norm), PALM_FIELD(final_norm), PALM_FIELD(qkv_bias), PALM_FIELD(output_bias),
            PALM_FIELD(ff_bias), PALM_FIELD(gated), PALM_FIELD(activation), PALM_FIELD(qk_norm), PALM_FIELD(clip_qkv),
            PALM_FIELD(ropes), PALM_FIELD(layers), PALM_FIELD(alibi), PALM_FIELD(alibi_rounded), PALM_FIELD(softcap),
            PALM_FIELD(positions), PALM_FIELD(embedding_norm), PALM_FIELD(embedding_scale), PALM_FIELD(residual_scale),
            PALM_FIELD(embedding_dim), PALM_FIELD(tied), PALM_FIELD(head_bias), PALM_FIELD(logit_scale),
            PALM_FIELD(final_softcap), PALM_FIELD(ignore_index), PALM_FIELD(attn_dropout), PALM_FIELD(ff_dropout),
            PALM_FIELD(recompute), PALM_FIELD(dtype), PALM_FIELD(device));
PALM_FIELDS(AdapterDescription, PALM_FIELD(layer), PALM_FIELD(site), PALM_FIELD(rank), PALM_FIELD(scale));
PALM_FIELDS(Fallbacks, PALM_FIELD(training), PALM_FIELD(decoding));
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
  table.now<&LanguageModel::branch>("modelBranch");
  table.now<&decoder_parameters>("decoderParameters");
  table.now<&decoder_sites>("decoderSites");
  table.now<&Decoder::fallbacks>("decoderFallbacks");
  table.job<&LanguageModel::initialise>("modelInitialise");
  table.now<&parameters_of<LanguageModel>>("modelParameters");
  table.job<&LanguageModel::train>("modelTrain");
  table.job<&LanguageModel::generator_state>("modelGeneratorState");
  table.job<&LanguageModel::set_generator_state>("modelSetGeneratorState");
  table.job<&LanguageModel::forward>("modelForward");
  table.job<&LanguageModel::loss>("modelLoss");
  table.job<&LanguageModel::predict>("modelPredict");
  table.job<&merge>("modelMergeScope");
  table.now<&make<Scope, Scope, const LanguageModel&, std::vector<AdapterDescription>, double>>("scopeCreate");
  table.job<&Scope::initialise>("scopeInitialise");
  table.now<&parameters_of<Scope>>("scopeParameters");
}

}  // namespace palm::binding
