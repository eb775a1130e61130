#include "base/team.h"

#include <ATen/Parallel.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace palm {

static void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

static uint64_t packed(uint32_t step, int64_t task) { return uint64_t{step} << 32 | static_cast<uint32_t>(task); }
static uint32_t step_in(uint64_t next) { return static_cast<uint32_t>(next >> 32); }
static int64_t task_in(uint64_t next) { return static_cast<uint32_t>(next); }

bool Worker::claim(uint32_t step, int64_t count, int64_t piece, int64_t* begin) {
  constexpr int kSpins = 1000;  // a few microseconds: longer than most steps, shorter than a scheduler time slice
  uint64_t next = board_.next.load(std::memory_order_acquire);
  for (int spin = 0; step_in(next) == step; ++spin) {
    *begin = task_in(next);
    if (*begin < count) {
      const uint64_t after = packed(step, std::min(count, *begin + piece));
      if (board_.next.compare_exchange_weak(next, after, std::memory_order_acq_rel)) return true;
      continue;
    }
    if (spin < kSpins)
      pause();
    else
      board_.next.wait(next, std::memory_order_acquire);
    next = board_.next.load(std::memory_order_acquire);
  }
  return false;
}

void Worker::finish(uint32_t step, int64_t tasks, int64_t count) {
  if (board_.done.fetch_add(tasks, std::memory_order_acq_rel) + tasks < count) return;
  board_.done.store(0, std::memory_order_relaxed);
  board_.next.store(packed(step + 1, 0), std::memory_order_release);
  board_.next.notify_all();
}

void run_workers(const std::function<void(Worker&)>& work) {
  Worker::Board board;
#ifdef _OPENMP
  if (at::get_num_threads() > 1 && !at::in_parallel_region()) {
#pragma omp parallel
    {
      Worker worker(board, omp_get_thread_num(), omp_get_num_threads());
      work(worker);
    }
    return;
  }
#endif
  Worker worker(board, 0, 1);
  work(worker);
}

}  // namespace palm
