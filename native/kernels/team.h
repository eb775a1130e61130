// Several steps on the same threads, with a barrier in between: entering a parallel region costs more than a step of a
// small model takes.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>

namespace palm {

// One thread of a team, all of which run the same function.
class Member {
 public:
  // Its even share of `count` tasks.
  int64_t begin(int64_t count) const { return count * index_ / size_; }
  int64_t end(int64_t count) const { return count * (index_ + 1) / size_; }
  int64_t index() const { return index_; }
  int64_t size() const { return size_; }
  // Until all have come here. Spins for some microseconds, then sleeps: a thread that lost its core holds up no other.
  void wait();

 private:
  friend void run_team(const std::function<void(Member&)>& work);
  struct Barrier {
    std::atomic<int> arrived{0}, round{0};
  };
  Member(Barrier& barrier, int64_t index, int64_t size) : barrier_(barrier), index_(index), size_(size) {}

  Barrier& barrier_;
  int64_t index_, size_;
};

// work(member) on every thread that libtorch computes with. It must not throw.
void run_team(const std::function<void(Member&)>& work);

}  // namespace palm
