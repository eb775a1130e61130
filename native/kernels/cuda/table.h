// The CUDA kernels: each is in a .cu file next to its reference, instantiated there for both dtypes. There is none
// for attention over whole sequences: libtorch's fused kernels compute it (kernels/library-attention.h).
#pragma once
#include <cuda_bf16.h>

#include "kernels/decode-attention.h"
#include "kernels/kernels.h"

namespace palm::cuda {

using BFloat16 = __nv_bfloat16;

template <class T>
void norm(const NormArgs& args, int64_t begin, int64_t end);
template <class T>
void norm_grad(const NormGradArgs& args, int64_t begin, int64_t end);
template <class T>
void rotate(const RotateArgs& args, int64_t begin, int64_t end);
template <class T>
void activation(const ActivationArgs& args, int64_t begin, int64_t end);
template <class T>
void activation_grad(const ActivationGradArgs& args, int64_t begin, int64_t end);
template <class T>
void log_prob(const LogProbArgs& args, int64_t begin, int64_t end);
template <class T>
void log_prob_grad(const LogProbGradArgs& args, int64_t begin, int64_t end);
template <class T>
void adam_w(const AdamWArgs& args, int64_t begin, int64_t end);
template <class T>
void decode_attention(const DecodeAttentionArgs& args, int64_t begin, int64_t end);

template <class T>
void sample(const SampleArgs& args, int64_t begin, int64_t end);

#define PALM_CUDA_KERNEL(name, Args)                        \
  template void name<float>(const Args&, int64_t, int64_t); \
  template void name<BFloat16>(const Args&, int64_t, int64_t)

// All CUDA kernels as tables, registered for CUDA tensors when the library is loaded.
const Kernels& table_float32();
const Kernels& table_bfloat16();

// Number of blocks that share a reduction over rows: fixed, so that sums are the same on every GPU.
constexpr int64_t kPartialSums = 512;

}  // namespace palm::cuda
