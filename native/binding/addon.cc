// The table of contents of the border: every function JavaScript can call is a row of one of these tables.
#include "binding/bindings.h"
#include "binding/executor.h"
#include "binding/losses.h"

namespace palm::binding {

// Never deleted: finalizers of handles may run after the instance data's own finalizer and still use it.
void keep(Napi::Env, Environment*) {}

static Napi::Object register_all(Napi::Env env, Napi::Function create_error) {
  env.SetInstanceData<Environment, keep>(new Environment(env, create_error));
  Executor::get();  // starts with the first environment and selects the matrix library
  auto exports = Napi::Object::New(env);
  Table table(exports);
  process_rows(table);
  tensor_rows(table);
  parameter_rows(table);
  model_rows(table);
  generation_rows(table);
  rlhf_rows(table);
  advantage_rows(table);
  loss_rows(table);
  policy_loss_rows(table);
  optim_rows(table);
  return exports;
}

}  // namespace palm::binding

// loader.cc calls this once per environment.
extern "C" __attribute__((visibility("default"))) napi_value palm_register(napi_env env, napi_value create_error) {
  return palm::binding::register_all(Napi::Env(env), Napi::Function(env, create_error));
}
