#include "model/lora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>

#include <cmath>

#include "kernels/linear.h"
#include "model/dropout.h"
#include "model/palm.h"

namespace palm {

static const char* const kPlaces[] = {"query", "key", "value", "output"};

static std::vector<ParameterBuffer::Entry> entries_of(const PalmConfig& config, int64_t rank) {
  const int64_t heads = config.heads * config.dim_head, head = config.dim_head;
  const int64_t in[] = {config.dim, config.dim, config.dim, heads}, out[] = {heads, head, head, config.dim};
  std::vector<ParameterBuffer::Entry> entries;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    for (int place = 0; place < 4; ++place) {
      const std::string name = "layers." + std::to_string(layer) + "." + kPlaces[place];
      entries.push_back({name + ".a", {in[place], rank}});
      entries.push_back({name + ".b", {rank, out[place]}});
    }
  }
  return entries;
}

// Most scopes have the scale 1, which costs nothing.
static Tensor scaled(const Tensor& x, double scale) { return scale == 1 ? x : x * scale; }

Tensor Adapter::operator()(const Tensor& x) const { return trained_product(down(x), b); }
Tensor Adapter::down(const Tensor& x) const { return scaled(trained_product(x, a), scale); }
Tensor Adapter::up() const { return scaled(b, scale); }
Tensor Adapter::weight() const { return at::matmul(a, up()); }

Tensor LayerAdapters::input(const Tensor& h) const { return at::cat({query(h), key(h), value(h)}, -1); }

Scope::Scope(const PalmConfig& config, int64_t rank, double alpha)
    : depth_(config.depth),
      scale_(alpha / static_cast<double>(rank)),
      buffer_(entries_of(config, rank), config.dtype, config.device) {}

void Scope::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  for (size_t i = 0; i < parameters().size(); i += 2) {
    const Tensor& a = parameters()[i]->tensor;
    fill_uniform(a, 1 / std::sqrt(a.size(0)), generator);
    parameters()[i + 1]->tensor.zero_();
  }
}

LayerAdapters Scope::layer(int64_t index) const {
  const auto at = [&](int64_t place) {
    const size_t first = static_cast<size_t>(index * 8 + place * 2);
    return Adapter{parameters()[first]->tensor, parameters()[first + 1]->tensor, scale_};
  };
  return {at(0), at(1), at(2), at(3)};
}

ParameterList Scope::python_parameters() const {
  ParameterList views;
  for (size_t i = 0; i < parameters().size(); ++i) {
    const std::string name = std::to_string(i / 8) + "." + std::to_string(i / 2 % 4) + (i % 2 == 0 ? ".A" : ".B");
    views.push_back(view_of(parameters()[i], name, {}));
  }
  return views;
}

}  // namespace palm
