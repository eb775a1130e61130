// Converts values at the border by their C++ types, so that the tables of rows need no logic of their own. A row names
// a function; its parameters determine what JavaScript must pass, its result what JavaScript gets back.
#pragma once
#include <napi.h>

#include <cctype>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "binding/environment.h"
#include "binding/handle.h"

namespace palm::binding {

// "clip_range" → "clipRange": the only renaming rule between the two languages.
std::string camel_case(const char* snake);

[[noreturn]] void throw_mismatch(const char* expected, const Napi::Value& received);

// Js<T>::from(value) and Js<T>::to(env, value).
template <class T>
struct Js;

template <>
struct Js<double> {
  static double from(const Napi::Value& value);
  static Napi::Value to(Napi::Env env, double value) { return Napi::Number::New(env, value); }
};
template <>
struct Js<int64_t> {
  static int64_t from(const Napi::Value& value);
  static Napi::Value to(Napi::Env env, int64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }
};
template <>
struct Js<bool> {
  static bool from(const Napi::Value& value);
  static Napi::Value to(Napi::Env env, bool value) { return Napi::Boolean::New(env, value); }
};
template <>
struct Js<std::string> {
  static std::string from(const Napi::Value& value);
  static Napi::Value to(Napi::Env env, const std::string& value) { return Napi::String::New(env, value); }
};
template <>
struct Js<at::ScalarType> {
  static at::ScalarType from(const Napi::Value& value);
  static Napi::Value to(Napi::Env env, at::ScalarType value);
};
template <>
struct Js<at::Device> {
  static at::Device from(const Napi::Value& value);  // throws if this machine lacks the device
  static Napi::Value to(Napi::Env env, at::Device value) { return Napi::String::New(env, value.str()); }
};

template <class T>
struct Js<std::optional<T>> {
  static std::optional<T> from(const Napi::Value& value) {
    if (value.IsUndefined() || value.IsNull()) return {};
    return Js<T>::from(value);
  }
  static Napi::Value to(Napi::Env env, const std::optional<T>& value) {
    return value ? Js<T>::to(env, *value) : env.Undefined();
  }
};

template <class T>
struct Js<std::vector<T>> {
  static std::vector<T> from(const Napi::Value& value) {
    if (!value.IsArray()) throw_mismatch("an array", value);
    const auto array = value.As<Napi::Array>();
    std::vector<T> all;
    for (uint32_t i = 0; i < array.Length(); ++i) all.push_back(Js<T>::from(array.Get(i)));
    return all;
  }
  static Napi::Value to(Napi::Env env, const std::vector<T>& values) {
    auto array = Napi::Array::New(env, values.size());
    for (uint32_t i = 0; i < values.size(); ++i) array.Set(i, Js<T>::to(env, values[i]));
    return array;
  }
};

template <>
struct Js<Gradients> {
  static Gradients from(const Napi::Value& value);
};

// An enum crosses as a word: PALM_WORDS lists them once.
template <class E>
E word_from(const Napi::Value& value, const char* argument, std::initializer_list<std::pair<const char*, E>> words) {
  const std::string wanted = Js<std::string>::from(value);
  std::string known;
  for (const auto& [word, meaning] : words) {
    if (wanted == word) return meaning;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  throw Error(ErrorKind::argument, argument, wanted, "one of " + known);
}
#define PALM_WORDS(Enum, argument, ...)                                                                    \
  template <>                                                                                              \
  struct Js<Enum> {                                                                                        \
    static Enum from(const Napi::Value& value) { return word_from<Enum>(value, argument, {__VA_ARGS__}); } \
  }

// Handles. A null pointer becomes undefined.
template <class T>
struct Js<std::shared_ptr<T>> {
  static std::shared_ptr<T> from(const Napi::Value& value) {
    if (value.IsUndefined()) return nullptr;
    return Handle<T>::value_of(value);
  }
  static Napi::Value to(Napi::Env env, const std::shared_ptr<T>& value) {
    return value ? Handle<T>::create(env, value) : env.Undefined();
  }
};
// Jobs without a cancel flag of their own still stop when their environment ends.
template <>
struct Js<std::shared_ptr<Cancel>> {
  static std::shared_ptr<Cancel> from(const Napi::Value& value) {
    if (value.IsUndefined()) return Environment::of(value.Env()).closing();
    return Handle<Cancel>::value_of(value);
  }
};
template <>
struct Js<at::Tensor> {
  static at::Tensor from(const Napi::Value& value) { return *Handle<at::Tensor>::value_of(value); }
  static Napi::Value to(Napi::Env env, const at::Tensor& value) {
    return Handle<at::Tensor>::create(env, std::make_shared<at::Tensor>(value));
  }
};

// The bytes of a Uint8Array. The caller of a job must not modify them until the promise settles.
struct Bytes {
  uint8_t* data;
  size_t length;
};
template <>
struct Js<Bytes> {
  static Bytes from(const Napi::Value& value);
};

// A struct crosses as an object: Fields<S>::visit lists its members once for both directions.
template <class S>
struct Fields;
#define PALM_FIELD(member) visitor(#member, value.member)
#define PALM_FIELDS(Struct, ...)                       \
  template <>                                          \
  struct Fields<Struct> {                              \
    using Type = Struct;                               \
    template <class Value, class Visitor>              \
    static void visit(Value& value, Visitor visitor) { \
      __VA_ARGS__;                                     \
    }                                                  \
  }

template <class S>
  requires requires { typename Fields<S>::Type; }
struct Js<S> {
  static S from(const Napi::Value& value) {
    if (!value.IsObject()) throw_mismatch("an object", value);
    const auto object = value.As<Napi::Object>();
    S result{};
    Fields<S>::visit(result, [&](const char* name, auto& member) {
      member = Js<std::decay_t<decltype(member)>>::from(object.Get(camel_case(name)));
    });
    return result;
  }
  static Napi::Value to(Napi::Env env, const S& value) {
    auto object = Napi::Object::New(env);
    Fields<S>::visit(value, [&](const char* name, const auto& member) {
      object.Set(camel_case(name), Js<std::decay_t<decltype(member)>>::to(env, member));
    });
    return object;
  }
};

// A parameter of a bound function: what is stored while the job waits, and what the function receives.
template <class P>
struct Param {
  using Held = std::decay_t<P>;
  static Held take(const Napi::Value& value) { return Js<Held>::from(value); }
  static Held& give(Held& held) { return held; }
};
template <class T>
concept HandledClass = requires { HandleKind<std::remove_const_t<T>>::tag; } && !
std::is_same_v<std::remove_const_t<T>, at::Tensor>;
template <HandledClass T>
struct Param<T&> {
  using Held = std::shared_ptr<std::remove_const_t<T>>;
  static Held take(const Napi::Value& value) { return Handle<std::remove_const_t<T>>::value_of(value); }
  static T& give(Held& held) { return *held; }
};
template <HandledClass T>
struct Param<T*> {
  using Held = std::shared_ptr<std::remove_const_t<T>>;
  static Held take(const Napi::Value& value) { return Js<Held>::from(value); }
  static T* give(Held& held) { return held.get(); }
};

template <class F>
struct Signature;
template <class R, class... A>
struct Signature<R (*)(A...)> {
  using Result = R;
  using Params = std::tuple<Param<A>...>;
  static constexpr bool borrows = (std::is_same_v<std::decay_t<A>, Bytes> || ...);
};
template <class R, class C, class... A>
struct Signature<R (C::*)(A...)> : Signature<R (*)(C&, A...)> {};
template <class R, class C, class... A>
struct Signature<R (C::*)(A...) const> : Signature<R (*)(C&, A...)> {};

// A call whose arguments are already converted to C++.
template <auto fn>
class Call {
  using S = Signature<decltype(fn)>;
  using Params = typename S::Params;
  template <size_t I>
  using ParamAt = std::tuple_element_t<I, Params>;
  using Indices = std::make_index_sequence<std::tuple_size_v<Params>>;

 public:
  using Result = typename S::Result;
  static constexpr bool borrows = S::borrows;

  explicit Call(const Napi::CallbackInfo& info) : held_(take(info, Indices())) {}
  Result operator()() { return invoke(Indices()); }

 private:
  template <size_t... I>
  static auto take(const Napi::CallbackInfo& info, std::index_sequence<I...>) {
    return std::tuple<typename ParamAt<I>::Held...>{ParamAt<I>::take(info[I])...};
  }
  template <size_t... I>
  Result invoke(std::index_sequence<I...>) {
    return std::invoke(fn, ParamAt<I>::give(std::get<I>(held_))...);
  }
  decltype(take(std::declval<const Napi::CallbackInfo&>(), Indices())) held_;
};

// The rows of the border.
class Table {
 public:
  explicit Table(Napi::Object exports) : exports_(exports) {}

  // Runs on the calling thread: allocates, names or releases, but never computes.
  template <auto fn>
  void now(const char* name) {
    add(name, [](const Napi::CallbackInfo& info) -> Napi::Value {
      try {
        Call<fn> call(info);
        if constexpr (std::is_void_v<typename Call<fn>::Result>)
          return call(), info.Env().Undefined();
        else
          return Js<std::decay_t<typename Call<fn>::Result>>::to(info.Env(), call());
      } catch (const Napi::Error&) {
        throw;
      } catch (...) {
        throw Environment::of(info.Env()).error(std::current_exception());
      }
    });
  }

  // Runs on the executor and returns a promise to JavaScript.
  template <auto fn>
  void job(const char* name) {
    add(name, [](const Napi::CallbackInfo& info) -> Napi::Value {
      Environment& environment = Environment::of(info.Env());
      try {
        return queue(environment, info, std::make_shared<Call<fn>>(info));
      } catch (const Napi::Error& error) {
        return rejected(info.Env(), error);
      } catch (...) {
        return rejected(info.Env(), environment.error(std::current_exception()));
      }
    });
  }

  // For the few rows that concern the border itself.
  void raw(const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) { add(name, function); }

 private:
  void add(const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports_.Set(name, Napi::Function::New(exports_.Env(), function, name));
  }
  static Napi::Value rejected(Napi::Env env, const Napi::Error& error) {
    auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error.Value());
    return deferred.Promise();
  }

  template <class C>
  static Napi::Value queue(Environment& environment, const Napi::CallbackInfo& info, std::shared_ptr<C> call) {
    // Memory borrowed from JavaScript must not be collected: the last argument keeps it alive until the promise
    // settles.
    std::shared_ptr<Napi::ObjectReference> lent;
    if constexpr (C::borrows)
      lent = std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[info.Length() - 1].As<Napi::Object>()));
    if constexpr (std::is_void_v<typename C::Result>) {
      return environment.run([call = std::move(call)] { (*call)(); },
                             [lent](Napi::Env env) -> Napi::Value { return env.Undefined(); });
    } else {
      using Result = std::decay_t<typename C::Result>;
      auto result = std::make_shared<std::optional<Result>>();
      return environment.run([call = std::move(call), result] { result->emplace((*call)()); },
                             [lent, result](Napi::Env env) -> Napi::Value { return Js<Result>::to(env, **result); });
    }
  }

  Napi::Object exports_;
};

// Creates objects whose constructor only allocates.
template <class T, class Base, class... Args>
std::shared_ptr<Base> make(Args... args) {
  return std::make_shared<T>(args...);
}

}  // namespace palm::binding
