#include "binding/executor.h"

#include <algorithm>
#include <thread>

#include "base/cpu-allocator.h"
#include "base/precision.h"

namespace palm::binding {

Executor& Executor::get() {
  static Executor* const executor = new Executor();
  return *executor;
}

Executor::Executor() {
  install_cpu_allocator();
  route_matrix_products();
  std::thread([this] { run(); }).detach();
}

void Executor::post(const void* owner, std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back({owner, std::move(job)});
  }
  changed_.notify_all();
}

void Executor::drain(const void* owner) {
  std::deque<Job> dropped;  // their captures are released after the lock
  std::unique_lock lock(mutex_);
  for (auto& job : waiting_)
    if (job.owner == owner) dropped.push_back(std::move(job));
  std::erase_if(waiting_, [&](const Job& job) { return job.owner == owner; });
  changed_.wait(lock, [&] { return running_ != owner; });
  lock.unlock();
}

void Executor::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return !waiting_.empty(); });
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    running_ = job.owner;
    lock.unlock();
    job.work();
    job.work = nullptr;  // release its tensors before anyone is told that it finished
    lock.lock();
    running_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace palm::binding
