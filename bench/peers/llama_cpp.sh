#!/bin/sh
# Builds llama.cpp's benchmarks and server from the newest source on PyPI, and files of random weights in V2-Lite's shape for them.
#   bench/peers/llama_cpp.sh [FOLDER]      default: build/peers; takes 25 GB and an hour of a small machine
# AMX stays off: with it, this llama.cpp does not run MLA when GCC 12 has compiled it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/peers}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$out"

python3 -m venv venv
venv/bin/pip -q install numpy==2.4.6 gguf==0.19.0 ninja
[ -d llama.cpp ] || {
  venv/bin/pip -q download --no-binary llama-cpp-python --no-deps llama-cpp-python
  tar xf llama_cpp_python-*.tar.gz
  mv llama_cpp_python-*/vendor/llama.cpp llama.cpp
  basename llama_cpp_python-*.tar.gz .tar.gz >version
}

flags=""
for unit in AVX AVX2 BMI2 FMA F16C; do flags="$flags -DGGML_$unit=ON"; done
for unit in avx512f:AVX512 avx512_vbmi:AVX512_VBMI avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16; do
  ! grep -qw "${unit%%:*}" /proc/cpuinfo || flags="$flags -DGGML_${unit##*:}=ON"
done
# shellcheck disable=SC2086  # flags are words
cmake -S llama.cpp -B llama.cpp/build -G Ninja -DCMAKE_MAKE_PROGRAM="$out/venv/bin/ninja" -DCMAKE_BUILD_TYPE=Release \
  -DGGML_NATIVE=OFF $flags -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF >cmake.log
cmake --build llama.cpp/build --target llama-bench llama-batched-bench llama-server

for type in q4_0 q8_0; do
  for shape in v2-lite tiny; do
    [ -e "$shape-$type.gguf" ] || venv/bin/python "$here/make_gguf.py" --shape "$shape" --type "$type" "$shape-$type.gguf"
  done
done
