// Several steps on the same threads without leaving the parallel region: entering one costs more than a step of a small
// model takes. Threads claim the tasks of a step piece by piece, so that one that lost its core for a while holds up
// the others by the piece that it has in hand, and by no step that they can finish alone.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

namespace palm {

// One thread of a team. All of them run the same function, and so come to the same steps in the same order.
class Worker {
 public:
  int64_t index() const { return index_; }
  int64_t size() const { return size_; }

  // The next step: work(begin, end) over `count` tasks, at least 1, in pieces of at most `most`, on whoever has time.
  // Returns when all of it is done.
  template <class Work>
  void parallel_for(int64_t count, int64_t most, const Work& work) {
    const int64_t piece = std::clamp<int64_t>((count + size_ - 1) / size_, 1, most);
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
    std::atomic<uint64_t> next{0};  // the step that is under way, and the first of its tasks that nobody has claimed
    std::atomic<int64_t> done{0};   // tasks of it
  };
  Worker(Board& board, int64_t index, int64_t size) : board_(board), index_(index), size_(size) {}

  // False once the step is over; until then waits if there is nothing left to claim.
  bool claim(uint32_t step, int64_t count, int64_t piece, int64_t* begin);
  void finish(uint32_t step, int64_t tasks, int64_t count);

  Board& board_;
  int64_t index_, size_;
  uint32_t step_ = 0;
};

// work(worker) on every thread that libtorch computes with. It must not throw.
void run_workers(const std::function<void(Worker&)>& work);

}  // namespace palm
