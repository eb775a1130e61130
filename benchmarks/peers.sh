#!/bin/sh
# Installs what we are measured against into FOLDER: `benchmarks/peers.sh FOLDER [INDEX]`, then PALM_PEERS=FOLDER benchmarks/run.
# INDEX is where pip finds torch: the CPU wheels unless given, an empty string for the default with CUDA.
set -eu
folder=${1:?usage: benchmarks/peers.sh FOLDER [INDEX]}
index=${2-https://download.pytorch.org/whl/cpu}
mkdir -p "$folder"
cd "$folder"
python3 -m venv venv
venv/bin/pip install torch==2.13.0 ${index:+--index-url "$index"}
venv/bin/pip install PaLM-rlhf-pytorch==0.7.5 transformers trl gguf safetensors
npm init --yes > /dev/null
npm install node-llama-cpp
