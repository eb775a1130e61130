// Lets the emulated kernels compute for tensors of the CPU, and graphs be recorded there: the addon takes the ways that
// it takes on CUDA.
#include <cstdlib>

#include "kernels/cuda/table.h"
#include "kernels/dispatch.h"
#include "kernels/graph.h"

namespace emu {
extern uint64_t seed;
}

namespace palm {

class Again : public Graph {
 public:
  explicit Again(std::function<void()> work) : work_(std::move(work)) {}
  void replay() override { work_(); }

 private:
  std::function<void()> work_;
};

static std::unique_ptr<Graph> again(at::Device, const std::function<void()>& work) {
  return std::make_unique<Again>(work);
}

static const struct Register {
  Register() {
    if (const char* const seed = std::getenv("PALM_EMULATE_CUDA")) emu::seed = std::strtoull(seed, nullptr, 10);
    register_kernels(at::kCPU, cuda::table_float32(), cuda::table_bfloat16());
    register_capture(&again);
  }
} at_load;

}  // namespace palm
