#include "kernels/dispatch.h"

#include <ATen/Version.h>

#include <atomic>
#include <string>

#include "kernels/cpu/table.h"

namespace palm {

struct Tables {
  const Kernels *float32 = nullptr, *bfloat16 = nullptr;
};

static Tables cpu_tables() {
#ifdef PALM_X86
  const std::string capability = at::get_cpu_capability();
  __builtin_cpu_init();
  if (capability == "AVX512" && __builtin_cpu_supports("avx512bf16"))
    return {&cpu::avx512_bf16::float32, &cpu::avx512_bf16::bfloat16};
  if (capability == "AVX512") return {&cpu::avx512::float32, &cpu::avx512::bfloat16};
  if (capability == "AVX2") return {&cpu::avx2::float32, &cpu::avx2::bfloat16};
#endif
  return {&cpu::plain::float32, &cpu::plain::bfloat16};
}

static Tables& tables_of(at::DeviceType device) {
  static Tables cpu = cpu_tables(), cuda;
  return device == at::kCPU ? cpu : cuda;
}

void register_kernels(at::DeviceType device, const Kernels& float32, const Kernels& bfloat16) {
  tables_of(device) = {&float32, &bfloat16};
}
bool cuda_kernels_loaded() { return tables_of(at::kCUDA).float32 != nullptr; }

// Atomic: jobs run one at a time, but workers also read the switch to report what is in use.
static std::atomic<bool> in_use = true;

void use_kernels(bool on) { in_use = on; }

const Kernels* kernels_for(at::Device device, at::ScalarType dtype) {
  if (!in_use || !(device.is_cpu() || device.is_cuda())) return nullptr;
  const Tables& tables = tables_of(device.type());
  if (dtype == at::kFloat) return tables.float32;
  if (dtype == at::kBFloat16) return tables.bfloat16;
  return nullptr;
}

}  // namespace palm
