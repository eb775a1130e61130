// Table rows for generation.
#include <array>

#include "binding/bindings.h"
#include "generation/token-stream.h"

namespace palm::binding {

PALM_FIELDS(Generation, PALM_FIELD(sequences), PALM_FIELD(response_mask), PALM_FIELD(log_probs));

PALM_FIELDS(TokenStream::Piece, PALM_FIELD(tokens), PALM_FIELD(log_probs), PALM_FIELD(done));

static Generation generate_all(const std::shared_ptr<LanguageModel>& model, const std::shared_ptr<Scope>& scope,
                               const Tensor& prompts, const Tensor& lengths, const GenerateOptions& options,
                               const std::shared_ptr<Readout>& readout, const std::shared_ptr<Cancel>& cancel) {
  return generate(model, scope, prompts, lengths, options, cancel.get(), readout);
}

static TokenStream::Piece stream_advance(TokenStream& stream, int64_t count, const std::shared_ptr<Cancel>& cancel) {
  count_read();
  return stream.advance(count, cancel.get());
}

PALM_FIELDS(SamplerOptions, PALM_FIELD(temperature), PALM_FIELD(top_k), PALM_FIELD(top_p), PALM_FIELD(min_p));
PALM_FIELDS(Draw, PALM_FIELD(token), PALM_FIELD(log_prob));

static Draw sample_rows(const Tensor& logits, const SamplerOptions& options, const Tensor& uniform) {
  return sample(logits, options, uniform);
}

PALM_FIELDS(RowOptions, PALM_FIELD(temperature), PALM_FIELD(top_k), PALM_FIELD(top_p), PALM_FIELD(min_p),
            PALM_FIELD(frequency_penalty), PALM_FIELD(presence_penalty), PALM_FIELD(repetition_penalty),
            PALM_FIELD(bias_tokens), PALM_FIELD(bias), PALM_FIELD(end_tokens), PALM_FIELD(min_tokens),
            PALM_FIELD(max_tokens), PALM_FIELD(top), PALM_FIELD(seed), PALM_FIELD(sample));
PALM_FIELDS(ModelLogProbs, PALM_FIELD(token), PALM_FIELD(top_tokens), PALM_FIELD(top));
PALM_FIELDS(Admission, PALM_FIELD(rows), PALM_FIELD(cached));
template <>
struct Js<Ended> {
  static Napi::Value to(Napi::Env env, Ended ended) {
    constexpr std::array words{"no", "token", "length", "released", "numbers"};
    return Napi::String::New(env, words[static_cast<size_t>(ended)]);
  }
};
PALM_FIELDS(RowProgress, PALM_FIELD(row), PALM_FIELD(prompt_read), PALM_FIELD(tokens), PALM_FIELD(log_probs),
            PALM_FIELD(model), PALM_FIELD(ended));

static std::shared_ptr<Slots> slots_create(const std::shared_ptr<LanguageModel>& model, int64_t slots, int64_t capacity,
                                           const std::vector<int64_t>& suppress, bool int8) {
  return std::make_shared<Slots>(model, slots, capacity, suppress, int8);
}

static Admission slots_admit(Slots& slots, const std::vector<int64_t>& prompt, const std::shared_ptr<Scope>& scope,
                             const std::vector<RowOptions>& rows, const std::vector<std::shared_ptr<Cancel>>& cancels) {
  return slots.admit(prompt, scope, rows, cancels);
}

static std::vector<RowProgress> slots_advance(Slots& slots, const std::vector<int64_t>& order, int64_t prompt_tokens,
                                              int64_t tokens) {
  count_read();
  return slots.advance(order, prompt_tokens, tokens);
}

void generation_rows(Table& table) {
  table.job<&generate_all>("generate");
  table.now<&make<TokenStream, TokenStream, std::shared_ptr<LanguageModel>, std::shared_ptr<Scope>, Tensor,
                  GenerateOptions, std::shared_ptr<Readout>>>("tokenStreamCreate");
  table.job<&stream_advance>("tokenStreamAdvance");
  table.job<&sample_rows>("sampleRows");
  table.job<&slots_create>("slotsCreate");
  table.job<&slots_admit>("slotsAdmit");
  table.job<&slots_advance>("slotsAdvance");
}

}  // namespace palm::binding
