#include "kernels/team.h"

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

void Member::wait() {
  if (size_ == 1) return;
  const int round = barrier_.round.load(std::memory_order_relaxed);
  if (barrier_.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    barrier_.arrived.store(0, std::memory_order_relaxed);
    barrier_.round.store(round + 1, std::memory_order_release);
    barrier_.round.notify_all();
    return;
  }
  for (int spin = 0; spin < 1000; ++spin) {
    if (barrier_.round.load(std::memory_order_acquire) != round) return;
    pause();
  }
  barrier_.round.wait(round, std::memory_order_acquire);
}

void run_team(const std::function<void(Member&)>& work) {
  Member::Barrier barrier;
#ifdef _OPENMP
  if (at::get_num_threads() > 1 && !at::in_parallel_region()) {
#pragma omp parallel
    {
      Member member(barrier, omp_get_thread_num(), omp_get_num_threads());
      work(member);
    }
    return;
  }
#endif
  Member member(barrier, 0, 1);
  work(member);
}

}  // namespace palm
