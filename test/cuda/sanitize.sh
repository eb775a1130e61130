#!/usr/bin/env bash
# The CUDA kernels under 20 schedules, and with the sanitizers that show their barriers and bounds: `npm run test:cuda`, minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
check() {
  echo "$1"
  test/cuda/build.sh "$folder/$1" "${@:3}"
  "$folder/$1" "$2"
}
check schedules 20
check bounds 1 -DEMULATE_WITH_THREADS -fsanitize=address,undefined -g
check barriers 1 -DEMULATE_WITH_THREADS -fsanitize=thread -g
