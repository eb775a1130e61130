// The allocator of CPU tensors. A training step requests the same large blocks again and again; the system's allocator
// maps and unmaps them every time, and the kernel clears every page anew. This allocator keeps freed blocks for the
// next step.
//
// It throws ErrorKind::memory instead of letting Linux overcommit and the OOM killer end the process.
#pragma once
#include <cstdint>

namespace palm {

// Makes libtorch use this allocator in this process. Call once.
void install_cpu_allocator();

struct CpuMemory {
  int64_t live;    // bytes of large blocks in use
  int64_t cached;  // bytes kept for reuse
  int64_t peak;    // max bytes in use at once since reset_cpu_memory_peak
};
CpuMemory cpu_memory();
void reset_cpu_memory_peak();
// Limits the bytes in use by large blocks; 0 removes the limit.
void set_cpu_memory_limit(int64_t bytes);

}  // namespace palm
