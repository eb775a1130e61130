// An error a user can act on. At the border it becomes one of the classes in src/errors.ts, selected by `kind`.
#pragma once
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace palm {

enum class ErrorKind { argument, shape, dtype, device, disposed, handle, memory, native, numerics };

struct Error : std::exception {
  ErrorKind kind;
  std::string argument;                        // the offending argument
  std::string received;                        // the actual value
  std::string expected;                        // what would be valid
  std::string fix;                             // how to fix it; may be empty
  std::optional<double> requested, available;  // bytes, if `kind` is memory and they are known

  Error(ErrorKind kind, std::string argument, std::string received, std::string expected, std::string fix = "")
      : kind(kind),
        argument(std::move(argument)),
        received(std::move(received)),
        expected(std::move(expected)),
        fix(std::move(fix)) {}
  const char* what() const noexcept override { return expected.c_str(); }
};

// An allocation of `requested` bytes that does not fit in `where`, with `available` bytes left there if known.
Error out_of_memory(std::string where, double requested, std::optional<double> available);

}  // namespace palm
