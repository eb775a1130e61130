// The one thread on which everything computes, for all environments of the process. Jobs run in the order of their
// calls: libtorch's grad mode, generators and streams belong to a thread, and order is what readers of a script assume.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace palm::binding {

class Executor {
 public:
  // Never destroyed: a static's destructor would race with libtorch's own at exit.
  static Executor& get();

  // `owner` tells whose job it is, so that an environment can take its own back.
  void post(const void* owner, std::function<void()> job);
  // Drops the waiting jobs of `owner` and waits for the running one: afterwards none of its code runs.
  void drain(const void* owner);

 private:
  Executor();
  void run();

  struct Job {
    const void* owner;
    std::function<void()> work;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  const void* running_ = nullptr;
};

}  // namespace palm::binding
