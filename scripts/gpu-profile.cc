// A small addon of scripts/gpu-bench.mjs: start() and stop(file) around work whose kernels libtorch's profiler shall time.
#include <napi.h>
#include <torch/csrc/autograd/profiler_kineto.h>

namespace {

using torch::profiler::impl::ActivityType;

void start(const Napi::CallbackInfo&) {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  torch::autograd::profiler::prepareProfiler(config, {ActivityType::CPU, ActivityType::CUDA});
  torch::autograd::profiler::enableProfiler(config, {ActivityType::CPU, ActivityType::CUDA});
}

void stop(const Napi::CallbackInfo& info) {
  torch::autograd::profiler::disableProfiler()->save(info[0].As<Napi::String>().Utf8Value());
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("start", Napi::Function::New(env, start));
  exports.Set("stop", Napi::Function::New(env, stop));
  return exports;
}

}  // namespace

NODE_API_MODULE(profile, initialise)
