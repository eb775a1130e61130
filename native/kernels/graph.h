// GPU work that is recorded once and then replayed with one launch instead of hundreds (CUDA graphs).
#pragma once
#include <functional>
#include <memory>

#include "base/tensor.h"

namespace palm {

class Graph {
 public:
  virtual ~Graph() = default;
  // Runs on the current stream. Uses the memory addresses of the recording.
  virtual void replay() = 0;
};

// Records the work that `work` launches on a CUDA device, without executing it. All of it must have run once before,
// and none of it may synchronise with the device. Tensors that `work` allocates live as long as the graph.
std::unique_ptr<Graph> capture(at::Device device, const std::function<void()>& work);

// libpalm-cuda.so calls this when it is loaded; without it graphs are not supported.
using Capture = std::unique_ptr<Graph>(at::Device, const std::function<void()>&);
__attribute__((visibility("default"))) void register_capture(Capture* capture);

}  // namespace palm
