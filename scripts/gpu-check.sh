#!/usr/bin/env bash
# Builds against the CUDA PyTorch of python3, runs every test on the GPU, then the benchmarks, and prints what it found.
# Needs Node with node_modules in place, python3 with PyTorch, nvcc and cmake; no network.
set -uo pipefail
cd "$(dirname "$0")/.."

say() { printf '%-12s%s\n' "$1" "$2"; }
stop() { echo "$1" >&2; exit 1; }
first_line() { "$@" 2> /dev/null | head -1; }

PALM_LIBTORCH=$(python3 -c '
import importlib.util, os
spec = importlib.util.find_spec("torch")
print(os.path.dirname(spec.origin) if spec and spec.origin else "")')
[ -n "$PALM_LIBTORCH" ] || stop 'python3 has no torch.'
[ -e "$PALM_LIBTORCH/lib/libtorch_cuda.so" ] || stop "$PALM_LIBTORCH is not a CUDA build of PyTorch."
export PALM_LIBTORCH PALM_TEST_DEVICE=cuda

say gpu "$(first_line nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || echo none)"
say libtorch "$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$PALM_LIBTORCH/version.py") in $PALM_LIBTORCH"
say nvcc "$(nvcc --version 2> /dev/null | sed -n 's/.*release //p')"
say cmake "$(first_line cmake --version)"
say node "$(node --version)"

node_modules/.bin/tsc || stop 'The TypeScript does not compile.'
start=$SECONDS
node scripts/build-native.mjs || stop 'The addon does not build.'
say build "$((SECONDS - start)) s"

node -e '
import("./dist/native.js").then(({ addon }) => process.exit(addon().info().cudaDevices > 0 ? 0 : 1));
' || stop 'The addon loads, but libtorch sees no GPU.'
# What is packed is compiled against one release of libtorch for all machines, not against the one here.
node_modules/.bin/vitest run --exclude test/packaging.test.ts
status=$?

for benchmark in benchmarks/*.mjs; do
  [ -e "$benchmark" ] || continue
  echo "== $benchmark"
  timeout 300 node "$benchmark" || status=1
done
exit "$status"
