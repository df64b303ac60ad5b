#!/usr/bin/env bash
# The card's own driver code on a driver library made of the emulator: every kernel through captures, copies
# and column-major products, and stepflow going on as stepflow-cuda to train.
cd "$(dirname "$0")/../.."
tools/cuda/check_test.sh
. tools/cuda/env.sh
cuda_headers
gpu/cuda/emu/driver/build.sh "$CUDA_DIR/driver" "$CUDA_DIR/torch/lib/python3.12/site-packages/nvidia/cublas/lib"
gpu/cuda/emu/driver/nccl.sh "$CUDA_DIR/torch/lib/python3.12/site-packages/nvidia/nccl/lib"
go test -tags cuda -c -o "$CUDA_DIR/cuda.test" ./gpu/cuda
export LD_LIBRARY_PATH=$CUDA_DIR/driver
# cuBLASLt and NCCL lie where PyTorch's wheels put them, in the packages of a virtual environment; without that, all places are
# named.
export VIRTUAL_ENV=$CUDA_DIR/torch
if VIRTUAL_ENV='' "$CUDA_DIR/cuda.test" -test.run TestCardMemory >"$CUDA_DIR/missing.log" 2>&1; then
  echo "a cuBLASLt was found that is not the emulator's" >&2
  exit 1
fi
for part in 'libcublasLt.so.12: cannot open' "python3's packages: "; do
  grep -q "$part" "$CUDA_DIR/missing.log" || {
    cat "$CUDA_DIR/missing.log"
    exit 1
  }
done
"$CUDA_DIR/cuda.test" -test.run "TestCard|TestStandIn"

[ -x bin/stepflow ] && [ -x bin/stepflow-cuda ] || { echo "make build cuda first" >&2; exit 1; }
run=$CUDA_DIR/run
rm -rf "$run"
mkdir -p "$run"
cp pipelines/quickstart/*.hcl "$run/"
bin/stepflow sample go-docs -o "$run/data" >/dev/null
bin/stepflow devices
for device in cpu cuda; do
  mkdir "$run/$device"
  bin/stepflow apply -auto-approve -device $device -state-dir "$run/$device" -var tokens=80000 "$run" >"$run/$device.log" 2>&1 &
  pid=$!
  until [ "$(cat "$run/$device/blocks/stage.seed/metrics.jsonl" 2>/dev/null | wc -l)" -ge 3 ] || ! kill -0 $pid 2>/dev/null; do sleep 0.2; done
  kill -INT $pid 2>/dev/null || true
  wait $pid || true
  head -3 "$run/$device/blocks/stage.seed/metrics.jsonl" | grep -oE '"loss":[0-9.]{6}' >"$run/$device.losses"
done
paste "$run/cpu.losses" "$run/cuda.losses"
[ "$(wc -l <"$run/cuda.losses")" = 3 ] && cmp "$run/cpu.losses" "$run/cuda.losses"
