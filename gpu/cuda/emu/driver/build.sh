#!/usr/bin/env bash
# Builds a driver library on the emulator: build.sh DRIVER [CUBLASLT], two folders. libcuda.so.1 and libcublasLt.so.12
# are one file; CUBLASLT is the folder of the second, where it is another.
set -euo pipefail
cd "$(dirname "$0")"
out=$1
blas=${2:-$out}
mkdir -p "$out" "$blas"
rm -f "$out"/libcublasLt.so.12
g++ -std=c++17 -O3 -DSTEPFLOW_EMU -Wno-unknown-pragmas -fno-strict-aliasing -fvisibility=hidden -shared -fPIC -pthread \
  -Wl,-soname,libcuda.so.1 -o "$out/libcuda.so.1" libcuda.cpp ../emu.cpp
ln -sf "$(realpath "$out")/libcuda.so.1" "$blas/libcublasLt.so.12"
