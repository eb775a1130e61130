#include "model/lora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/error.h"
#include "kernels/linear.h"
#include "model/init.h"

namespace palm {

// Most scopes have scale 1: skip the product.
static Tensor scaled(const Tensor& x, double scale) { return scale == 1 ? x : x * scale; }

Tensor Adapter::operator()(const Tensor& x, const Dropout& mode) const {
  return trained_product(down(mode.apply(x, dropout)), b);
}
Tensor Adapter::down(const Tensor& x) const { return scaled(trained_product(x, a), scale); }
Tensor Adapter::up() const { return scaled(b, scale); }
Tensor Adapter::weight() const { return at::matmul(a, up()); }

Tensor LayerAdapters::added(const Tensor& h, int64_t begin, int64_t end, const Dropout& mode) const {
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
    parts.push_back(adapter(h, mode));
    begin += adapter.count;
  }
  if (parts.empty()) return {};
  pad_to(end);
  return at::cat(parts, -1);
}

static const AdapterSite& site_named(const std::vector<AdapterSite>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &AdapterSite::name);
  if (found != all.end()) return *found;
  std::string known;
  for (const AdapterSite& site : all) known += (known.empty() ? "" : ", ") + site.name;
  throw Error(ErrorKind::argument, "targets", name, "one of " + known);
}

std::vector<Scope::Place> Scope::found(const LanguageModel& model, const std::vector<AdapterDescription>& wanted) {
  if (wanted.empty()) throw Error(ErrorKind::argument, "targets", "none", "at least one");
  const std::vector<AdapterSite> sites = model.sites();
  std::vector<Place> places;
  for (const AdapterDescription& one : wanted) places.push_back({one, site_named(sites, one.site)});
  std::ranges::stable_sort(places, {}, [](const Place& place) {
    return std::tuple(place.wanted.layer, place.site.matrix, place.site.first);
  });
  for (size_t i = 1; i < places.size(); ++i) {
    const Place &before = places[i - 1], &now = places[i];
    if (before.wanted.layer == now.wanted.layer && before.site.matrix == now.site.matrix &&
        now.site.first < before.site.first + before.site.count)
      throw Error(ErrorKind::argument, "targets", before.site.name + " and " + now.site.name,
                  "targets that adapt different weights");
  }
  return places;
}

std::vector<NamedShape> Scope::shapes_of(const std::vector<Place>& places) {
  std::vector<NamedShape> shapes;
  for (const auto& [wanted, site] : places) {
    const std::string name = "layers." + std::to_string(wanted.layer) + "." + site.name;
    shapes.push_back({name + ".a", {site.in, wanted.rank}});
    shapes.push_back({name + ".b", {wanted.rank, site.out}});
  }
  check_fits_in_memory(shapes, 1, "addScope.rank");
  return shapes;
}

Scope::Scope(const LanguageModel& model, const std::vector<AdapterDescription>& wanted, double dropout)
    : places_(found(model, wanted)),
      dropout_(dropout),
      buffer_(shapes_of(places_), model.shape().options.dtype().toScalarType(), model.shape().options.device()) {}

void Scope::initialise(int64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(at::kCPU, seed);
  for (size_t i = 0; i < parameters().size(); i += 2) {
    const Tensor& a = parameters()[i]->tensor;
    fill_uniform(a, 1 / std::sqrt(a.size(0)), generator);
    parameters()[i + 1]->tensor.zero_();
  }
}

Adapter Scope::adapter(size_t place) const {
  const auto& [wanted, site] = places_[place];
  return {.first = site.first,
          .count = site.count,
          .a = parameters()[2 * place]->tensor,
          .b = parameters()[2 * place + 1]->tensor,
          .scale = wanted.scale,
          .dropout = dropout_};
}

LayerAdapters Scope::layer(int64_t index) const {
  LayerAdapters all;
  const auto own = std::ranges::equal_range(places_, index, {}, [](const Place& place) { return place.wanted.layer; });
  for (auto place = own.begin(); place != own.end(); ++place)
    (place->site.matrix == AdapterSite::Matrix::input ? all.input : all.output)
        .push_back(adapter(static_cast<size_t>(place - places_.begin())));
  return all;
}

bool Scope::within(const std::vector<std::string>& sites) const {
  return std::ranges::all_of(places_,
                             [&](const Place& place) { return std::ranges::count(sites, place.site.name) > 0; });
}

void Scope::merge_into(const LanguageModel& model) const {
  for (size_t i = 0; i < places_.size(); ++i)
    model.site_weight(places_[i].wanted.layer, places_[i].site).add_(adapter(i).weight().t());
}

void merge(const LanguageModel& model, const Scope& scope) {
  at::NoGradGuard no_grad;
  scope.merge_into(model);
}

}  // namespace palm
