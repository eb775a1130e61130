#include "kernels/precision.h"

namespace palm {

void route_matrix_products() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_is("intel")) at::globalContext().setFloat32MatmulPrecision("medium");
#endif
}

}  // namespace palm
