// Which library multiplies float32 matrices on the CPU, the precision of GPU products, and whether results are
// deterministic. On non-Intel CPUs, oneDNN is faster than MKL for many rows, but slower for the few rows of a decoding
// step, whose shapes it would recompile as the cache grows. Do not use libtorch's older switch for this
// (setFloat32MatmulPrecision): it also turns float32 products on a GPU into TF32.
#pragma once
#include <ATen/Context.h>

namespace palm {

// Selects oneDNN for this process on CPUs where it computes in float32: on Intel the same setting would mean bfloat16.
// On a GPU, partial sums of bfloat16 products stay in float32, and float32 products follow IEEE 754.
void route_matrix_products();

// The current precision of GPU products, as set by route_matrix_products().
bool multiplies_in_tf32();
bool sums_bfloat16_in_float32();

// Whether a GPU uses only algorithms that give the same bits each time. They can be slower: e.g. the gradient of
// attention is not summed by atomic additions. The CPU is always deterministic. Must be turned on before the first
// product of a process, since cuBLAS reads the setting only once.
void use_deterministic(bool on);
bool deterministic();

// Whether float32 CPU products currently go to oneDNN; and the switch.
bool routed_to_onednn();
void route_to_onednn(bool on);

// Uses MKL during its lifetime. Everything computes on one thread, so nobody else sees the setting.
class PreferMkl {
 public:
  PreferMkl() : before_(routed_to_onednn()) { route_to_onednn(false); }
  ~PreferMkl() { route_to_onednn(before_); }
  PreferMkl(const PreferMkl&) = delete;
  PreferMkl& operator=(const PreferMkl&) = delete;

 private:
  bool before_;
};

}  // namespace palm
