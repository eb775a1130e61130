#!/usr/bin/env bash
# Makes an addon that computes as on CUDA, with its kernels emulated on the CPU: `test/cuda/addon/build.sh FOLDER [FLAG...]`, then
# PALM_RLHF_PREBUILD=FOLDER. It is the addon of build/Release, and beside it a libpalm.so that brings the emulated kernels and needs
# the one there. The schedule's seed is PALM_EMULATE_CUDA.
set -euo pipefail
cd "$(dirname "$0")/../../.."
release=$PWD/build/Release
folder=$1/build/Release
shift
libtorch=$(sed -n "s/^LIBTORCH:PATH=//p" build/CMakeCache.txt)
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile() {
  local source=$1 with=()
  [[ $source != *.cu && $source != *emulator.cc ]] || with=(-include emulator.h)
  g++ -std=c++20 -O2 -fPIC -fvisibility=hidden -w -Itest/cuda/shim -Itest/cuda -Inative -isystem "$libtorch/include" \
    -isystem "$libtorch/include/torch/csrc/api/include" "${with[@]}" "${@:2}" -x c++ -c "$source" -o "$objects/$(basename "$source").o"
}
export libtorch objects
export -f compile
ls native/kernels/*.cu native/kernels/cuda/table.cc test/cuda/emulator.cc test/cuda/addon/register.cc | grep -v graph.cu |
  xargs -P "$(nproc)" -I{} bash -euc 'compile "$@"' _ {} "$@"
mkdir -p "$folder"
cp "$release/palm.node" "$folder/palm.node"
g++ -shared "$objects"/*.o "$@" -Wl,-soname,libpalm-emulated.so -Wl,-rpath,"$release" -Wl,-z,nodelete -Wl,-z,undefs \
  -Wl,--no-as-needed "$release/libpalm.so" -o "$folder/libpalm.so"
