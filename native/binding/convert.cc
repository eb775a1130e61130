#include "binding/convert.h"

#include <ATen/detail/CUDAHooksInterface.h>

#include <cmath>

namespace palm::binding {

std::string camel_case(const char* snake) {
  std::string camel;
  for (bool upper = false; *snake; ++snake) {
    if (*snake == '_')
      upper = true;
    else
      camel += upper ? static_cast<char>(std::toupper(*snake)) : *snake, upper = false;
  }
  return camel;
}

// Primitives only: an object's own toString could run any code, and a symbol has none.
static std::string shown(const Napi::Value& value) {
  if (value.IsObject()) return "an object";
  return value.IsSymbol() ? "a symbol" : value.ToString().Utf8Value();
}

void throw_mismatch(const char* expected, const Napi::Value& received) {
  throw Error(ErrorKind::argument, "argument", shown(received), expected);
}

double Js<double>::from(const Napi::Value& value) {
  if (!value.IsNumber()) throw_mismatch("a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

int64_t Js<int64_t>::from(const Napi::Value& value) {
  const double number = Js<double>::from(value);
  if (number != std::floor(number) || std::abs(number) > 9007199254740991.0) throw_mismatch("a whole number", value);
  return static_cast<int64_t>(number);
}

bool Js<bool>::from(const Napi::Value& value) {
  if (!value.IsBoolean()) throw_mismatch("true or false", value);
  return value.As<Napi::Boolean>().Value();
}

std::string Js<std::string>::from(const Napi::Value& value) {
  if (!value.IsString()) throw_mismatch("a string", value);
  return value.As<Napi::String>().Utf8Value();
}

static const std::pair<const char*, at::ScalarType> kDtypes[] = {
    {"float32", at::kFloat}, {"float64", at::kDouble}, {"bfloat16", at::kBFloat16}, {"int64", at::kLong},
    {"int32", at::kInt},     {"uint8", at::kByte},     {"bool", at::kBool}};

at::ScalarType Js<at::ScalarType>::from(const Napi::Value& value) {
  const std::string wanted = Js<std::string>::from(value);
  for (const auto& [name, dtype] : kDtypes)
    if (wanted == name) return dtype;
  throw Error(ErrorKind::dtype, "dtype", wanted, "float32, float64, bfloat16, int64, int32, uint8 or bool");
}

Napi::Value Js<at::ScalarType>::to(Napi::Env env, at::ScalarType value) {
  for (const auto& [name, dtype] : kDtypes)
    if (value == dtype) return Napi::String::New(env, name);
  throw Error(ErrorKind::dtype, "dtype", at::toString(value), "a dtype with a matching JavaScript array type");
}

Gradients Js<Gradients>::from(const Napi::Value& value) {
  const std::string wanted = Js<std::string>::from(value);
  if (wanted == "none") return Gradients::none;
  if (wanted == "adapters") return Gradients::adapters;
  if (wanted == "all") return Gradients::all;
  throw Error(ErrorKind::argument, "gradients", wanted, "none, adapters or all");
}

at::Device Js<at::Device>::from(const Napi::Value& value) {
  const std::string wanted = Js<std::string>::from(value);
  const bool cuda = wanted == "cuda" || (wanted.starts_with("cuda:") && wanted.size() > 5 && wanted.size() < 8 &&
                                         wanted.find_first_not_of("0123456789", 5) == std::string::npos);
  if (wanted != "cpu" && !cuda) throw Error(ErrorKind::device, "device", wanted, "cpu, cuda or cuda:N");
  if (!cuda) return at::kCPU;
  const int count = at::detail::getCUDAHooks().deviceCount();
  const int index = wanted == "cuda" ? 0 : std::stoi(wanted.substr(5));
  if (index >= count)
    throw Error(ErrorKind::device, "device", wanted,
                count == 0 ? "cpu, as there is no usable CUDA device" : "an index below " + std::to_string(count),
                "Run `npx palm-rlhf doctor` to list the devices.");
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

Bytes Js<Bytes>::from(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw_mismatch("a Uint8Array", value);
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

}  // namespace palm::binding
