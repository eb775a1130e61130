#!/usr/bin/env bash
# Compiles the addon against several releases of libtorch: `scripts/compile-matrix.sh FOLDER [VERSION...]`. Fetches the
# wheels with pip into FOLDER and unpacks only their headers and the libraries to link; nothing is loaded. The wheels
# are CUDA builds: if nvcc is present, the CUDA kernels are compiled too.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:?folder for wheels and builds}")
shift
[ $# -gt 0 ] || set -- 2.11.0 2.12.1 2.13.0 2.14.1

for version in "$@"; do
  torch=$folder/$version
  if [ ! -e "$torch/torch/version.py" ]; then
    python3 -m pip download --quiet --no-deps --dest "$folder/wheels" "torch===$version"
    python3 - "$folder"/wheels/torch-"$version"-*.whl "$torch" << 'PYTHON'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
libraries = {"torch/version.py"} | {f"torch/lib/lib{name}.so" for name in ("c10", "c10_cuda", "torch_cpu", "torch_cuda")}
wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith("torch/include/") or name in libraries])
PYTHON
    rm "$folder"/wheels/torch-"$version"-*.whl
  fi
  start=$SECONDS
  node_modules/.bin/cmake-js build --log-level error --out "$folder/build-$version" --parallel "$(nproc)" \
    "--CDLIBTORCH=$torch/torch" > "$folder/$version.log" 2>&1 || { grep -E 'error|warning' "$folder/$version.log"; exit 1; }
  kernels=$([ -e "$folder/build-$version/Release/libpalm-cuda.so" ] && echo with || echo without)
  echo "$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/torch/version.py"): compiled and linked in $((SECONDS - start)) s," \
    "$kernels CUDA kernels, $(grep -c 'warning:' "$folder/$version.log" || true) warnings"
done
