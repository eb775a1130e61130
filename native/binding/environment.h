// The state of one JavaScript environment (the main thread or a worker): a way back from the executor, and the
// constructor of its errors. Lives as long as the environment; pending jobs are dropped when that ends.
#pragma once
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace palm::binding {

// Blocks the executor until the environment has finished writing a tensor, or ends.
class Gate {
 public:
  void open();
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class Environment {
 public:
  Environment(Napi::Env env, Napi::Function create_error);
  static Environment& of(Napi::Env env);

  // Runs `work` on the executor, then `finish` here; its value resolves the promise. An exception in either rejects it.
  Napi::Promise run(std::function<void()> work, std::function<Napi::Value(Napi::Env)> finish);
  // Runs work that nobody waits for.
  void post(std::function<void()> work);

  Napi::Error error(std::exception_ptr exception) const;
  // Stops this environment's jobs and waits for the running one. Called when the process exits or the environment is
  // torn down, whichever comes first: a job still running later would use libtorch's statics while they are being
  // destroyed.
  void close();
  // Jobs called from now on wait until `release`, because the object `key` is still being written.
  void hold(const void* key);
  void release(const void* key);
  // A flag for a long job to poll; all flags are set when the environment ends.
  std::shared_ptr<std::atomic<bool>> make_cancel();
  // Set as soon as the environment starts to end.
  const std::shared_ptr<std::atomic<bool>>& closing() const { return closing_; }

 private:
  struct Completion;
  // Shared with the executor, which may outlive the environment.
  struct Channel {
    std::mutex mutex;
    napi_threadsafe_function function = nullptr;  // nullptr once closed
  };
  static void complete(napi_env env, napi_value callback, void* context, void* data);

  Napi::Env env_;
  Napi::FunctionReference create_error_;
  std::shared_ptr<Channel> channel_;
  std::shared_ptr<std::atomic<bool>> closing_;
  std::unordered_map<const void*, std::shared_ptr<Gate>> gates_;
  std::vector<std::weak_ptr<std::atomic<bool>>> cancels_;
  size_t in_flight_ = 0;
};

}  // namespace palm::binding
