#!/usr/bin/env bash
# Runs tests against an addon that was compiled with AddressSanitizer and UndefinedBehaviorSanitizer, in a build folder of its
# own: all tests, or the files that are given.
#
#   scripts/sanitize.sh [test/border.test.ts ...]
#
# The first error of either ends the process that made it, and its report is in the output. Memory that is never given back
# is not reported: Node.js and libtorch leave that to the exit on purpose. Needs g++, and a build by `npm run build:native`.
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

# libtorch is compiled without: what its containers hold beyond their end is unknown (detect_container_overflow), and what it
# asks for in vain has to come back as an error (allocator_may_return_null). Freed memory is held back, to find who still uses
# it, but not so much that tests of a process's size fail (quarantine_size_mb).
export PALM_RLHF_PREBUILD="$PWD/$build"
export ASAN_OPTIONS="detect_leaks=0:detect_container_overflow=0:allocator_may_return_null=1:quarantine_size_mb=8:suppressions=$PWD/scripts/sanitize.supp"
export UBSAN_OPTIONS="print_stacktrace=1"
# Before anything else in every process, children of tests included; libstdc++ so that exceptions are found to be intercepted.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so.6)" \
  node node_modules/vitest/vitest.mjs run --testTimeout 1200000 --hookTimeout 1200000 "$@"
