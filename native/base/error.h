// An error that a user can act on. It crosses the border as one of the classes in src/errors.ts; `kind` picks which.
#pragma once
#include <exception>
#include <string>
#include <utility>

namespace palm {

enum class ErrorKind { argument, shape, dtype, device, disposed, handle, memory, native };

struct Error : std::exception {
  ErrorKind kind;
  std::string argument;  // the thing at fault
  std::string received;  // what came
  std::string expected;  // what should have
  std::string fix;       // what to do now; may be empty

  Error(ErrorKind kind, std::string argument, std::string received, std::string expected, std::string fix = "")
      : kind(kind),
        argument(std::move(argument)),
        received(std::move(received)),
        expected(std::move(expected)),
        fix(std::move(fix)) {}
  const char* what() const noexcept override { return expected.c_str(); }
};

}  // namespace palm
