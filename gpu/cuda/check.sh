#!/usr/bin/env bash
# The check of the CUDA device on a machine with a card, in under ten minutes: check.sh [PART ...], all parts by
# default, in order of worth. Where that machine has no Go, prepare elsewhere, and unpack bin/check.tar.xz there.
#
#   prepare      builds what the others run, in bin/check, and packs it; needs Go, not a card
#   environment  the card, its driver, libraries and tools
#   conformance  every kernel against float64, launch by launch; then captured; what the arena takes from the card
#   ranks        collectives on one card, and over NCCL with two and more
#   quickstart   200 steps twice, the second time killed half-way and resumed: the same bits
#   steps        training steps of 368M and 1.2B parameters: tokens/s, MFU, peak memory against the plan
#   kernels      each kernel alone, as a share of the measured product and copy rates
#   peers        the step of 368M parameters in PyTorch, eager and compiled
#   sanitizer    our kernels under compute-sanitizer: racecheck, and memcheck with operands in allocations of their own
#   profile      the costliest kernels under ncu
#
# Every part has a limit, writes its log and its row of the table at once, and needs none of the others. A row is ok,
# or says FAILED, STOPPED (its limit came first), NOT RUN (no time was left for it) or MISSING (a tool that is not
# there). The exit status is 0 where all rows are ok or MISSING. Nothing is fetched.
#
# LIMIT is the seconds in all, CHECK the folder of what prepare built, OUT that of logs and table.
set -uo pipefail
cd "$(dirname "$0")/../.."
check=${CHECK:-$PWD/bin/check} python=${PYTHON:-python3}
out=${OUT:-$check/out}
sf=$check/stepflow-cuda
bad=0

# row NAME STATE TEXT
row() {
  printf '%4ds  %-26s %-8s %s\n' $SECONDS "$1" "$2" "$3" | tee -a "$out/table.txt"
  case $2 in ok | MISSING) ;; *) bad=1 ;; esac
}

left() { echo $((${LIMIT:-570} - SECONDS)); }

# attempt NAME LIMIT COMMAND ...: runs a command, its output in NAME.log. Leaves in state how it ended, ok where it
# ended well, and in why what it said last.
attempt() {
  local name=$1 limit=$2 rc begin=$SECONDS
  shift 2
  if [ "$(left)" -lt 5 ]; then
    state="NOT RUN" why="no time was left"
    return 1
  fi
  [ "$limit" -lt "$(left)" ] || limit=$(left)
  timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
  rc=$?
  why="$(grep -m1 -iE 'error|fail|panic' "$out/$name.log" || tail -n1 "$out/$name.log")"
  why="${why:0:160}"
  case $rc in
  0) state=ok ;;
  124 | 137)
    state=STOPPED why="after $((SECONDS - begin)) s, before its end"
    [ $((SECONDS - begin)) -ge "$limit" ] || state=FAILED why="it was killed"
    ;;
  *) state=FAILED why="status $rc: $why" ;;
  esac
  [ $rc = 0 ]
}

# part NAME LIMIT COMMAND ...: an attempt that writes its row where it does not end well.
part() { attempt "$@" || { row "$1" "$state" "$why"; return 1; }; }

