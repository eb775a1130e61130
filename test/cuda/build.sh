#!/usr/bin/env bash
# Compiles the CUDA kernels for the CPU, with their tests: `test/cuda/build.sh PROGRAM [FLAG...]`. Needs g++ on x64 alone.
# -fsanitize=thread proves the barriers, -fsanitize=address,undefined the bounds; the emulator itself goes without.
set -euo pipefail
program=$(realpath -m "$1")
shift
cd "$(dirname "$0")/../.."
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile() {
  [[ $1 != *emulator.cc ]] || set -- "$1"
  g++ -std=c++20 -O1 -Wall -Wextra -Wno-attributes -Wno-unknown-pragmas -Itest/cuda/shim -Itest/cuda -Inative -include emulator.h "${@:2}" \
    -x c++ -c "$1" -o "$objects/$(echo "$1" | tr / -).o"
}
export objects
export -f compile
kernels=$(ls native/kernels/*.cu | grep -v graph.cu)
printf '%s\n' $kernels test/cuda/*.cc | xargs -P "$(nproc)" -I{} bash -c 'compile "$@"' _ {} "$@"
g++ "$objects"/*.o "$@" -pthread -o "$program"
