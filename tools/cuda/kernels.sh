#!/usr/bin/env bash
# Compiles gpu/cuda/kernels to the images that stepflow-cuda embeds; -check compiles the PTX only, and keeps nothing.
cd "$(dirname "$0")/../.."
. tools/cuda/env.sh
cuda_wheels
export LD_LIBRARY_PATH=$NVIDIA/cuda_nvrtc/lib # where NVRTC finds its builtins
CGO_ENABLED=0 go build -o bin/nvrtc ./gpu/cuda/nvrtc
images="sm_80.cubin sm_89.cubin sm_90a.cubin compute_80.ptx"
if [ "${1:-}" = -check ]; then
  shift
  images=compute_80.ptx
  set -- -o "$CUDA_DIR/images" "$@"
fi
printf '%s\n' $images | xargs -P "$(nproc)" -I{} bin/nvrtc -lib "$LD_LIBRARY_PATH/libnvrtc.so.12" -only {} "$@" gpu/cuda/kernels | sort
