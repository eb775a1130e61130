#!/usr/bin/env bash
# Builds against the CUDA PyTorch of python3, runs every test on the GPU, then the benchmarks, and prints what it found, all
# within 8 minutes. Needs Node with node_modules in place, python3 with PyTorch, nvcc and cmake; no network.
set -uo pipefail
cd "$(dirname "$0")/.."
SECONDS=0
limit=470

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
node scripts/build-native.mjs || stop 'The addon does not build.'
[ -e build/Release/libpalm-cuda.so ] || stop 'It was built without CUDA kernels: is nvcc on the PATH? Delete build/ and try again.'
say build "done after $SECONDS s"

node dist/cli/main.js doctor || stop 'The addon does not load.'
node -e '
import("./dist/native.js").then(({ addon }) => process.exit(addon().info().cudaDevices > 0 ? 0 : 1));
' || stop 'The addon loads, but libtorch sees no GPU.'
# What is packed is compiled against one release of libtorch for all machines, not against the one here.
timeout 200 node_modules/.bin/vitest run --exclude test/packaging.test.ts
status=$?
say tests "done after $SECONDS s"

# The likeliest to be wanted first: what there is no time for is left out. Results gather in benchmarks/results/cuda.json.
for workload in train-125m decode-125m-1 decode-125m-64 train-350m train-30m train-1.3b decode-125m-256 decode-30m-1 \
  decode-350m-64 decode-1.3b-1; do
  left=$((limit - SECONDS))
  [ "$left" -gt 30 ] || { echo "No time for $workload and later ones."; break; }
  timeout "$left" benchmarks/run "$workload" --device cuda --pairs 3 || status=1
done
say all "done after $SECONDS s"
exit "$status"
