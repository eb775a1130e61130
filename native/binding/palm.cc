// Rows about the model and its scopes.
#include "base/available-memory.h"
#include "binding/rows.h"

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

PALM_FIELDS(PalmConfig, PALM_FIELD(num_tokens), PALM_FIELD(dim), PALM_FIELD(depth), PALM_FIELD(heads),
            PALM_FIELD(dim_head), PALM_FIELD(ff_mult), PALM_FIELD(causal), PALM_FIELD(qk_rmsnorm), PALM_FIELD(qk_scale),
            PALM_FIELD(rotary_xpos_scale_base), PALM_FIELD(ignore_index), PALM_FIELD(attn_dropout),
            PALM_FIELD(ff_dropout), PALM_FIELD(recompute), PALM_FIELD(dtype), PALM_FIELD(device));
PALM_FIELDS(PaLM::Output, PALM_FIELD(logits), PALM_FIELD(embeddings));

static double number(int64_t size) { return static_cast<double>(size); }

void expect_holdable(double layers, double weights, const char* argument) {
  constexpr double kLayer = 16384, kWeight = 2, kMost = 1e14;
  const double bytes = layers * (weights * kWeight + kLayer), available = number(available_memory());
  if (bytes > kMost || layers * kLayer > available) throw out_of_memory(argument, bytes, available);
}

static std::shared_ptr<PaLM> palm_create(const PalmConfig& config) {
  const double dim = number(config.dim), inner = number(config.heads) * number(config.dim_head);
  const double hidden = dim * number(config.ff_mult);
  expect_holdable(number(config.depth), dim * (2 * inner + 2 * number(config.dim_head) + 3 * hidden), "PaLM");
  expect_holdable(1, dim * number(config.num_tokens), "PaLM");
  return std::make_shared<PaLM>(config);
}

static std::shared_ptr<Scope> scope_create(PaLM& palm, int64_t rank, double alpha) {
  const PalmConfig& config = palm.config();
  const double widths = number(config.dim) + number(config.heads) * number(config.dim_head);
  expect_holdable(number(config.depth), number(rank) * widths, "addScope.rank");
  return std::make_shared<Scope>(palm.config(), rank, alpha);
}

void palm_rows(Table& table) {
  table.now<&palm_create>("palmCreate");
  table.job<&PaLM::initialise>("palmInitialise");
  table.now<&parameters_of<PaLM>>("palmParameters");
  table.now<&python_parameters_of<PaLM>>("palmPythonParameters");
  table.job<&PaLM::train>("palmTrain");
  table.job<&PaLM::generator_state>("palmGeneratorState");
  table.job<&PaLM::set_generator_state>("palmSetGeneratorState");
  table.job<&PaLM::forward>("palmForward");
  table.job<&PaLM::loss>("palmLoss");
  table.job<&PaLM::merge_scope>("palmMergeScope");
  table.now<&scope_create>("scopeCreate");
  table.job<&Scope::initialise>("scopeInitialise");
  table.now<&parameters_of<Scope>>("scopeParameters");
  table.now<&python_parameters_of<Scope>>("scopePythonParameters");
}

}  // namespace palm::binding
