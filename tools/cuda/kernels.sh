#!/usr/bin/env bash
# Compiles gpu/cuda/kernels to the images that stepflow-cuda embeds, and writes docs/kernels.md. -check compiles the PTX and
# the code for 9.0a, keeps nothing, and fails where docs/kernels.md says something else of that code.
cd "$(dirname "$0")/../.."
. tools/cuda/env.sh
cuda_wheels
export LD_LIBRARY_PATH=$NVIDIA/cuda_nvrtc/lib # where NVRTC finds its builtins
CGO_ENABLED=0 go build -o bin/nvrtc ./gpu/cuda/nvrtc
images="sm_80.cubin sm_89.cubin sm_90a.cubin compute_80.ptx"
check=
if [ "${1:-}" = -check ]; then
  shift
  check=$CUDA_DIR/images
  images="sm_90a.cubin compute_80.ptx"
  set -- -o "$check" "$@"
fi
printf '%s\n' $images | xargs -P "$(nproc)" -I{} bin/nvrtc -lib "$LD_LIBRARY_PATH/libnvrtc.so.12" -only {} "$@" gpu/cuda/kernels | sort
export CGO_ENABLED=0
if [ -n "$check" ]; then
  go run ./tools/cuda/table -image "$check/sm_90a.cubin.gz" | diff docs/kernels.md - || {
    echo "docs/kernels.md is not what NVRTC makes of the kernels: run make cuda-kernels" >&2
    exit 1
  }
elif [ -z "$*" ]; then
  go run ./tools/cuda/table >bin/kernels.md
  mv bin/kernels.md docs/kernels.md
fi
