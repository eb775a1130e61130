#!/usr/bin/env bash
# Fills .gpu/ (at most 64 MiB) with what a GPU machine may lack – Node, modules, the addon built against its torch – for
# scripts/gpu-check.sh to run there: `scripts/gpu-pack.sh TORCH`, the torch folder of a CUDA wheel as unpacked by
# scripts/compile-matrix.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
torch=$(realpath "${1:?torch folder of a CUDA wheel}")
mkdir -p .gpu
npm run --silent build:js
[ -s .gpu/node.xz ] || xz -T0 -6 -c "$(command -v node)" > .gpu/node.xz
[ -s .gpu/modules.tar.xz ] ||
  tar --exclude=@biomejs --exclude=clang-format --exclude='*.map' -cf - node_modules | xz -T0 -6 > .gpu/modules.tar.xz
node_modules/.bin/cmake-js build --log-level error --out .gpu/build --parallel "$(nproc)" "--CDLIBTORCH=$torch"
(cd .gpu/build/Release && strip -s ./*.so palm.node && tar -cf - ./*.so palm.node) | xz -9e > .gpu/addon.tar.xz
g++ -O1 -std=c++20 -fPIC -shared -DNODE_ADDON_API_CPP_EXCEPTIONS -DNAPI_VERSION=9 -Inode_modules/node-addon-api \
  -Inode_modules/node-api-headers/include -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" \
  scripts/gpu-profile.cc -o .gpu/profile.node -L"$torch/lib" -ltorch_cpu -lc10
tar -cf - dist | xz -6 > .gpu/dist.tar.xz
changed=$(git diff --quiet HEAD -- native src || echo ', with changes')
echo "$(sed -n "s/^__version__ = '\(.*\)'/torch \1/p" "$torch/version.py"), commit $(git rev-parse --short HEAD)$changed" > .gpu/made-of
du -ch .gpu/*.xz
