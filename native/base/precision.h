// Which library multiplies float32 matrices on the CPU, how exactly a GPU does, and whether in one order. On CPUs that
// are not Intel's, oneDNN is faster than MKL for many rows, and slower for the few of a decoding step, whose shapes it
// would compile anew as the cache grows. libtorch's older switch for this (setFloat32MatmulPrecision) must not be used:
// it also turns the float32 products of a GPU into TF32.
#pragma once
#include <ATen/Context.h>

namespace palm {

// Chooses oneDNN for this process on CPUs where it computes in float32 too: on Intel the same setting would mean
// bfloat16. On a GPU, partial sums of bfloat16 products stay in float32, and float32 products are IEEE's.
void route_matrix_products();

// How exactly a GPU multiplies now: what route_matrix_products() asked for.
bool multiplies_in_tf32();
bool sums_bfloat16_in_float32();

// Whether a GPU takes only algorithms that give the same bits each time, slower where there is a choice: attention
// whose gradient is not summed by atomic additions. The CPU's always do. To be
// turned on before the first product of a process, since cuBLAS asks once.
void use_deterministic(bool on);
bool deterministic();

// Whether float32 products of the CPU go to oneDNN now; and the switch.
bool routed_to_onednn();
void route_to_onednn(bool on);

// MKL while it lives. Everything computes on one thread, so the setting is nobody else's meanwhile.
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
