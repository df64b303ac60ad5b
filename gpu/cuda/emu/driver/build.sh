#!/usr/bin/env bash
# Builds a driver library on the emulator in the folder given: libcuda.so.1 and libcublasLt.so.12 are one file.
set -euo pipefail
cd "$(dirname "$0")"
out=$1
mkdir -p "$out"
g++ -std=c++17 -O3 -DSTEPFLOW_EMU -Wno-unknown-pragmas -fno-strict-aliasing -fvisibility=hidden -shared -fPIC -pthread \
  -Wl,-soname,libcuda.so.1 -o "$out/libcuda.so.1" libcuda.cpp ../emu.cpp
ln -sf libcuda.so.1 "$out/libcublasLt.so.12"
