// Work on a GPU that is recorded once and then started as a whole, by one launch instead of hundreds (CUDA graphs).
#pragma once
#include <functional>
#include <memory>

#include "base/tensor.h"

namespace palm {

class Graph {
 public:
  virtual ~Graph() = default;
  // On the current stream. It reads and writes the memory that was there when it was recorded.
  virtual void replay() = 0;
};

// Records what `work` starts on a CUDA device, without computing it. All of it must have run once before, and none of
// it may wait for the device. Tensors that `work` makes live as long as the graph.
std::unique_ptr<Graph> capture(at::Device device, const std::function<void()>& work);

// Called by libpalm-cuda.so when it is loaded; without it there is nothing to capture with.
using Capture = std::unique_ptr<Graph>(at::Device, const std::function<void()>&);
__attribute__((visibility("default"))) void register_capture(Capture* capture);

}  // namespace palm
