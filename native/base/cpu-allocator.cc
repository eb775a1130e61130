#include "base/cpu-allocator.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>

#include "base/available-memory.h"
#include "base/error.h"

namespace palm {

constexpr size_t kLarge = 256 * 1024;  // smaller blocks are left to the system's allocator, which handles them well
constexpr size_t kAbsurd = size_t{1} << 47;  // larger than any address space
constexpr int64_t kSlack = 64 * 1024 * 1024;
constexpr int64_t kAsk = 16 * 1024 * 1024;      // newly mapped bytes between two queries of the memory that is left
constexpr int64_t kReserve = 64 * 1024 * 1024;  // left for everything else in the process

// Sizes are rounded up in steps of an eighth of their power of two, so that blocks can be reused though shapes vary a
// little.
static size_t rounded(size_t bytes) {
  size_t step = kLarge / 8;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

class Cache {
 public:
  void* take(size_t wanted) {
    if (wanted > kAbsurd) throw out_of_memory("memory", static_cast<double>(wanted), available_memory());
    const size_t bytes = rounded(wanted);
    const std::lock_guard lock(mutex_);
    if (limit_ > 0 && memory_.live + static_cast<int64_t>(bytes) > limit_)
      throw out_of_memory("memory.limit", static_cast<double>(wanted), std::max<int64_t>(limit_ - memory_.live, 0));
    void* block = nullptr;
    if (const auto free = free_.find(bytes); free != free_.end()) {
      block = free->second;
      free_.erase(free);
      memory_.cached -= static_cast<int64_t>(bytes);
    } else {
      make_room(static_cast<int64_t>(bytes));
      block = map(bytes);
      if (block == nullptr) {
        release(0);
        block = map(bytes);
      }
      if (block == nullptr) throw out_of_memory("memory", static_cast<double>(wanted), left());
    }
    sizes_[block] = bytes;
    memory_.live += static_cast<int64_t>(bytes);
    memory_.peak = std::max(memory_.peak, memory_.live);
    recent_peak_ = std::max(recent_peak_, memory_.live);
    return block;
  }

  // Returns false if this cache did not allocate the block.
  bool give(void* block) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(block);
    if (found == sizes_.end()) return false;
    const size_t bytes = found->second;
    sizes_.erase(found);
    memory_.live -= static_cast<int64_t>(bytes);
    free_.emplace(bytes, block);
    memory_.cached += static_cast<int64_t>(bytes);
    if (++frees_ % kWindow == 0) {
      earlier_peak_ = recent_peak_;
      recent_peak_ = memory_.live;
    }
    make_room(0);
    return true;
  }

  CpuMemory memory() {
    const std::lock_guard lock(mutex_);
    return memory_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    memory_.peak = memory_.live;
  }

  void set_limit(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
  }

 private:
  static constexpr int64_t kWindow = 4096;

  // New memory, or nullptr if there is none. Linux maps more than it has, then kills the process that writes to it.
  void* map(size_t bytes) {
    const int64_t unasked = unasked_ + static_cast<int64_t>(bytes);
    if (unasked >= kAsk && static_cast<int64_t>(bytes) > left()) return nullptr;
    void* const block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
    unasked_ = unasked >= kAsk ? 0 : unasked;
    return block;
  }

  // What the system has left for large blocks, minus what is mapped but not written to yet.
  int64_t left() const {
    const int64_t untouched = std::max<int64_t>(memory_.live + memory_.cached - resident_memory(), 0);
    return std::max<int64_t>(available_memory() - untouched - kReserve, 0);
  }

  // Keeps the total of used and cached blocks within the recent peak of use plus a little slack.
  void make_room(int64_t wanted) {
    const int64_t bound = std::max({recent_peak_, earlier_peak_, memory_.live + wanted}) + kSlack;
    release(std::max<int64_t>(bound - memory_.live - wanted, 0));
  }

  // Unmaps cached blocks, largest first, until at most `allowed` bytes of them are left.
  void release(int64_t allowed) {
    while (memory_.cached > allowed) {
      const auto last = std::prev(free_.end());
      munmap(last->second, last->first);
      memory_.cached -= static_cast<int64_t>(last->first);
      free_.erase(last);
    }
  }

  std::mutex mutex_;
  std::multimap<size_t, void*> free_;
  std::unordered_map<void*, size_t> sizes_;
  CpuMemory memory_{};
  int64_t recent_peak_ = 0, earlier_peak_ = 0, frees_ = 0;
  int64_t limit_ = 0, unasked_ = 0;
};

// Never destroyed: tensors may outlive all statics.
static Cache& cache() {
  static Cache* const only = new Cache;
  return *only;
}

// oneDNN frees blocks of any size through this one function. Blocks of the cache are page-aligned, few others are.
static void give_back(void* block) {
  const bool page = reinterpret_cast<uintptr_t>(block) % 4096 == 0;
  if (!page || !cache().give(block)) c10::free_cpu(block);
}

class CpuAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const block = bytes >= kLarge ? cache().take(bytes) : c10::alloc_cpu(bytes);
    return {block, block, give_back, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};

void install_cpu_allocator() { c10::SetCPUAllocator(new CpuAllocator, /*priority=*/1); }
CpuMemory cpu_memory() { return cache().memory(); }
void reset_cpu_memory_peak() { cache().reset_peak(); }
void set_cpu_memory_limit(int64_t bytes) { cache().set_limit(bytes); }

}  // namespace palm
