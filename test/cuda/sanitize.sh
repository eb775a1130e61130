#!/usr/bin/env bash
# What `npm test` has no time for, in minutes: the CUDA kernels under 20 schedules, and with the sanitizers that show their bounds and
# barriers; the addon over emulated kernels in every test that takes a device, under another schedule. `npm run test:cuda`
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

kernels() { # NAME SEEDS [FLAG...]
  echo "$1"
  test/cuda/build.sh "$folder/$1" "${@:3}"
  "$folder/$1" "$2"
}
# A sanitizer that lets a planted fault pass proves nothing.
ends() { # NAME FAULT
  if "$folder/$1" "$2" > /dev/null 2>&1; then
    echo "$1: the planted $2 stayed unseen"
    exit 1
  fi
}

kernels schedules 20
kernels bounds 1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -g
ends bounds bound
kernels barriers 1 -fsanitize=thread -g -Wno-tsan # it does not know fences: fibers of one thread need none
ends barriers race

echo 'the addon'
test/cuda/addon/build.sh "$folder"
# Not these: they measure time or memory, or start programs of the package.
files=$(grep -lE 'device.ts|parity/weights' test/*.test.ts test/parity/*.test.ts test/gradients/*.test.ts |
  grep -vE 'event-loop|memory|packaging|examples|cli')
PALM_EMULATE_CUDA=977 PALM_RLHF_PREBUILD=$folder node_modules/.bin/vitest run $files
