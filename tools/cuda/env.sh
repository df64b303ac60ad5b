# Sourced from the root: what it takes to build stepflow-cuda, with or without a card. With CUDA_HOME set,
# or CUDA in /usr/local/cuda, the machine's own headers; else those of PyPI's packages, in .cuda, which
# also hold NVRTC (exit code 77: they cannot be fetched). What is linked is a stub of libcuda made here; a run loads the driver's.
set -euo pipefail
: "${PYTHON:=python3}"
CUDA_DIR=$PWD/.cuda
mkdir -p "$CUDA_DIR/stub"

# An old NVRTC that knows compute capability 9.0a: its code runs on every driver since.
cuda_wheels() {
  if [ ! -e "$CUDA_DIR/venv/.ready" ]; then
    "$PYTHON" -m venv "$CUDA_DIR/venv"
    "$CUDA_DIR/venv/bin/pip" install -q --disable-pip-version-check nvidia-cuda-nvrtc-cu12==12.1.105 nvidia-cuda-runtime-cu12==12.1.105 || {
      echo "PyPI's packages of NVRTC and CUDA's headers could not be installed" >&2
      exit 77
    }
    touch "$CUDA_DIR/venv/.ready"
  fi
  NVIDIA=$(echo "$CUDA_DIR"/venv/lib/python3*/site-packages/nvidia)
}

cuda_headers() {
  local home=${CUDA_HOME:-/usr/local/cuda}
  if [ -e "$home/include/cuda.h" ]; then
    CUDA_INCLUDE=$home/include
  else
    cuda_wheels
    CUDA_INCLUDE=$NVIDIA/cuda_runtime/include
  fi
  # Every function that cuda.h declares, answering CUDA_ERROR_NO_DEVICE.
  local compat=$PWD/gpu/cuda/compat
  echo '#include <cuda.h>' | "${CC:-cc}" -E -I"$compat" -I"$CUDA_INCLUDE" - | grep -oE '\bcu[A-Z][A-Za-z0-9_]* *\(' | tr -d ' (' | sort -u |
    sed 's/.*/int &(void) { return 100; }/' >"$CUDA_DIR/stub/stub.c"
  "${CC:-cc}" -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$CUDA_DIR/stub/libcuda.so" "$CUDA_DIR/stub/stub.c"
  ln -sf libcuda.so "$CUDA_DIR/stub/libcuda.so.1"
  export CGO_ENABLED=1 CGO_CFLAGS="-O2 -I$compat -I$CUDA_INCLUDE" CGO_LDFLAGS="-L$CUDA_DIR/stub"
}
