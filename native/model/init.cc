#include "model/init.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>

namespace palm {

// The finaliser of MurmurHash3; 0 stays 0.
static uint32_t mixed(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}

at::Generator make_generator(at::Device device, uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device).clone();
  // The CPU's Mersenne twister would use only the lower half of the seed.
  const uint64_t word = static_cast<uint32_t>(seed) ^ mixed(static_cast<uint32_t>(seed >> 32));
  generator.set_current_seed(device.is_cpu() ? word : seed);
  return generator;
}

void fill_normal(Tensor parameter, double deviation, at::Generator& generator) {
  parameter.copy_(at::empty(parameter.sizes(), at::kFloat).normal_(0, deviation, generator));
}

void fill_uniform(Tensor parameter, double bound, at::Generator& generator) {
  parameter.copy_(at::empty(parameter.sizes(), at::kFloat).uniform_(-bound, bound, generator));
}

}  // namespace palm
