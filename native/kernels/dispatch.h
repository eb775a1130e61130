// Selects the kernels: a table for the tensor's device and dtype and for what this CPU supports (as libtorch detects
// it, including ATEN_CPU_CAPABILITY); and spreads a range over threads.
#pragma once
#include <ATen/Parallel.h>

#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

// nullptr if there are no kernels for such tensors or kernels are off: use ATen then.
const Kernels* kernels_for(at::Device device, at::ScalarType dtype);
inline const Kernels* kernels_for(const Tensor& tensor) { return kernels_for(tensor.device(), tensor.scalar_type()); }

// Sets the tables for tensors of a device. libpalm-cuda.so calls this when it is loaded, before the first job.
__attribute__((visibility("default"))) void register_kernels(at::DeviceType device, const Kernels& float32,
                                                             const Kernels& bfloat16);
bool cuda_kernels_loaded();

// false: the ATen references compute everything, for comparison. Initially true.
void use_kernels(bool on);

// body(begin, end, piece) over `count` rows: on the CPU in pieces of at least `grain` rows on several threads,
// elsewhere in one call.
template <class Body>
void in_pieces(const Kernels& kernels, int64_t count, int64_t grain, const Body& body) {
  if (count == 0) return;
  if (kernels.partial_sums > 0) return body(0, count, 0);
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { body(begin, end, at::get_thread_num()); });
}

// Number of partial sums of a range; piece p adds to the p-th or, if one launch computes the whole range, to several.
inline int64_t partial_sums(const Kernels& kernels) {
  return kernels.partial_sums > 0 ? kernels.partial_sums : at::get_num_threads();
}

// kernel(args, begin, end) over `count` rows, in the same pieces.
template <class Args>
void launch(const Kernels& kernels, void (*kernel)(const Args&, int64_t, int64_t), const Args& args, int64_t count,
            int64_t grain) {
  in_pieces(kernels, count, grain, [&](int64_t begin, int64_t end, int64_t) { kernel(args, begin, end); });
}

// Min rows of `width` elements that are worth a thread of their own.
inline int64_t grain_of(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1)); }

}  // namespace palm
