#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Combines {top, Σ exp(z − top), Σ exp(z − top) (z − top)} of two threads; a top of −∞ means that nothing was read yet.
__device__ inline void join_softmax(float (&own)[3], const float (&other)[3]) {
  const float top = fmaxf(own[0], other[0]);
  const float own_shift = own[0] - top, other_shift = other[0] - top;
  const float own_scale = own[0] == kNothing ? 0.0f : expf(own_shift);
  const float other_scale = other[0] == kNothing ? 0.0f : expf(other_shift);
  float weighted = 0.0f;
  if (own_scale != 0.0f) weighted += own_scale * (own[2] + own[1] * own_shift);
  if (other_scale != 0.0f) weighted += other_scale * (other[2] + other[1] * other_shift);
  own[1] = own_scale * own[1] + other_scale * other[1];
  own[2] = weighted;
  own[0] = top;
}

// One block per row, which is read once: entropy = −Σ p log p = lse − Σ p z,  z = logits / temperature.
template <class T, int kPack>
__global__ void log_prob_rows(LogProbArgs args, int64_t begin, int64_t end) {
  const float inverse = args.inverse_temperature;
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    const T* const logits = static_cast<const T*>(args.logits) + row * args.width;
    const float nothing[3] = {kNothing, 0.0f, 0.0f};
    float read[3] = {kNothing, 0.0f, 0.0f};
    each_pack<kPack>(args.width, [&](int64_t i) {
      auto z = load<kPack>(logits + i);
      float pack[3] = {kNothing, 0.0f, 0.0f};
      for (int k = 0; k < kPack; ++k) {
        z[k] *= inverse;
        pack[0] = fmaxf(pack[0], z[k]);
      }
      for (int k = 0; k < kPack; ++k) {
        const float shifted = z[k] - pack[0], p = z[k] == kNothing ? 0.0f : expf(shifted);
        pack[1] += p;
        pack[2] += p == 0.0f ? 0.0f : p * shifted;
      }
      join_softmax(read, pack);
    });
    block_reduce(read, nothing, [](float(&own)[3], const float(&other)[3]) { join_softmax(own, other); });
    if (threadIdx.x > 0) continue;
    const float log_total = logf(read[1]), lse = read[0] + log_total;
    const int64_t target = args.target[row];
    float of_target = 0.0f;
    if (target >= 0) convert(logits[target], of_target);
    args.lse[row] = lse;
    args.log_prob[row] = target < 0 ? 0.0f : of_target * inverse - lse;
    if (args.entropy) args.entropy[row] = log_total - read[2] / read[1];
  }
}

// ∂log_prob/∂z = onehot − p,  ∂entropy/∂z = −p (log p + entropy); logits are z · temperature.
template <class T, int kPack>
__global__ void log_prob_grad_rows(LogProbGradArgs args, int64_t begin, int64_t end) {
  const float inverse = args.inverse_temperature;
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    T* const logits = static_cast<T*>(args.logits) + row * args.width;
    const int64_t target = args.target[row];
    const float of_log_prob = target < 0 ? 0.0f : args.dlog_prob[row] * inverse;
    const float of_entropy = args.dentropy ? args.dentropy[row] * inverse : 0.0f;
    const float lse = args.lse[row], entropy = args.entropy ? args.entropy[row] : 0.0f;
    each_pack<kPack>(args.width, [&](int64_t i) {
      auto z = load<kPack>(logits + i);
      for (int k = 0; k < kPack; ++k) {
        const float log_p = z[k] * inverse - lse, p = expf(log_p);
        z[k] = p == 0.0f ? 0.0f : -p * (of_log_prob + of_entropy * (log_p + entropy));
        if (i + k == target) z[k] += of_log_prob;
      }
      store(logits + i, z);
    });
  }
}

template <class T>
void log_prob(const LogProbArgs& args, int64_t begin, int64_t end) {
  by_pack<T>(fits_packs<T>(args.logits, args.width, args.width), [&](auto pack) {
    start(args.logits, {end - begin, threads_for(args.width, pack, 512)}, log_prob_rows<T, pack>, args, begin, end);
  });
}

template <class T>
void log_prob_grad(const LogProbGradArgs& args, int64_t begin, int64_t end) {
  by_pack<T>(fits_packs<T>(args.logits, args.width, args.width), [&](auto pack) {
    start(args.logits, {end - begin, threads_for(args.width, pack, 512)}, log_prob_grad_rows<T, pack>, args, begin,
          end);
  });
}

PALM_CUDA_KERNEL(log_prob, LogProbArgs);
PALM_CUDA_KERNEL(log_prob_grad, LogProbGradArgs);

}  // namespace palm::cuda
