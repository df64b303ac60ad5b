#!/usr/bin/env bash
# The whole check of the CUDA device on a machine with a card: check.sh [PART ...], all parts by default.
#
#   prepare     builds what the others run, in bin/check; needs Go, not a card. Where the machine with the
#               card has no Go, prepare elsewhere and bring the tree with bin/check.
#   conformance every kernel against float64, and what the arena takes from the card
#   sanitizer   the same under compute-sanitizer: memcheck, then racecheck
#   quickstart  200 steps twice (the same bits), a killed run that goes on (the same bits), peak memory
#               as the driver tells it against the plan
#   kernels     each kernel alone, as a share of the measured product and copy rates
#   bench       training steps of 368M and 1.2B parameters against PyTorch, taking turns
#
# Nothing is fetched. A part that fails is told in the table at the end, and the others run.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=$PWD/bin/check
table=()
note() { table+=("$(printf '%-34s %s' "$1" "$2")"); }

prepare() {
  mkdir -p "$out"
  (
    . tools/cuda/env.sh
    cuda_headers
    go build -trimpath -ldflags '-s -w' -tags cuda -o "$out/stepflow-cuda" ./cmd/stepflow
    go test -trimpath -ldflags '-s -w' -tags cuda -c -o "$out/cuda.test" ./gpu/cuda
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$out/bench" ./bench
    CGO_ENABLED=0 go run ./cmd/stepflow sample go-docs -o "$out/data"
  )
}

conformance() {
  if "$out/cuda.test" -test.v -test.run 'TestCard' >"$out/conformance.log" 2>&1; then
    note conformance "$(grep -c -- '--- PASS: TestCardConformance/' "$out/conformance.log") cases pass; $(grep -o '[0-9]* beside the arena' "$out/conformance.log") bytes"
  else
    note conformance "FAILED: $(grep -m1 -A1 -- '--- FAIL' "$out/conformance.log" | tr '\n' ' ')"
  fi
}

sanitizer() {
  local tool
  for tool in memcheck racecheck; do
    timeout "${SANITIZER_SECONDS:-240}" compute-sanitizer --tool "$tool" --error-exitcode 9 "$out/cuda.test" -test.run 'TestCardConformance' >"$out/$tool.log" 2>&1
    case $? in
    0) note "compute-sanitizer $tool" "$(tail -1 "$out/$tool.log")" ;;
    124) note "compute-sanitizer $tool" "no error in ${SANITIZER_SECONDS:-240} s, stopped before the end" ;;
    *) note "compute-sanitizer $tool" "FAILED: $(grep -m1 '=========.*\(Invalid\|Race\|Error\|ERROR\)' "$out/$tool.log")" ;;
    esac
  done
}

# run STATE: the quickstart's first 200 steps in bf16, in place of the shell that calls it.
run() {
  exec "$out/stepflow-cuda" apply -auto-approve -device cuda -var tokens="${TOKENS:-204800}" -var precision=bf16 -state-dir "$1" "$out/quickstart"
}

# contents STATE: what every block made.
contents() { python3 -c 'import json,sys; print({n: b.get("content") for n, b in json.load(open(sys.argv[1]+"/state.json"))["blocks"].items() if not n.startswith("export")})' "$1"; }

quickstart() {
  rm -rf "$out/quickstart" "$out"/run-*
  mkdir -p "$out/quickstart"
  cp pipelines/quickstart/*.hcl "$out/quickstart/"
  ln -sfn "$out/data" "$out/quickstart/data"
  if ! (run "$out/run-a") >"$out/quickstart.log" 2>&1; then
    note quickstart "FAILED: $(tail -3 "$out/quickstart.log" | tr '\n' ' ')"
    return
  fi
  note "quickstart, 200 steps bf16" "$(grep 'validation_loss = [0-9]' "$out/quickstart.log" | head -1)"
  # Once more, its memory watched, and killed in the middle.
  (run "$out/run-b") >"$out/killed.log" 2>&1 &
  local pid=$! most=0 now
  while kill -0 $pid 2>/dev/null; do
    now=$(nvidia-smi --query-compute-apps=used_memory --format=csv,noheader,nounits 2>/dev/null | sort -n | tail -1)
    [ "${now:-0}" -gt "$most" ] 2>/dev/null && most=$now
    if grep -q 'stage.middle: step' "$out/killed.log"; then
      sleep 0.3
      kill -9 $pid
    fi
    sleep 0.1
  done
  wait $pid 2>/dev/null
  (run "$out/run-b") >>"$out/killed.log" 2>&1
  if [ "$(contents "$out/run-a")" = "$(contents "$out/run-b")" ]; then
    note "killed, resumed, run again" "the same bits"
  else
    note "killed, resumed, run again" "FAILED: other bits"
  fi
  note "peak memory, driver's figure" "$most MiB; planned arena $(python3 -c 'import json,sys; print(max(b.get("memory", {}).get("planned_bytes", 0) for b in json.load(open(sys.argv[1]+"/state.json"))["blocks"].values()) >> 20)' "$out/run-a") MiB beside a reserve of 768 MiB"
}

kernels() {
  if "$out/stepflow-cuda" bench -device cuda -precision bf16 -hidden 2048 -intermediate 5461 -heads 16 -vocab 32000 -batch 8 -sequence 1024 | tee "$out/kernels.txt"; then
    note kernels "see the table above; $(grep -o "large copy: .*" "$out/kernels.txt" | head -1)"
  else
    note kernels FAILED
  fi
  echo "-- PyTorch, the same shapes"
  "${PYTHON:-python3}" bench/peers.py card --batch 8 --seq 1024 --hidden 2048 --intermediate 5461 --heads 16 | tee "$out/kernels-peer.txt"
  local name ours theirs
  for name in 'gate projection' 'its weight gradient' 'attention' 'attention, backward'; do
    ours=$(grep -oE " $name  +bf16 .* GFLOP/s" "$out/kernels.txt" | grep -oE '[0-9.]+ GFLOP/s' | head -1)
    theirs=$(grep -E "^$name  " "$out/kernels-peer.txt" | grep -oE '[0-9.]+ GFLOP/s')
    note "$name" "stepflow ${ours:-?}, PyTorch ${theirs:-?}"
  done
}

bench() {
  mkdir -p bench/step/data
  cp "$out"/data/*.parquet bench/step/data/
  if "$out/bench" -device cuda -parts step -rounds "${ROUNDS:-1}" -python "${PYTHON:-python3}" -stepflow "$out/stepflow-cuda" | tee "$out/bench.txt"; then
    while read -r line; do note "training step" "$line"; done < <(grep ' times the tokens/s' "$out/bench.txt")
  else
    note bench FAILED
  fi
}

parts=("$@")
if [ ${#parts[@]} -eq 0 ]; then
  parts=(conformance sanitizer quickstart kernels bench)
  if command -v go >/dev/null; then parts=(prepare "${parts[@]}"); fi
fi
if [ "${parts[0]}" != prepare ]; then
  [ -x "$out/cuda.test" ] || { echo "bin/check is not there: run gpu/cuda/check.sh prepare where there is Go" >&2; exit 1; }
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader || { echo "there is no card here" >&2; exit 1; }
fi
for part in "${parts[@]}"; do
  echo "== $part"
  "$part" || { note "$part" FAILED; [ "$part" = prepare ] && break; }
done
if [ ${#table[@]} -gt 0 ]; then
  printf '\n%s\n' "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null), $(date -u +%F)"
  printf '%s\n' "${table[@]}"
fi
case "${table[*]-}" in *FAILED*) exit 1 ;; esac
