// The one thread on which everything computes, for all environments of the process. Jobs run in call order: libtorch's
// grad mode, generators and streams belong to a thread, and that is the order a reader of the script expects.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace palm::binding {

class Executor {
 public:
  // Never destroyed: the destructor of a static would race with libtorch's own at exit.
  static Executor& get();

  // `owner` identifies the environment, so that it can drop its own jobs.
  void post(const void* owner, std::function<void()> job);
  // Drops the waiting jobs of `owner` and waits for the running one: none of its code runs after this returns.
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
