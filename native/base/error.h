// An error that a user can act on. It crosses the border as one of the classes in src/errors.ts; `kind` picks which.
#pragma once
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace palm {

enum class ErrorKind { argument, shape, dtype, device, disposed, handle, memory, native, numerics };

struct Error : std::exception {
  ErrorKind kind;
  std::string argument;                        // the thing at fault
  std::string received;                        // what came
  std::string expected;                        // what should have
  std::string fix;                             // what to do now; may be empty
  std::optional<double> requested, available;  // bytes, where `kind` is memory and they are known

  Error(ErrorKind kind, std::string argument, std::string received, std::string expected, std::string fix = "")
      : kind(kind),
        argument(std::move(argument)),
        received(std::move(received)),
        expected(std::move(expected)),
        fix(std::move(fix)) {}
  const char* what() const noexcept override { return expected.c_str(); }
};

// An allocation of `requested` bytes for which `where` has no room, with `available` bytes left there, if that is
// known.
Error out_of_memory(std::string where, double requested, std::optional<double> available);

}  // namespace palm
