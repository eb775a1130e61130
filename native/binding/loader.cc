// palm.node: opens libtorch by absolute path, then libpalm.so from its own folder, and returns libpalm.so's exports. If
// libtorch is a CUDA build and our CUDA kernels were compiled, it opens libpalm-cuda.so as well.
//
// It links none of these libraries, so that Node can load it without libtorch and report a readable error. The
// libraries name one another without a path; the loader resolves these names to what the process has already loaded.
#include <dlfcn.h>
#include <link.h>
#include <napi.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace {

using Register = napi_value (*)(napi_env env, napi_value create_error);

[[noreturn]] void fail(const Napi::Function& create_error, const std::string& argument, const std::string& received,
                       const std::string& fix) {
  Napi::Env env = create_error.Env();
  Napi::Object detail = Napi::Object::New(env);
  detail.Set("argument", argument);
  detail.Set("received", received);
  detail.Set("fix", fix);
  throw Napi::Error(env, create_error.Call({Napi::String::New(env, "libtorch"), detail}));
}

// The reason dlopen failed, without the leading `path` that it adds unless a dependency is to blame.
std::string last_dl_error(const std::string& path) {
  const char* reason = dlerror();
  const std::string message = reason == nullptr ? "no reason given" : reason;
  const std::string prefix = path + ": ";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

void* open_or_fail(const Napi::Function& create_error, const std::string& path, const char* fix) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) fail(create_error, path, last_dl_error(path), fix);
  return library;
}

// Opens a library that only CUDA builds have; returns whether it is loaded now. Most features work without it, so
// failure is only a warning.
bool open_if_present(Napi::Env env, const std::string& path, const char* without) {
  if (access(path.c_str(), R_OK) != 0) return false;
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return true;
  const std::string warning = std::string("palm-rlhf continues without ") + without + ": " + last_dl_error("");
  Napi::Object process = env.Global().Get("process").As<Napi::Object>();
  process.Get("emitWarning").As<Napi::Function>().Call(process, {Napi::String::New(env, warning)});
  return false;
}

bool same_file(const char* a, const char* b) {
  struct stat first, second;
  return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// Another loaded file with the same name as `path` (and any version suffix); empty if there is none.
std::string loaded_elsewhere(const std::string& path) {
  struct Search {
    const std::string& path;
    std::string found;
  } search{path, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        Search& search = *static_cast<Search*>(data);
        const std::string loaded = info->dlpi_name;
        const std::string name = search.path.substr(search.path.rfind('/') + 1);
        if (!loaded.substr(loaded.rfind('/') + 1).starts_with(name)) return 0;
        if (same_file(loaded.c_str(), search.path.c_str())) return 0;
        search.found = loaded;
        return 1;
      },
      &search);
  return search.found;
}

// Two copies of libtorch would register everything twice and crash the process.
void refuse_second(const Napi::Function& create_error, const std::string& path) {
  const std::string other = loaded_elsewhere(path);
  if (other.empty()) return;
  fail(create_error, path, "a second libtorch: this process has already loaded " + other,
       "Set PALM_LIBTORCH to its folder, or use a separate process.");
}

std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&own_folder), &info) == 0) return ".";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

// load(libtorch, createError): the exports of libpalm.so for this thread's environment.
Napi::Value load(const Napi::CallbackInfo& call) {
  const std::string lib = call[0].As<Napi::String>().Utf8Value() + "/lib/";
  const Napi::Function create_error = call[1].As<Napi::Function>();

  // By default, libgomp threads spin while they wait for the next parallel region: on a busy machine that takes cores
  // from working threads; on an idle one, sleeping at once costs nothing measurable. libgomp reads this when it is
  // loaded; a value set by the user is kept.
  if (getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "0", /*overwrite=*/0);

  const char* other_libtorch =
      "Run `npx palm-rlhf libtorch install`, or choose another with `npx palm-rlhf libtorch use PATH`.";
  for (const char* name : {"libc10.so", "libtorch_cpu.so"}) refuse_second(create_error, lib + name);
  open_or_fail(create_error, lib + "libc10.so", other_libtorch);
  open_or_fail(create_error, lib + "libtorch_cpu.so", other_libtorch);
  const bool cuda = open_if_present(call.Env(), lib + "libtorch_cuda.so", "CUDA");
  open_if_present(call.Env(), lib + "libtorch.so", "libtorch.so");

  const char* rebuild = "It was compiled for libtorch " LIBTORCH_VERSION
                        "; reinstall palm-rlhf, or in a clone run `npm run build:native`.";
  const std::string palm = own_folder() + "/libpalm.so";
  void* library = open_or_fail(create_error, palm, rebuild);
  if (cuda) open_if_present(call.Env(), own_folder() + "/libpalm-cuda.so", "its own CUDA kernels");
  auto palm_register = reinterpret_cast<Register>(dlsym(library, "palm_register"));
  if (palm_register == nullptr) fail(create_error, palm, last_dl_error(palm), rebuild);
  return Napi::Value(call.Env(), palm_register(call.Env(), create_error));
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("libtorch", LIBTORCH_VERSION);
  exports.Set("load", Napi::Function::New(env, load, "load"));
  return exports;
}

}  // namespace

NODE_API_MODULE(palm, initialise)
