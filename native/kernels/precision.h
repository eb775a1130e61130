// Which library multiplies float32 matrices on the CPU. On CPUs that are not Intel's, oneDNN is faster than MKL
// for many rows, and slower for the few of a decoding step, whose shapes it would compile anew as the cache grows.
#pragma once
#include <ATen/Context.h>

namespace palm {

// Chooses oneDNN for this process, where it computes in float32 too: on Intel the same setting would mean bfloat16.
void route_matrix_products();

// MKL while it lives. Everything computes on one thread, so the setting is nobody else's meanwhile.
class FewRows {
 public:
  FewRows() : before_(at::globalContext().float32MatmulPrecision()) {
    at::globalContext().setFloat32MatmulPrecision("highest");
  }
  ~FewRows() {
    if (before_ != at::Float32MatmulPrecision::HIGHEST) at::globalContext().setFloat32MatmulPrecision("medium");
  }
  FewRows(const FewRows&) = delete;
  FewRows& operator=(const FewRows&) = delete;

 private:
  at::Float32MatmulPrecision before_;
};

}  // namespace palm
