#!/usr/bin/env bash
# check.sh says what happened, never yes to nothing: it runs here with tools that end too early, too late or badly.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/path" "$dir/check/data"
: >"$dir/check/data/go-docs-questions.jsonl"

# fake NAME: a program of the lines that are read.
fake() { (echo '#!/usr/bin/env bash' && cat) >"$dir/$1" && chmod +x "$dir/$1"; }

fail() {
  echo "$1:" >&2
  cat "$dir/log" >&2
  exit 1
}

# expect NAME STATUS 'PART ...' PATTERN ...: runs check.sh, which ends with STATUS and whose table has lines with
# PATTERNs.
expect() {
  local name=$1 status=$2 parts=$3 rc=0
  shift 3
  # shellcheck disable=SC2086
  PATH=$dir/path:$PATH CHECK=$dir/check OUT=$dir/out PYTHON=$dir/path/python \
    gpu/cuda/check.sh $parts >"$dir/log" 2>&1 || rc=$?
  for pattern in "$@"; do
    grep -qE -- "$pattern" "$dir/out/table.txt" || fail "$name: no row is like $pattern"
  done
  [ "$rc" = "$status" ] || fail "$name: status $rc, not $status"
}

fake path/nvidia-smi <<<'echo 600'
fake path/ncu <<<'exit 0'
fake path/python <<<'exit 1'
fake check/cuda.test <<<'exit 0'
fake check/stepflow-cuda <<<'exit 0'

expect "no case of conformance" 1 conformance 'conformance +FAILED +no case ran' 'captured +FAILED +no case ran'
expect "one card" 1 ranks 'one rank +FAILED +no case ran' 'ranks +MISSING +there is one card'
expect "a run of no steps" 1 quickstart 'quickstart +FAILED +it logged no step'
expect "a profile of nothing" 1 profile 'ncu +FAILED'
expect "no PyTorch" 0 peers 'PyTorch +MISSING'
LIMIT=2 expect "no time" 1 "conformance quickstart" 'conformance +NOT RUN' 'quickstart +NOT RUN'
LIMIT=7 expect "steps without rates" 1 steps '368M +FAILED +its steps have no rates'

sanitizer() { SANITIZER_SECONDS=1 expect "$@"; }
fake path/compute-sanitizer <<<'echo "========= Invalid __global__ write of size 2 bytes"; exec sleep 20'
sanitizer "an error before the end" 1 sanitizer 'memcheck +FAILED +=+ Invalid __global__ write'
fake path/compute-sanitizer <<<'exec sleep 20'
sanitizer "a sanitizer that is stopped" 1 sanitizer 'memcheck +STOPPED'
fake path/compute-sanitizer <<<'exit 0'
sanitizer "a sanitizer that checks nothing" 1 sanitizer 'racecheck +FAILED +it ended without a summary'
fake path/compute-sanitizer <<<'echo "========= ERROR SUMMARY: 0 errors"'
sanitizer "a sanitizer that finds nothing" 0 sanitizer 'memcheck +ok +=+ ERROR SUMMARY: 0 errors'

# A training run: it writes STEPS steps, one in PAUSE seconds, and a state whose content is CONTENT, or differs.
fake check/stepflow-cuda <<'RUN'
while [ $# -gt 0 ]; do [ "$1" = -state-dir ] && s=$2; shift; done
mkdir -p "$s/blocks/stage.a"
pause=$(cat "$CHECK/pause") content=$(cat "$CHECK/content" 2>/dev/null || echo "$s")
for ((i = 0; i < 20; i++)); do
  echo '{"step":1,"tokens_per_second":5}' >>"$s/blocks/stage.a/metrics.jsonl"
  [ "$pause" = 0 ] || sleep "$pause"
done
printf '{\n  "blocks": {\n    "stage.a": {\n      "content": "%s",\n' "$content" >"$s/state.json"
echo "validation_loss = 5.1"
RUN
echo 0.05 >"$dir/check/pause"
echo x >"$dir/check/content"
expect "a killed run" 0 quickstart 'killed and resumed +ok +at step 1[0-9] of 20' 'the same bits +ok'
rm "$dir/check/content"
expect "other bits" 1 quickstart 'the same bits +FAILED'
echo x >"$dir/check/content"
echo 0 >"$dir/check/pause"
fake path/sleep <<<'exec /bin/sleep 0.5' # between looks at the log
expect "a kill that comes too late" 1 quickstart 'killed and resumed +FAILED +nothing was killed'
echo "check.sh says what happened in 14 cases"
