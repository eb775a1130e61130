// Native objects as JavaScript sees them: opaque, tagged objects that hold a shared pointer. `dispose` drops the
// pointer at once; pending jobs hold their own. Live tensors and the bytes behind all handles are counted per storage
// and reported to V8, so that its garbage collector also frees objects that were never disposed.
#pragma once
#include <napi.h>
#include "base/tensor.h"

#include <memory>
#include <vector>

#include "generation/slots.h"
#include "generation/token-stream.h"
#include "model/language-model.h"
#include "model/lora.h"
#include "optim/optimizer.h"
#include "rlhf/actor-critic.h"
#include "rlhf/flowrl-policy.h"
#include "rlhf/ilql-policy.h"
#include "rlhf/reward-model.h"

namespace palm::binding {

// One row per kind of handle: its name in messages, its tag, and the tensors whose storage it keeps alive.
template <class T>
struct HandleKind;
#define PALM_HANDLE(Type, Name, Tag, Storages)                                                       \
  template <>                                                                                        \
  struct HandleKind<Type> {                                                                          \
    static constexpr const char* name = Name;                                                        \
    static constexpr napi_type_tag tag = {0x9d0c5a64b1f74e21ULL, Tag};                               \
    static std::vector<at::Tensor> storages([[maybe_unused]] const Type& value) { return Storages; } \
  }
PALM_HANDLE(at::Tensor, "Tensor", 1, {value});
PALM_HANDLE(Parameter, "Parameter", 2, {value.tensor});
PALM_HANDLE(LanguageModel, "LanguageModel", 3, value.storages());
PALM_HANDLE(Scope, "Scope", 4, {value.storage()});
PALM_HANDLE(RewardModel, "RewardModel", 5, {value.storage()});
PALM_HANDLE(Policy, "Policy", 10, {});
PALM_HANDLE(ActorCritic, "ActorCritic", 6, {value.storage()});
PALM_HANDLE(Optimizer, "Optimizer", 7, {});
PALM_HANDLE(TokenStream, "TokenStream", 8, {});
PALM_HANDLE(Cancel, "Cancel", 9, {});
PALM_HANDLE(IlqlPolicy, "IlqlPolicy", 11, {value.storage()});
PALM_HANDLE(Readout, "Readout", 12, {});
PALM_HANDLE(FlowrlPolicy, "FlowrlPolicy", 13, {value.storage()});
PALM_HANDLE(Slots, "Slots", 14, {});
#undef PALM_HANDLE

struct Memory {
  int64_t live_tensors, live_bytes;
};
Memory memory();

// The part of a handle that does not depend on its type.
class HandleBase {
 public:
  virtual ~HandleBase() = default;
  virtual void dispose(Napi::Env env) = 0;
  static HandleBase* unwrap(const Napi::Value& value);  // nullptr if the value is not one of our handles

 protected:
  static void count(Napi::Env env, const std::vector<at::Tensor>& storages, bool is_tensor, int direction);
  static void wrap(Napi::Object object, HandleBase* handle, const napi_type_tag& tag);
};

[[noreturn]] void throw_wrong_handle(const char* wanted);
[[noreturn]] void throw_disposed(const char* kind);
// Destroys the value on the executor thread, where its graph or allocation was made.
void release_later(Napi::Env env, std::shared_ptr<void> value);

template <class T>
class Handle : public HandleBase {
 public:
  static Napi::Object create(Napi::Env env, std::shared_ptr<T> value) {
    auto object = Napi::Object::New(env);
    auto* handle = new Handle(env, std::move(value));
    wrap(object, handle, HandleKind<T>::tag);
    return object;
  }

  static std::shared_ptr<T> value_of(const Napi::Value& value) {
    bool tagged = false;
    if (value.IsObject()) napi_check_object_type_tag(value.Env(), value, &HandleKind<T>::tag, &tagged);
    // During worker.terminate() an object can be tagged but not wrapped.
    auto* const handle = tagged ? static_cast<Handle*>(unwrap(value)) : nullptr;
    if (!handle) throw_wrong_handle(HandleKind<T>::name);
    if (!handle->value_) throw_disposed(HandleKind<T>::name);
    return handle->value_;
  }

  void dispose(Napi::Env env) override {
    if (!value_) return;
    count(env, storages_, kIsTensor, -1);
    storages_.clear();
    release_later(env, std::move(value_));
    value_ = nullptr;
  }

 private:
  static constexpr bool kIsTensor = std::is_same_v<T, at::Tensor>;

  Handle(Napi::Env env, std::shared_ptr<T> value)
      : value_(std::move(value)), storages_(HandleKind<T>::storages(*value_)) {
    count(env, storages_, kIsTensor, +1);
  }

  std::shared_ptr<T> value_;
  std::vector<at::Tensor> storages_;
};

}  // namespace palm::binding
