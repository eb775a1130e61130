// Table rows for the process: memory, threads, devices, disposal, cancellation.
#include <atomic>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <time.h>
#include <torch/headeronly/version.h>

#include "base/cpu-allocator.h"
#include "base/precision.h"
#include "binding/bindings.h"
#include "kernels/dispatch.h"
#include "kernels/library-attention.h"

namespace palm::binding {

struct MemoryUse {
  int64_t live_tensors, live_bytes;              // of handles
  int64_t used_bytes, cached_bytes, peak_bytes;  // of the CPU allocator
};
PALM_FIELDS(MemoryUse, PALM_FIELD(live_tensors), PALM_FIELD(live_bytes), PALM_FIELD(used_bytes),
            PALM_FIELD(cached_bytes), PALM_FIELD(peak_bytes));

static MemoryUse memory_use() {
  const Memory handles = memory();
  const CpuMemory cpu = cpu_memory();
  return {handles.live_tensors, handles.live_bytes, cpu.live, cpu.cached, cpu.peak};
}

struct Info {
  std::string libtorch;
  int64_t threads;
  std::string cpu_capability;
  std::string float32_precision;
  std::string cuda_float32, cuda_bfloat16_sums;
  bool deterministic;
  int64_t cuda_devices;
};
PALM_FIELDS(Info, PALM_FIELD(libtorch), PALM_FIELD(threads), PALM_FIELD(cpu_capability), PALM_FIELD(float32_precision),
            PALM_FIELD(cuda_float32), PALM_FIELD(cuda_bfloat16_sums), PALM_FIELD(deterministic),
            PALM_FIELD(cuda_devices));

static Info info() {
  const auto part = [](int number) { return std::to_string(number); };
  return {part(TORCH_VERSION_MAJOR) + "." + part(TORCH_VERSION_MINOR) + "." + part(TORCH_VERSION_PATCH),
          at::get_num_threads(),
          at::get_cpu_capability(),
          routed_to_onednn() ? "medium" : "highest",
          multiplies_in_tf32() ? "tf32" : "ieee",
          sums_bfloat16_in_float32() ? "float32" : "bfloat16",
          deterministic(),
          at::detail::getCUDAHooks().deviceCount()};
}

struct CudaInfo {
  bool own_kernels;
  std::string float32_attention, bfloat16_attention;
};
PALM_FIELDS(CudaInfo, PALM_FIELD(own_kernels), PALM_FIELD(float32_attention), PALM_FIELD(bfloat16_attention));

static CudaInfo cuda_info() {
  const auto attention = [](at::ScalarType dtype) {
    return attention_backend_name(at::TensorOptions(dtype).device(at::kCUDA));
  };
  return {cuda_kernels_loaded(), attention(at::kFloat), attention(at::kBFloat16)};
}

// CPU time of the calling thread in microseconds; unlike wall time, it does not include time when the machine sleeps or
// is busy.
static int64_t thread_cpu_time() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

static Napi::Value dispose(const Napi::CallbackInfo& info) {
  if (HandleBase* const handle = HandleBase::unwrap(info[0])) handle->dispose(info.Env());
  return info.Env().Undefined();
}

static Napi::Value cancel_create(const Napi::CallbackInfo& info) {
  return Handle<Cancel>::create(info.Env(), Environment::of(info.Env()).make_cancel());
}

static void cancel(Cancel& flag) { flag = true; }

static Napi::Value close(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).close();
  return info.Env().Undefined();
}

static std::atomic<int64_t> reads_so_far{0};

void count_read() { ++reads_so_far; }

static int64_t reads() { return reads_so_far; }

void process_rows(Table& table) {
  table.raw("close", close);
  table.raw("dispose", dispose);
  table.now<&memory_use>("memory");
  table.now<&reset_cpu_memory_peak>("memoryResetPeak");
  table.now<&reads>("reads");
  table.now<&set_cpu_memory_limit>("memoryLimit");
  table.now<&info>("info");
  table.now<&thread_cpu_time>("threadCpuTime");
  table.job<&cuda_info>("cudaInfo");
  table.raw("cancelCreate", cancel_create);
  table.now<&cancel>("cancel");
  table.job<&use_kernels>("useKernels");
  table.job<&use_deterministic>("useDeterministic");
}

}  // namespace palm::binding
