// The kernels of one instruction set, PALM_ISA.
#include "kernels/cpu/table.h"

#include "kernels/cpu/activation.h"
#include "kernels/cpu/adam-w.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/log-prob.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/squares.h"
#include "kernels/cpu/token.h"

namespace palm::cpu::PALM_ISA {

template <class T>
static constexpr Kernels kTable = {
    norm<T>,
    norm_grad<T>,
    rotate<T>,
    activation<T>,
    activation_grad<T>,
    attention_scratch,
    attention<T>,
    attention_grad<T>,
    log_prob<T>,
    log_prob_grad<T>,
    adam_w<T>,
    squares<T>,
    /*partial_sums=*/0,
    {product<T>, token_project<T>, token_attend<T>, sample<T>, weigh<T>},
};

extern const Kernels float32, bfloat16;  // `extern`, because constants of a namespace have internal linkage by default
const Kernels float32 = kTable<float>, bfloat16 = kTable<BFloat16>;

}  // namespace palm::cpu::PALM_ISA
