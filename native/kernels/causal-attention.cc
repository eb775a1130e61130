#include "kernels/causal-attention.h"

#include <ATen/ops/empty.h>

#include <numeric>

#include "kernels/dispatch.h"
#include "kernels/library-attention.h"

namespace palm {

static AttentionArgs attention_args(const AttentionRows& rows, const Tensor& out, const Tensor& lse) {
  const int64_t threads = at::get_num_threads(), sequences = std::max<int64_t>(rows.batch * rows.kv_heads, 1);
  return {.query = rows.query.const_data_ptr(),
          .key = rows.key.const_data_ptr(),
          .value = rows.value.const_data_ptr(),
          .query_stride = rows.query.stride(0),
          .key_stride = rows.key.stride(0),
          .value_stride = rows.value.stride(0),
          .out = out.mutable_data_ptr(),
          .out_stride = out.stride(0),
          .lse = lse.mutable_data_ptr<float>(),
          .first_key = rows.first_key.defined() ? rows.first_key.const_data_ptr<int64_t>() : nullptr,
          .batch = rows.batch,
          .time = rows.query.size(0) / std::max<int64_t>(rows.batch, 1),
          .heads = rows.heads,
          .kv_heads = rows.kv_heads,
          .head = rows.key.size(1) / rows.kv_heads,
          .groups = threads / std::gcd(threads, sequences),
          .scale = static_cast<float>(rows.scale),
          .scratch = nullptr};
}

// kernel(begin, end, scratch of the thread) over all tasks.
template <class Run>
static void for_tasks(const Kernels& kernels, const AttentionArgs& args, const Tensor& like, const Run& run) {
  const int64_t each = kernels.attention_scratch(args);
  const Tensor scratch = at::empty({at::get_num_threads(), each}, like.options().dtype(at::kFloat));
  at::parallel_for(0, args.batch * args.kv_heads * args.groups, 1, [&](int64_t begin, int64_t end) {
    run(begin, end, scratch.mutable_data_ptr<float>() + at::get_thread_num() * each);
  });
}

AttentionState attention_forward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out) {
  if (!kernels.attention) return library_attention_forward(rows, out);
  const Tensor lse = at::empty({rows.query.size(0), rows.heads}, out.options().dtype(at::kFloat));
  const AttentionArgs args = attention_args(rows, out, lse);
  for_tasks(kernels, args, out, [&](int64_t begin, int64_t end, float* scratch) {
    AttentionArgs own = args;
    own.scratch = scratch;
    kernels.attention(own, begin, end);
  });
  AttentionState state;
  state.lse = lse;
  return state;
}

void attention_backward(const Kernels& kernels, const AttentionRows& rows, const Tensor& out,
                        const AttentionState& state, const Tensor& dout, const AttentionRows& grad) {
  if (!kernels.attention) return library_attention_backward(rows, out, state, dout, grad);
  const AttentionArgs args = attention_args(rows, out, state.lse);
  const auto pieces = [&] {
    return at::empty({args.batch, args.kv_heads, args.groups, args.time, args.head}, out.options().dtype(at::kFloat));
  };
  const Tensor dkey = pieces(), dvalue = pieces();
  for_tasks(kernels, args, out, [&](int64_t begin, int64_t end, float* scratch) {
    AttentionGradArgs own{.forward = args,
                          .dout = dout.const_data_ptr(),
                          .dout_stride = dout.stride(0),
                          .dquery = grad.query.mutable_data_ptr(),
                          .dquery_stride = grad.query.stride(0),
                          .dkey = dkey.mutable_data_ptr<float>(),
                          .dvalue = dvalue.mutable_data_ptr<float>()};
    own.forward.scratch = scratch;
    kernels.attention_grad(own, begin, end);
  });
  const auto write_sum = [&](const Tensor& to, const Tensor& all) {
    to.view({args.batch, args.time, args.kv_heads, args.head}).copy_(all.sum(2).transpose(1, 2));
  };
  write_sum(grad.key, dkey);
  write_sum(grad.value, dvalue);
}

}  // namespace palm
