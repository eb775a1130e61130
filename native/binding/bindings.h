// The functions JavaScript can call, one file per subject. Together they implement the interface `Native` of
// src/native/exports.ts.
#pragma once
#include "base/shape.h"
#include "binding/convert.h"
#include "losses/ilql.h"
#include "losses/loss.h"
#include "rlhf/rollout.h"

namespace palm::binding {

void process_rows(Table& table);
void tensor_rows(Table& table);
void parameter_rows(Table& table);
void model_rows(Table& table);
void generation_rows(Table& table);
void rlhf_rows(Table& table);
void advantage_rows(Table& table);
void loss_rows(Table& table);
void optim_rows(Table& table);

// How a parameter list crosses the border.
struct NamedParameter {
  std::string name;
  std::vector<int64_t> shape;
  std::shared_ptr<Parameter> handle;
};
PALM_FIELDS(NamedParameter, PALM_FIELD(name), PALM_FIELD(shape), PALM_FIELD(handle));
std::vector<NamedParameter> named(const ParameterList& parameters);

// The parameters of any object that has some.
template <class T>
std::vector<NamedParameter> parameters_of(T& object) {
  return named(object.parameters());
}

PALM_FIELDS(GenerateOptions, PALM_FIELD(max_new_tokens), PALM_FIELD(temperature), PALM_FIELD(top_k), PALM_FIELD(top_p),
            PALM_FIELD(min_p), PALM_FIELD(eos_tokens), PALM_FIELD(stop), PALM_FIELD(suppress), PALM_FIELD(pad_token),
            PALM_FIELD(samples_per_prompt), PALM_FIELD(int8), PALM_FIELD(seed));
// Metrics become an object; their names are converted like the names of fields.
template <>
struct Js<Metrics> {
  static Napi::Value to(Napi::Env env, const Metrics& metrics) {
    std::vector<std::string> names;
    for (const std::string& name : metrics.names) names.push_back(camel_case(name.c_str()));
    auto object = Napi::Object::New(env);
    object.Set("names", Js<std::vector<std::string>>::to(env, names));
    object.Set("values", Js<Tensor>::to(env, metrics.values));
    return object;
  }
};
PALM_FIELDS(Loss, PALM_FIELD(loss), PALM_FIELD(metrics));
PALM_FIELDS(LogProb, PALM_FIELD(log_prob), PALM_FIELD(entropy));
PALM_FIELDS(Comparison, PALM_FIELD(log_prob), PALM_FIELD(entropy), PALM_FIELD(reference_log_prob));
PALM_FIELDS(ActionValues, PALM_FIELD(logits), PALM_FIELD(q1), PALM_FIELD(q2), PALM_FIELD(target_q1),
            PALM_FIELD(target_q2), PALM_FIELD(value));
PALM_FIELDS(FlowrlEvaluation, PALM_FIELD(log_prob), PALM_FIELD(entropy), PALM_FIELD(log_partition));
PALM_FIELDS(LanguageModel::Prediction, PALM_FIELD(log_prob), PALM_FIELD(entropy), PALM_FIELD(right));
PALM_FIELDS(Evaluation, PALM_FIELD(log_prob), PALM_FIELD(entropy), PALM_FIELD(value), PALM_FIELD(value_logits));
PALM_FIELDS(Histogram, PALM_FIELD(bins), PALM_FIELD(min), PALM_FIELD(max), PALM_FIELD(sigma));
PALM_FIELDS(Rollout, PALM_FIELD(sequence), PALM_FIELD(response_mask), PALM_FIELD(sampler_log_prob),
            PALM_FIELD(rollout_log_prob), PALM_FIELD(reference_log_prob));
PALM_FIELDS(ValuedRollout, PALM_FIELD(sequence), PALM_FIELD(response_mask), PALM_FIELD(sampler_log_prob),
            PALM_FIELD(rollout_log_prob), PALM_FIELD(reference_log_prob), PALM_FIELD(rollout_value));

// Called whenever JavaScript waits for numbers; `reads` returns the count.
void count_read();

void expect_floating(const Tensor& tensor, const char* argument);

// A batch that JavaScript assembled: every member is [B, T]; response_mask is a mask, the others are numbers.
template <class Batch>
void expect_batch(const Batch& batch) {
  expect_token_shape(batch.sequence, "sequence");
  Fields<Batch>::visit(batch, [&](const char* name, const Tensor& member) {
    const std::string argument = camel_case(name);
    expect_shape(member, argument.c_str(), batch.sequence.sizes());
    if (&member == &batch.response_mask)
      expect_bool(member, argument.c_str());
    else if (&member != &batch.sequence)
      expect_floating(member, argument.c_str());
  });
}

}  // namespace palm::binding
