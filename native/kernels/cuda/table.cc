#include "kernels/cuda/table.h"

#include "kernels/dispatch.h"

namespace palm::cuda {

template <class T>
static constexpr Kernels kTable = {
    .norm = norm<T>,
    .norm_grad = norm_grad<T>,
    .rotate = rotate<T>,
    .activation = activation<T>,
    .activation_grad = activation_grad<T>,
    .attention_scratch = nullptr,
    .attention = nullptr,  // libtorch's (kernels/library-attention.h)
    .attention_grad = nullptr,
    .log_prob = log_prob<T>,
    .log_prob_grad = log_prob_grad<T>,
    .adam_w = adam_w<T>,
    .squares = nullptr,
    .partial_sums = kPartialSums,
    .token = {.product = nullptr, .project = nullptr, .attend = nullptr, .sample = sample<T>, .weigh = nullptr},
    .decode_attention = decode_attention<T>};

const Kernels& table_float32() { return kTable<float>; }
const Kernels& table_bfloat16() { return kTable<BFloat16>; }

static const struct Register {
  Register() { register_kernels(at::kCUDA, table_float32(), table_bfloat16()); }
} at_load;

}  // namespace palm::cuda
