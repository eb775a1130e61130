#!/usr/bin/env bash
# Runs tests (all, or the given files) against an addon compiled with AddressSanitizer and UndefinedBehaviorSanitizer in
# its own build folder.
#
#   scripts/sanitize.sh [test/border.test.ts ...]
#
# The first error ends the process, and the output contains the report. Leaks are not reported: Node.js and libtorch
# leave memory to be freed at exit on purpose. Needs g++ and an existing build (`npm run build:native`).
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/sanitize
cached() { sed -n "s/^$1:[A-Z]*=//p" build/CMakeCache.txt; }
generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi
cmake -S . -B "$build" "${generator[@]}" -DLIBTORCH="$(cached LIBTORCH)" -DCMAKE_JS_INC="$(cached CMAKE_JS_INC)" -DPALM_CUDA=off \
  -DCMAKE_CXX_COMPILER=g++ -DCMAKE_BUILD_TYPE=Sanitize -DCMAKE_CXX_FLAGS_SANITIZE="-O1 -g1 -fno-omit-frame-pointer \
  -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined" \
  -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/$build/build/Release" > /dev/null
cmake --build "$build" --parallel "$(nproc)"

# libtorch itself is not instrumented, so the bounds of its containers are unknown (detect_container_overflow), and its
# failed allocations must be reported as errors (allocator_may_return_null). Freed memory is quarantined to catch uses
# after free, but not so much that tests of a process's size fail (quarantine_size_mb).
export PALM_RLHF_PREBUILD="$PWD/$build"
export ASAN_OPTIONS="detect_leaks=0:detect_container_overflow=0:allocator_may_return_null=1:quarantine_size_mb=8:suppressions=$PWD/scripts/sanitize.supp"
export UBSAN_OPTIONS="print_stacktrace=1"
# Preloaded before anything else in every process, including children of tests; libstdc++ so that exceptions can be
# intercepted.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so.6)" \
  node node_modules/vitest/vitest.mjs run --testTimeout 1200000 --hookTimeout 1200000 "$@"
