#!/usr/bin/env bash
# Builds bin/stepflow-cuda.
cd "$(dirname "$0")/../.."
. tools/cuda/env.sh
cuda_headers
go vet -tags cuda ./gpu/cuda ./cmd/stepflow
go build -trimpath -tags cuda -o bin/stepflow-cuda ./cmd/stepflow
# Without a driver it must say so and end, which the stub shows.
if LD_LIBRARY_PATH=$CUDA_DIR/stub bin/stepflow-cuda version >"$CUDA_DIR/out" 2>&1 || ! grep -q 'NoDevice' "$CUDA_DIR/out"; then
  cat "$CUDA_DIR/out"
  echo "stepflow-cuda does not say that the driver has no card"
  exit 1
fi
ls -l bin/stepflow-cuda
