#!/usr/bin/env bash
# Every check that a few minutes on a GPU allow, most important first: `scripts/gpu-check.sh [SECONDS]`. Each step has a
# time limit, is skipped when no time is left, and writes its result to $OUT at once. Needs .gpu/ as filled by
# scripts/gpu-pack.sh and python3 with a CUDA PyTorch, but no network. With `--small` as second argument it rehearses
# everything that does not need a GPU, with the emulated kernels that PALM_RLHF_PREBUILD names
# (test/cuda/addon/build.sh).
set -uo pipefail
cd "$(dirname "$0")/.."
limit=${1:-420} small=${2:-} SECONDS=0 OUT=${OUT:-/tmp/gpu-check}
mkdir -p "$OUT" .gpu/bin
export OUT PATH=$PWD/.gpu/bin:$PATH:/usr/local/cuda/bin
exec > >(tee -a "$OUT/log.txt") 2>&1

# step NAME SECONDS COMMAND...: runs COMMAND for at most SECONDS and never longer than the time left
step() {
  local name=$1 most=$2 left=$((limit - SECONDS)) began=$SECONDS status
  shift 2
  [ "$left" -gt 8 ] || { echo "== $name: no time left"; return 1; }
  [ "$most" -lt "$left" ] || most=$((left - 4))
  echo "== $name (at $SECONDS s, at most $most s)"
  timeout --kill-after=5 "$most" "$@"
  status=$?
  echo "== $name: exit $status after $((SECONDS - began)) s"
  return $status
}

unpack() {
  python3 -c '
import lzma, shutil, tarfile
trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
shutil.copyfileobj(lzma.open(".gpu/node.xz"), open(".gpu/bin/node", "wb"))
for name, place in (("modules", "."), ("dist", "."), ("addon", "build/Release")):
    tarfile.open(f".gpu/{name}.tar.xz").extractall(place, **trusted)'
  chmod +x .gpu/bin/node
}
export -f unpack

machine() {
  cat .gpu/made-of
  lscpu | grep -E 'Vendor ID|Model name'
  node --version
  command -v nvidia-smi > /dev/null || return 0
  nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.max.sm,power.limit --format=csv,noheader
  nvcc --version | tail -2 | head -1
}
export -f machine

step unpack 40 bash -c unpack
if [ -n "$small" ]; then
  export PALM_TEST_DEVICE=cpu PALM_EMULATE_CUDA=1
else
  PALM_LIBTORCH=$(python3 -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("torch").origin))')
  export PALM_LIBTORCH PALM_TEST_DEVICE=cuda
fi
step machine 15 bash -c machine
step doctor 40 node dist/cli/main.js doctor || { step build 150 node scripts/build-native.mjs && step doctor 40 node dist/cli/main.js doctor; }
step smoke 120 node scripts/gpu-smoke.mjs "$PALM_TEST_DEVICE"
[ -n "$small" ] || step shapes 45 python3 scripts/gpu-shapes.py
step 125m 75 node scripts/gpu-bench.mjs 125m train decode-1 decode-64 decode-512 ppo $small
[ -n "$small" ] || [ ! -e .gpu/profile.node ] || step profile 60 env PALM_PROFILE="$PWD/.gpu/profile.node" \
  node scripts/gpu-bench.mjs 125m train decode-1 decode-64 ppo
step smollm2 60 node scripts/gpu-bench.mjs smollm2 decode-1 plain-1 decode-64 $small
step 350m 45 node scripts/gpu-bench.mjs 350m train decode-64 $small
step 1.3b 75 node scripts/gpu-bench.mjs 1.3b train decode-1 $small
step tests 150 node_modules/.bin/vitest run --maxWorkers=6 --reporter=./scripts/gpu-reporter.mjs \
  $(grep -lE 'device.ts|parity/weights' test/*.test.ts test/parity/*.test.ts | grep -vE 'event-loop|memory|packaging')
echo "== all: $SECONDS s"
