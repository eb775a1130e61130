// What the rows of losses and advantages share.
#pragma once
#include "base/error.h"
#include "binding/bindings.h"

namespace palm::binding {

void policy_loss_rows(Table& table);

// Throws unless every tensor is [B, T] like the first, of numbers, and the mask is one.
void expect_alike(std::initializer_list<std::pair<const char*, const Tensor*>> numbers, const Tensor& mask,
                  const char* named = "responseMask");

// The choice that a string names; the error of any other lists them.
template <class Choice>
Choice one_of(const Napi::Value& value, const char* argument,
              std::initializer_list<std::pair<const char*, Choice>> choices) {
  const std::string wanted = Js<std::string>::from(value);
  std::string names;
  for (const auto& [name, choice] : choices) {
    if (wanted == name) return choice;
    names += names.empty() ? name : std::string(", ") + name;
  }
  throw Error(ErrorKind::argument, argument, wanted, "one of " + names);
}

}  // namespace palm::binding
