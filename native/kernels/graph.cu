#include "kernels/graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>

namespace palm::cuda {

// The stream on which a device's graphs are recorded. Only one per device, as each stream keeps its own workspace for
// products.
static c10::cuda::CUDAStream capture_stream(c10::DeviceIndex device) {
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> all;  // accessed by the executor thread only
  const auto found = all.find(device);
  if (found != all.end()) return found->second;
  return all.emplace(device, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)).first->second;
}

class CudaGraph : public Graph {
 public:
  CudaGraph(at::Device device, const std::function<void()>& work) {
    // Recording needs a stream of its own. Other threads may keep using the device meanwhile.
    const c10::cuda::CUDAStreamGuard guard(capture_stream(device.index()));
    graph_.capture_begin(/*pool=*/{0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      end_after_failure();
      throw;
    }
    graph_.capture_end();
  }

  void replay() override { graph_.replay(); }

 private:
  // Takes the stream out of capture mode; the error of the failed recording is already known.
  void end_after_failure() {
    try {
      graph_.capture_end();
    } catch (const c10::Error&) {
    }
  }

  at::cuda::CUDAGraph graph_;
};

static std::unique_ptr<Graph> capture(at::Device device, const std::function<void()>& work) {
  return std::make_unique<CudaGraph>(device, work);
}

static const struct Register {
  Register() { register_capture(&capture); }
} at_load;

}  // namespace palm::cuda
