// Seeded random numbers: the same on every machine, for every dtype and device of the result.
#pragma once
#include <ATen/core/Generator.h>
#include "base/tensor.h"

namespace palm {

// A new generator on the device, independent of libtorch's global ones.
at::Generator make_generator(at::Device device, uint64_t seed);

// Samples on the CPU in float32, whatever the parameter's device and dtype.
void fill_normal(Tensor parameter, double deviation, at::Generator& generator);
void fill_uniform(Tensor parameter, double bound, at::Generator& generator);  // U(−bound, bound)

}  // namespace palm
