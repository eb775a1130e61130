// Memory of CPU tensors. A training step asks for the same large blocks again and again; the system's allocator maps
// and unmaps them every time, and the kernel clears every page anew. This one keeps what was freed for the next step.
//
// It refuses with an error, ErrorKind::memory, what the system would seem to grant and then kill the process for.
#pragma once
#include <cstdint>

namespace palm {

// Makes libtorch use it, for this process. Once.
void install_cpu_allocator();

struct CpuMemory {
  int64_t live;    // bytes in large blocks that are in use
  int64_t cached;  // bytes kept for reuse
  int64_t peak;    // most bytes ever in use at once since reset_cpu_memory_peak
};
CpuMemory cpu_memory();
void reset_cpu_memory_peak();
// The most bytes that may be in use, in large blocks; 0 for no such limit.
void set_cpu_memory_limit(int64_t bytes);

}  // namespace palm
