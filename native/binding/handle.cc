#include "binding/handle.h"

#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "binding/environment.h"

namespace palm::binding {

// Counts the handles of each storage, so that views and parameters of one buffer are counted once.
struct Ledger {
  std::mutex mutex;
  std::unordered_map<const void*, int64_t> users;
  Memory total{0, 0};
};

static Ledger& ledger() {
  static Ledger* const ledger = new Ledger();
  return *ledger;
}

Memory memory() {
  std::lock_guard lock(ledger().mutex);
  return ledger().total;
}

void HandleBase::count(Napi::Env env, const std::vector<at::Tensor>& storages, bool is_tensor, int direction) {
  int64_t change = 0;
  {
    std::lock_guard lock(ledger().mutex);
    if (is_tensor) ledger().total.live_tensors += direction;
    for (const auto& tensor : storages) {
      if (!tensor.has_storage()) continue;
      const void* const storage = tensor.storage().unsafeGetStorageImpl();
      int64_t& users = ledger().users[storage];
      const bool counted = users > 0;
      users += direction;
      if (counted != (users > 0)) change += direction * static_cast<int64_t>(tensor.storage().nbytes());
      if (users == 0) ledger().users.erase(storage);
    }
    ledger().total.live_bytes += change;
  }
  // Must not run under the lock, as it may collect garbage. Its status is ignored: it only fails while JavaScript is
  // being stopped.
  int64_t told = 0;
  if (change != 0) napi_adjust_external_memory(env, change, &told);
}

void HandleBase::wrap(Napi::Object object, HandleBase* handle, const napi_type_tag& tag) {
  const auto finalize = [](napi_env env, void* data, void*) {
    auto* const handle = static_cast<HandleBase*>(data);
    handle->dispose(env);
    delete handle;
  };
  // Fails while JavaScript is being stopped, as by worker.terminate(): nobody will use the object then.
  if (napi_wrap(object.Env(), object, handle, finalize, nullptr, nullptr) != napi_ok)
    return finalize(object.Env(), handle, nullptr);
  napi_type_tag_object(object.Env(), object, &tag);
}

HandleBase* HandleBase::unwrap(const Napi::Value& value) {
  void* data = nullptr;
  if (!value.IsObject() || napi_unwrap(value.Env(), value, &data) != napi_ok) return nullptr;
  return static_cast<HandleBase*>(data);
}

void throw_wrong_handle(const char* wanted) {
  throw Error(ErrorKind::handle, wanted, "an object of another kind", std::string("a native ") + wanted,
              "Pass an object created by this copy of palm-rlhf.");
}

void throw_disposed(const char* kind) {
  throw Error(ErrorKind::disposed, kind, "a disposed object", "an object that is not disposed",
              "Use it before calling dispose(), or before the block of its `using` ends.");
}

void release_later(Napi::Env env, std::shared_ptr<void> value) {
  auto* const environment = env.GetInstanceData<Environment>();
  if (!environment || *environment->closing()) return;
  environment->post([value = std::move(value)]() mutable { value.reset(); });
}

}  // namespace palm::binding
