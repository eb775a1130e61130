#include "binding/environment.h"

#include <c10/util/Exception.h>

#include <cstring>
#include <new>
#include <optional>
#include <sstream>

#include "base/available-memory.h"
#include "base/error.h"
#include "binding/executor.h"

namespace palm::binding {

struct Environment::Completion {
  Environment* environment;  // accessed on its own thread only
  Napi::Promise::Deferred deferred;
  std::function<Napi::Value(Napi::Env)> finish;
  std::exception_ptr exception;

  void settle(Napi::Env env) {
    if (!exception) {
      try {
        return deferred.Resolve(finish(env));
      } catch (const Napi::Error& error) {
        return deferred.Reject(error.Value());
      } catch (...) {
        exception = std::current_exception();
      }
    }
    deferred.Reject(environment->error(exception).Value());
  }
};

void Gate::open() {
  {
    std::lock_guard lock(mutex_);
    open_ = true;
  }
  changed_.notify_all();
}

void Gate::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return open_; });
}

Environment::Environment(Napi::Env env, Napi::Function create_error)
    : env_(env),
      create_error_(Napi::Persistent(create_error)),
      channel_(std::make_shared<Channel>()),
      closing_(std::make_shared<std::atomic<bool>>(false)) {
  napi_value name = Napi::String::New(env, "palm");
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, complete,
                                  &channel_->function);
  napi_unref_threadsafe_function(env, channel_->function);
  env.AddCleanupHook([this] { close(); });
}

Environment& Environment::of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::close() {
  if (closing_->exchange(true)) return;
  for (const auto& [key, gate] : gates_) gate->open();
  for (const auto& weak : cancels_)
    if (const auto cancel = weak.lock()) *cancel = true;
  Executor::get().drain(this);
  std::lock_guard lock(channel_->mutex);
  napi_release_threadsafe_function(channel_->function, napi_tsfn_abort);
  channel_->function = nullptr;
}

Napi::Promise Environment::run(std::function<void()> work, std::function<Napi::Value(Napi::Env)> finish) {
  if (*closing_)
    throw Error(ErrorKind::disposed, "palm-rlhf", "a call during process exit", "no calls after exit has begun");
  auto* completion = new Completion{this, Napi::Promise::Deferred::New(env_), std::move(finish), nullptr};
  const Napi::Promise promise = completion->deferred.Promise();
  if (in_flight_++ == 0) napi_ref_threadsafe_function(env_, channel_->function);  // keeps Node alive until it settles
  Executor::get().post(this, [work = std::move(work), completion, channel = channel_]() mutable {
    try {
      work();
    } catch (...) {
      completion->exception = std::current_exception();
    }
    work = nullptr;
    std::lock_guard lock(channel->mutex);
    if (!channel->function || napi_call_threadsafe_function(channel->function, completion, napi_tsfn_nonblocking))
      delete completion;
  });
  return promise;
}

void Environment::post(std::function<void()> work) { Executor::get().post(this, std::move(work)); }

void Environment::hold(const void* key) {
  const auto gate = gates_[key] = std::make_shared<Gate>();
  post([gate] { gate->wait(); });
}

void Environment::release(const void* key) {
  const auto found = gates_.find(key);
  if (found == gates_.end()) return;
  found->second->open();
  gates_.erase(found);
}

std::shared_ptr<std::atomic<bool>> Environment::make_cancel() {
  std::erase_if(cancels_, [](const auto& cancel) { return cancel.expired(); });
  auto cancel = std::make_shared<std::atomic<bool>>(false);
  cancels_.push_back(cancel);
  return cancel;
}

void Environment::complete(napi_env raw, napi_value, void*, void* data) {
  const std::unique_ptr<Completion> completion(static_cast<Completion*>(data));
  if (!raw) return;  // the environment is ending
  Environment& self = *completion->environment;
  const Napi::Env env(raw);
  const Napi::HandleScope scope(env);
  if (--self.in_flight_ == 0) napi_unref_threadsafe_function(env, self.channel_->function);
  try {
    completion->settle(env);
  } catch (const Napi::Error&) {
    // JavaScript is being stopped, and nobody is left to notify.
  }
}

static const char* name_of(ErrorKind kind) {
  static const char* const names[] = {"argument", "shape",  "dtype",  "device",  "disposed",
                                      "handle",   "memory", "native", "numerics"};
  return names[static_cast<int>(kind)];
}

// The number of bytes that libtorch reports after `words`, as "20.00 MiB" or "4096 bytes".
static std::optional<double> bytes_after(const std::string& text, const char* words) {
  static const std::pair<const char*, double> units[] = {
      {"bytes", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}};
  const size_t found = text.find(words);
  if (found == std::string::npos) return {};
  std::istringstream rest(text.substr(found + std::strlen(words)));
  double number = 0;
  std::string name;
  if (!(rest >> number >> name)) return {};
  for (const auto& [unit, bytes] : units)
    if (name.starts_with(unit)) return number * bytes;
  return {};
}

// libtorch rejects sizes whose product overflows int64 before any allocator sees them.
constexpr double kMoreThanCounts = 9223372036854775808.0;

// The error of a failed allocation, or nothing if `text` describes something else.
static std::optional<Error> describe_memory(const c10::Error& error, const std::string& text) {
  if (text.find("Storage size calculation overflowed") != std::string::npos ||
      text.find("numel: integer multiplication overflow") != std::string::npos)
    return out_of_memory("memory", kMoreThanCounts, {});
  const bool cpu = text.find("can't allocate memory") != std::string::npos;
  if (!cpu && !dynamic_cast<const c10::OutOfMemoryError*>(&error)) return {};
  const auto requested = bytes_after(text, "ried to allocate ");
  const auto available = cpu ? static_cast<double>(available_memory()) : bytes_after(text, "of which ");
  if (requested) return out_of_memory(cpu ? "memory" : "CUDA memory", *requested, available);
  return Error(ErrorKind::memory, "memory", text, "enough free memory", "Use a smaller batch or model.");
}

// Our own errors unchanged; libtorch's by class, without the twenty lines of C++ stack in their what().
static Error describe(std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ErrorKind::memory, "memory", "a failed allocation", "enough free memory", "Use a smaller batch or model."};
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (const auto memory = describe_memory(error, text)) return *memory;
    return {ErrorKind::native, "libtorch", text, "an operation that libtorch supports"};
  } catch (const std::exception& error) {
    const std::string text = error.what();
    if (text.find("cannot be converted to type") != std::string::npos)
      return {ErrorKind::argument, "a number", text, "a value that the tensor's dtype can represent"};
    return {ErrorKind::native, "libtorch", text, "an operation that libtorch supports"};
  } catch (...) {
    return {ErrorKind::native, "libtorch", "an unknown exception", "an operation that libtorch supports"};
  }
}

Napi::Error Environment::error(std::exception_ptr exception) const {
  const Error error = describe(exception);
  auto detail = Napi::Object::New(env_);
  detail.Set("argument", error.argument);
  detail.Set("received", error.received);
  detail.Set("expected", error.expected);
  if (!error.fix.empty()) detail.Set("fix", error.fix);
  if (error.requested) detail.Set("requested", *error.requested);
  if (error.available) detail.Set("available", *error.available);
  const Napi::Value value = create_error_.Value().Call({Napi::String::New(env_, name_of(error.kind)), detail});
  return Napi::Error(env_, value);
}

}  // namespace palm::binding
