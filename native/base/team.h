// Runs several steps on the same threads without leaving the parallel region: entering one takes longer than a step of
// a small model. Threads claim the tasks of a step in pieces, so that a thread that loses its core delays the others
// only by the piece it is working on.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

namespace palm {

// One thread of a team. All threads run the same function, so they reach the same steps in the same order.
class Worker {
 public:
  int64_t index() const { return index_; }
  int64_t size() const { return size_; }

  // The next step: work(begin, end) over `count` tasks (at least 1), in pieces of at most `max_piece`, on whichever
  // thread is free. Returns when all tasks are done.
  template <class Work>
  void parallel_for(int64_t count, int64_t max_piece, const Work& work) {
    const int64_t piece = std::clamp<int64_t>((count + size_ - 1) / size_, 1, max_piece);
    const uint32_t step = step_++;
    int64_t begin;
    while (claim(step, count, piece, &begin)) {
      const int64_t end = std::min(count, begin + piece);
      work(begin, end);
      finish(step, end - begin, count);
    }
  }

 private:
  friend void run_workers(const std::function<void(Worker&)>& work);
  struct Board {
    std::atomic<uint64_t> next{0};  // the current step, and its first unclaimed task
    std::atomic<int64_t> done{0};   // completed tasks of that step
  };
  Worker(Board& board, int64_t index, int64_t size) : board_(board), index_(index), size_(size) {}

  // Returns false once the step is complete; until then, waits if nothing is left to claim.
  bool claim(uint32_t step, int64_t count, int64_t piece, int64_t* begin);
  void finish(uint32_t step, int64_t tasks, int64_t count);

  Board& board_;
  int64_t index_, size_;
  uint32_t step_ = 0;
};

// Calls work(worker) on every thread of libtorch's pool. `work` must not throw.
void run_workers(const std::function<void(Worker&)>& work);

}  // namespace palm
