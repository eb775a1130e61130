// Which kernels compute: the table for a tensor's device and dtype, chosen by what this CPU can do (as libtorch sees
// it, ATEN_CPU_CAPABILITY included), and how a range is spread over threads.
#pragma once
#include <ATen/Parallel.h>

#include "base/tensor.h"
#include "kernels/kernels.h"

namespace palm {

// nullptr: no kernels for such tensors, or they are switched off; use ATen.
const Kernels* kernels_for(const Tensor& tensor);

// The tables that tensors of such devices get from now on. Called by libpalm-cuda.so while it is loaded, before the
// first job.
__attribute__((visibility("default"))) void register_kernels(at::DeviceType device, const Kernels& float32,
                                                             const Kernels& bfloat16);
bool cuda_kernels_loaded();

// Off: everything is computed by the ATen references. For comparisons; starts on.
void use_kernels(bool on);

// body(begin, end, piece) over `count` rows: in pieces of at least `grain` on the CPU's threads, elsewhere all at once.
template <class Body>
void in_pieces(const Kernels& kernels, int64_t count, int64_t grain, const Body& body) {
  if (count == 0) return;
  if (kernels.partial_sums > 0) return body(0, count, 0);
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { body(begin, end, at::get_thread_num()); });
}

// Rows that the partial sums of a range take; piece p adds to the p-th and, where one launch takes all, to those after.
inline int64_t partial_sums(const Kernels& kernels) {
  return kernels.partial_sums > 0 ? kernels.partial_sums : at::get_num_threads();
}

// kernel(args, begin, end) over `count` rows, in the same pieces.
template <class Args>
void launch(const Kernels& kernels, void (*kernel)(const Args&, int64_t, int64_t), const Args& args, int64_t count,
            int64_t grain) {
  in_pieces(kernels, count, grain, [&](int64_t begin, int64_t end, int64_t) { kernel(args, begin, end); });
}

// Rows of `width` elements that are worth a thread of their own.
inline int64_t grain_of(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1)); }

}  // namespace palm