prepare() {
  mkdir -p "$check"
  (
    . tools/cuda/env.sh
    cuda_headers
    go build -trimpath -ldflags '-s -w' -tags cuda -o "$sf" ./cmd/stepflow
    go test -trimpath -ldflags '-s -w' -tags cuda -c -o "$check/cuda.test" ./gpu/cuda
    [ -e "$check/data/go-docs-questions.jsonl" ] || CGO_ENABLED=0 go run ./cmd/stepflow sample go-docs -o "$check/data"
    # The two programs have most of their code in common, which only a large dictionary sees.
    XZ_OPT=-9 tar cJf bin/check.tar.xz gpu/cuda/check.sh pipelines/quickstart/*.hcl bench/step/main.hcl \
      bench/peers.py bin/check/stepflow-cuda bin/check/cuda.test bin/check/data
    ls -l bin/check.tar.xz
    [ "$(wc -c <bin/check.tar.xz)" -lt 20000000 ] || { echo "bin/check.tar.xz is more than 20 MB" >&2; exit 1; }
  )
}

environment() {
  {
    nvidia-smi
    nvcc --version
    "$python" -c 'import torch; print(torch.__version__, torch.version.cuda)'
    ldconfig -p | grep -E 'libcuda|cublasLt|libnccl'
    command -v compute-sanitizer ncu
  } >"$out/environment.log" 2>&1
  row card ok "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | head -1), \
$(date -u +%F)"
  part libraries 60 "$sf" devices && row libraries ok "$(grep -m1 cuda "$out/libraries.log")"
}

# cases NAME LIMIT TEST: the cases of a test of kernels, of which there must be some.
cases() {
  part "$1" "$2" "$check/cuda.test" -test.v -test.run "^$3\$" || return
  local n
  n=$(grep -c -- "--- PASS: $3/" "$out/$1.log")
  if [ "$n" -gt 0 ]; then row "$1" ok "$n cases"; else row "$1" FAILED "no case ran"; fi
}

conformance() {
  cases conformance 90 TestCardConformance
  cases captured 60 TestCardCaptured
  part arena 30 "$check/cuda.test" -test.v -test.run TestCardMemory &&
    row arena ok "$(grep -o '[0-9]* beside the arena' "$out/arena.log") bytes"
}

ranks() {
  cases "one rank" 30 TestCardRankAlone
  if [ "$(nvidia-smi -L | grep -c .)" -lt 2 ]; then
    row ranks MISSING "there is one card, and NCCL takes one for each rank"
    return
  fi
  cases ranks 120 TestCardRanks
}

# contents STATE: what every block but an export made, a line each.
contents() {
  awk -F'"' '/^    "[a-z_]+\./ { name = $2 } /^      "content":/ && name !~ /^export/ { print name, $4 }' \
    "$1/state.json" 2>/dev/null
}

# steps_of STATE: how many steps are in its logs.
steps_of() { cat "$1"/blocks/*/metrics.jsonl 2>/dev/null | wc -l; }

quickstart() {
  local q=$check/quickstart a=$check/run-a b=$check/run-b pid rc all at=0 deadline
  local run=("$sf" apply -auto-approve -device cuda -var tokens="${TOKENS:-204800}" -var precision=bf16 -state-dir)
  rm -rf "$q" "$a" "$b"
  mkdir -p "$q"
  cp pipelines/quickstart/*.hcl "$q/"
  ln -sfn "$check/data" "$q/data"
  part quickstart 60 "${run[@]}" "$a" "$q" || return
  all=$(steps_of "$a")
  if [ "$all" = 0 ]; then
    row quickstart FAILED "it logged no step"
    return
  fi
  row quickstart ok "$all steps, $(grep -m1 -o 'validation_loss = [0-9.]*' "$out/quickstart.log")"
  # Once more, killed when half of the steps are in its log.
  "${run[@]}" "$b" "$q" >"$out/killed.log" 2>&1 &
  pid=$! deadline=$((SECONDS + 60))
  while kill -0 $pid 2>/dev/null && [ $SECONDS -lt $deadline ] && [ "$at" -lt $((all / 2)) ]; do
    sleep 0.05
    at=$(steps_of "$b")
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  rc=$?
  part resumed 60 "${run[@]}" "$b" "$q" || return
  if [ $rc != 137 ]; then
    row "killed and resumed" FAILED "nothing was killed: the run ended by itself, with status $rc"
  elif [ "$at" -lt $((all / 2)) ]; then
    row "killed and resumed" STOPPED "at step $at of $all, after 60 s"
  else
    row "killed and resumed" ok "at step $at of $all"
  fi
  if ! contents "$a" | grep -q '^stage'; then
    row "the same bits" FAILED "the first run made nothing to compare"
  elif [ "$(contents "$a")" = "$(contents "$b")" ]; then
    row "the same bits" ok "$(contents "$a" | wc -l) blocks of two runs"
  else
    row "the same bits" FAILED "$(diff <(contents "$a") <(contents "$b") | grep -c '^<') blocks differ"
  fi
}

# shape SIZE and widths SIZE: the sizes of a model for stepflow's pipeline, and for bench and PyTorch.
shape() {
  case $1 in
  368M) echo -var hidden_size=1024 -var intermediate_size=2736 -var batch_size=16 ;;
  1.2B) echo -var hidden_size=2048 -var intermediate_size=5461 -var batch_size=8 ;;
  esac
  echo -var precision=bf16 -var layers=24 -var heads=16 -var vocab_size=32000 -var sequence_length=1024
}
widths() {
  case $1 in
  368M) echo --hidden 1024 --intermediate 2736 --batch 16 ;;
  1.2B) echo --hidden 2048 --intermediate 5461 --batch 8 ;;
  esac
  echo --heads 16 --vocab 32000
}

# median METRIC FILE: of the steps after the third, which warm up.
median() {
  tail -n +4 "$2" 2>/dev/null | grep -o "\"$1\":[0-9.e+-]*" | cut -d: -f2 | sort -g |
    awk '{ x[NR] = $1 } END { if (NR) print x[int((NR + 1) / 2)] }'
}

# watch_memory FILE: writes the most memory that processes had on the card, in MiB, until it is killed.
watch_memory() {
  local most=0 now
  while sleep 0.2; do
    now=$(nvidia-smi --query-compute-apps=used_memory --format=csv,noheader,nounits 2>/dev/null | sort -n | tail -1)
    if [ "${now:-0}" -gt $most ] 2>/dev/null; then
      most=$now
      echo "$most" >"$1"
    fi
  done
}

steps() {
  local size state_dir log watcher planned held rate mfu
  mkdir -p bench/step/data
  cp "$check"/data/*.parquet bench/step/data/
  for size in 368M 1.2B; do
    state_dir=$check/step-$size log=$check/step-$size/blocks/stage.step/metrics.jsonl
    rm -rf "$state_dir" "$out/memory-$size"
    watch_memory "$out/memory-$size" &
    watcher=$!
    # shellcheck disable=SC2046
    part "step-$size" 110 "$sf" apply -auto-approve -device cuda -state-dir "$state_dir" $(shape $size) \
      -var steps=20 bench/step
    kill $watcher
    wait $watcher 2>/dev/null
    rate=$(median tokens_per_second "$log") mfu=$(median mfu "$log")
    if [ -n "$rate" ]; then
      planned=$(grep -o '"planned_bytes": *[0-9]*' "$state_dir/state.json" 2>/dev/null | grep -o '[0-9]*$' | sort -n |
        tail -1)
      held=$(cat "$out/memory-$size" 2>/dev/null || echo '?')
      row "$size" ok "$(printf '%.0f' "$rate") tokens/s, MFU ${mfu:-unknown}, at most $held MiB on the card, \
$((${planned:-0} >> 20)) planned beside a reserve of 768"
    elif [ "$state" = ok ]; then
      row "$size" FAILED "its steps have no rates"
    fi
    rm -rf "$state_dir"
  done
}

kernels() {
  local size
  for size in 368M 1.2B; do
    # shellcheck disable=SC2046
    part "kernels-$size" 45 "$sf" bench -device cuda -precision bf16 $(widths $size) --sequence 1024 &&
      row "kernels-$size" ok "$(grep -E 'matrix product, bf16|large copy' "$out/kernels-$size.log" | tr '\n' ' ')"
  done
}

peers() {
  local mode
  if ! "$python" -c 'import torch; assert torch.cuda.is_available()' >/dev/null 2>&1; then
    row PyTorch MISSING "$python has no PyTorch that sees the card"
    return
  fi
  for mode in eager compile; do
    # shellcheck disable=SC2046
    part "torch-$mode" 75 "$python" bench/peers.py step --device cuda --mode $mode --precision bf16-autocast \
      $(widths 368M) --layers 24 --seq 1024 --steps 15 &&
      row "torch-$mode" ok "$(tail -n1 "$out/torch-$mode.log" | cut -c1-160)"
  done
}

# Where CUDA's tools may lie beside PATH.
tool() { command -v "$1" || ls /usr/local/cuda*/bin/"$1" 2>/dev/null | tail -1; }

sanitizer() {
  local path name test
  path=$(tool compute-sanitizer)
  if [ -z "$path" ]; then
    row compute-sanitizer MISSING "it is not on PATH, nor in /usr/local/cuda*/bin"
    return
  fi
  for name in racecheck memcheck; do
    test=TestCardConformance
    [ $name = memcheck ] && test=TestCardApart # one allocation an operand: memcheck does not see into an arena
    attempt $name "${SANITIZER_SECONDS:-70}" "$path" --tool $name --error-exitcode 9 "$check/cuda.test" \
      -test.run "$test/(att|cross|emb|rms|rope|sum|clip|adamw|swiglu|ema|norm|slice)"
    # Its log counts whatever its end was; an end without a summary is none.
    if grep -qE '=========.*(Invalid|Race|hazard|Error:|Program hit)' "$out/$name.log" 2>/dev/null &&
      ! grep -qE '=========.*SUMMARY: 0 ' "$out/$name.log"; then
      row $name FAILED "$(grep -m1 -E '=========.*(Invalid|Race|hazard|Error:|Program hit)' "$out/$name.log")"
    elif [ "$state" = ok ] && ! grep -qE '=========.*SUMMARY: 0 ' "$out/$name.log"; then
      row $name FAILED "it ended without a summary"
    elif [ "$state" = ok ]; then
      row $name ok "$(grep -m1 -E '=========.*SUMMARY: 0 ' "$out/$name.log")"
    else
      row $name "$state" "$why"
    fi
  done
}

profile() {
  local path
  path=$(tool ncu)
  if [ -z "$path" ]; then
    row ncu MISSING "it is not on PATH, nor in /usr/local/cuda*/bin"
    return
  fi
  # shellcheck disable=SC2046
  part ncu 40 "$path" --clock-control none --set basic -k 'regex:attention|logits_grad|adamw' -c 8 \
    "$sf" bench -device cuda -precision bf16 $(widths 368M) --sequence 1024 || return
  if grep -q 'Duration' "$out/ncu.log"; then row ncu ok "see ncu.log"; else row ncu FAILED "it profiled nothing"; fi
}

all="environment conformance ranks quickstart steps kernels peers sanitizer profile"
for name in "$@"; do
  case " prepare $all " in
  *" $name "*) ;;
  *)
    echo "check.sh has no part $name; it has: prepare $all" >&2
    exit 2
    ;;
  esac
done
if [ "${1:-}" = prepare ]; then
  prepare || exit 1
  shift
  [ $# -gt 0 ] || exit 0
fi
[ -x "$check/cuda.test" ] || {
  echo "$check is not there: run gpu/cuda/check.sh prepare where there is Go" >&2
  exit 1
}
nvidia-smi -L >/dev/null || { echo "there is no card here" >&2; exit 1; }
mkdir -p "$out"
: >"$out/table.txt"
# shellcheck disable=SC2086
for name in ${@:-$all}; do $name; done
(cd "$out" && tar czf logs.tar.gz ./*.log && rm -f ./*.log)
exit $bad
