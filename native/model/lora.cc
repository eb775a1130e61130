#include "model/lora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/linear.h"
#include "model/init.h"

namespace palm {

// Most scopes have scale 1: skip the product.
static Tensor scaled(const Tensor& x, double scale) { return scale == 1 ? x : x * scale; }

Tensor Adapter::operator()(const Tensor& x) const { return trained_product(down(x), b); }
Tensor Adapter::down(const Tensor& x) const { return scaled(trained_product(x, a), scale); }
Tensor Adapter::up() const { return scaled(b, scale); }
Tensor Adapter::weight() const { return at::matmul(a, up()); }

Tensor LayerAdapters::added(const Tensor& h, int64_t begin, int64_t end) const {
  std::vector<Tensor> parts;
  const auto pad_to = [&](int64_t row) {
    std::vector<int64_t> sizes = h.sizes().vec();
    sizes.back() = row - begin;
    if (begin < row) parts.push_back(at::zeros(sizes, h.options()));
    begin = row;
  };
  for (const Adapter& adapter : input) {
    if (adapter.first < begin || adapter.first >= end) continue;
    pad_to(adapter.first);
    parts.push_back(adapter(h));
    begin += adapter.count;
  }
  if (parts.empty()) return {};
  pad_to(end);
  return at::cat(parts, -1);
}

static std::vector<AdapterSite> chosen(const std::vector<AdapterSite>& all, const std::vector<std::string>& targets) {
  for (const std::string& target : targets) {
    if (std::ranges::any_of(all, [&](const AdapterSite& site) { return site.name == target; })) continue;
    std::string known;
    for (const AdapterSite& site : all) known += (known.empty() ? "" : ", ") + site.name;
    throw Error(ErrorKind::argument, "targets", target, "one of " + known);
  }
  std::vector<AdapterSite> found;
  for (const AdapterSite& site : all)
    if (std::ranges::count(targets, site.name) > 0) found.push_back(site);
  if (found.empty()) throw Error(ErrorKind::argument, "targets", "none", "at least one");
  return found;
}

static std::vector<NamedShape> shapes_of(const std::vector<AdapterSite>& sites, int64_t layer, int64_t rank) {
  std::vector<NamedShape> shapes;
  for (const AdapterSite& site : sites) {
    const std::string name = "layers." + std::to_string(layer) + "." + site.name;
    shapes.push_back({name + ".a", {site.in, rank}});
    shapes.push_back({name + ".b", {rank, site.out}});
  }
  return shapes;
}

static std::vector<NamedShape> shapes_of_all(const std::vector<AdapterSite>& sites, int64_t depth, int64_t rank) {
  check_fits_in_memory(shapes_of(sites, 0, rank), depth, "addScope.rank");
  std::vector<NamedShape> all;
  for (int64_t layer = 0; layer < depth; ++layer)
    for (NamedShape& shape : shapes_of(sites, layer, rank)) all.push_back(std::move(shape));
  return all;
}

Scope::Scope(const LanguageModel& model, const std::vector<std::string>& targets, int64_t rank, double alpha)
    : sites_(chosen(model.sites(), targets)),
      scale_(alpha / static_cast<double>(rank)),
      buffer_(shapes_of_all(sites_, model.shape().depth, rank), model.shape().options.dtype().toScalarType(),
              model.shape().options.device()) {}

void Scope::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  for (size_t i = 0; i < parameters().size(); i += 2) {
    const Tensor& a = parameters()[i]->tensor;
    fill_uniform(a, 1 / std::sqrt(a.size(0)), generator);
    parameters()[i + 1]->tensor.zero_();
  }
}

Adapter Scope::adapter(int64_t layer, size_t site) const {
  const size_t place = 2 * (static_cast<size_t>(layer) * sites_.size() + site);
  return {.first = sites_[site].first,
          .count = sites_[site].count,
          .a = parameters()[place]->tensor,
          .b = parameters()[place + 1]->tensor,
          .scale = scale_};
}

LayerAdapters Scope::layer(int64_t index) const {
  LayerAdapters all;
  for (size_t site = 0; site < sites_.size(); ++site)
    (sites_[site].matrix == AdapterSite::Matrix::input ? all.input : all.output).push_back(adapter(index, site));
  return all;
}

void merge(const LanguageModel& model, const Scope& scope) {
  at::NoGradGuard no_grad;
  for (int64_t layer = 0; layer < model.shape().depth; ++layer)
    for (size_t site = 0; site < scope.sites().size(); ++site)
      model.site_weight(layer, scope.sites()[site]).add_(scope.adapter(layer, site).weight().t());
}

}  // namespace palm
