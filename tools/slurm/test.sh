#!/usr/bin/env bash
# A sweep of 6 small stages with dependencies on a private Slurm of 2 virtual nodes, disturbed: a node is killed and one is drained, a job
# is cancelled, the controller is restarted, a job is told that its time is over, apply is interrupted. In the end, the state has what a
# run without Slurm has, bit for bit. Needs root and Debian's munge, slurmctld, slurmd and slurm-client.
set -euo pipefail
cd "$(dirname "$0")/../.."
stepflow=${STEPFLOW:-$PWD/bin/stepflow}
cluster=$PWD/tools/slurm/cluster.sh
work=$(mktemp -d)
chmod 755 "$work" # munged runs as another user
export PATH=$PATH:/usr/sbin SLURM_CONF=$work/slurm/slurm.conf NO_COLOR=1
finish() {
  local code=$?
  [ -z "${applying:-}" ] || kill "$applying" 2>/dev/null || true
  [ -z "${started:-}" ] || timeout 10 scancel --quiet --user=root 2>/dev/null || true
  "$cluster" stop "$work/slurm"
  if [ "$code" != 0 ]; then
    tail -n 40 "$work"/out* 2>/dev/null || true
    tail -n 5 "$work"/slurm/*.log "$work"/p/s/jobs/*/log 2>/dev/null || true
  fi
  rm -rf "$work" || { sleep 1 && rm -rf "$work"; } || true
  exit "$code"
}
trap finish EXIT

say() { echo "$(date +%T) $*"; }

fail() {
  echo "failed: $*" >&2
  exit 1
}

# until_ SECONDS WHAT COMMAND …: waits until a command succeeds.
until_() {
  local n=$(($1 * 10)) what=$2
  shift 2
  for _ in $(seq "$n"); do
    if "$@" >/dev/null 2>&1; then
      return 0
    fi
    sleep 0.1
  done
  fail "$what did not happen"
}

# job WHERE: the number of a job that runs there.
job() { squeue --noheader --states=running --nodelist="$1" --format=%i | head -1; }
runs_on() { [ -n "$(job "$1")" ]; }
runs_somewhere() { squeue --noheader --states=running --format=%i | grep -q .; }
# saved: whether a stage of the first three has a checkpoint.
saved() { ls -d "$work"/p/s/blocks/stage.seed*/step-* 2>/dev/null | grep -q .; }
# processes JOB: those of a job, as a node has them that loses its power.
processes() {
  local steps
  steps=$(ps -eo pid=,args= | awk -v name="slurmstepd: [$1." 'index($0, name) { print $1 }')
  echo "$steps"
  for p in $steps; do ps -o pid= --ppid "$p" || true; done
}
requeued() { ! squeue --noheader --states=running --nodelist=n1 --format=%i | grep -qx "$1"; }
# begin_now JOB: Slurm lets a job that is queued again wait two minutes.
begin_now() { scontrol update jobid="$1" starttime=now || true; }
idle() { sinfo --noheader --nodes="$1" --states=idle --format=%t | grep -qx idle; }
resumed() {
  scontrol update nodename="$1" state=resume || sinfo --noheader --nodes="$1" --format=%t | grep -Eq '^(idle|alloc|mix|comp)$'
}
waits() { squeue --noheader --states=pending --format=%i | grep -qx "$1"; }
# other JOB: the number of another job that runs.
other() { squeue --noheader --states=running --format=%i | grep -vx "$1" | head -1 | grep .; }
told() { grep -q -- "$1" "$work/out"; }

begin() {
  "$stepflow" apply -state-dir "$work/p/s" "$work/p" >"$work/out" 2>&1 &
  applying=$!
}
# ends CODE: waits for apply, and wants its exit code.
ends() {
  local code=0
  wait "$applying" || code=$?
  applying=
  cat "$work/out" >>"$work/out.all"
  [ "$code" = "$1" ] || fail "apply exited with $code, not $1"
}

mkdir "$work/p" "$work/local"
cp tools/slurm/sweep.hcl "$work/p/main.hcl"
awk 'BEGIN { for (i = 0; i < 120; i++) { s = ""; for (j = 0; j < 40; j++) s = s " w" (i * i + j * (i + 3)) % 37; print "{\"text\":\"" s "\"}" } }' \
  >"$work/p/d.jsonl"
cp "$work/p/d.jsonl" "$work/local"
sed 's/^  executor = .*//; s/^defaults .*//' "$work/p/main.hcl" >"$work/local/main.hcl"
say "a private Slurm"
"$cluster" start "$work/slurm" 2
started=1
"$stepflow" plan -state-dir "$work/p/s" "$work/p" >"$work/plan"
grep -q 'runs on     executor.slurm.small: sbatch --partition=main --nodes=1' "$work/plan" || fail "plan does not say where stages run"

"$stepflow" apply "$work/local" >"$work/out.local" 2>&1 &
alone=$!
say "a node is lost, while the other is drained: Slurm queues its job again"
begin
until_ 20 "a stage on n1" runs_on n1
lost=$(job n1)
until_ 20 "a checkpoint" saved
scontrol update nodename=n2 state=drain reason="a test"
kill -9 "$(cat "$work/slurm/slurmd.n1.pid")" $(processes "$lost") 2>/dev/null || true
until_ 30 "the end of job $lost on n1" requeued "$lost"
slurmd -N n1
until_ 20 "the return of n1" idle n1
begin_now "$lost"
until_ 30 "a job on n1" runs_on n1

say "the controller is restarted"
kill "$(cat "$work/slurm/slurmctld.pid")"
sleep 1
slurmctld
until_ 20 "an answer of the controller" squeue --noheader

say "apply is interrupted, and leaves its jobs"
until_ 10 "jobs" [ -n "$(squeue --noheader)" ]
kill -INT "$applying"
ends 130
told 'goes on: stage' || fail "apply does not say which jobs go on"

say "the next follows them; one is told that its time is over"
begin
until_ 30 "a job that is followed" told 'goes on as job'
until_ 20 "the return of n2" resumed n2
until_ 40 "a stage that continues one" told 'stage.grown.*: job .*: running'
late=$(sed -n 's/^stage.grown.*: job \([0-9]*\): running.*/\1/p' "$work/out" | head -1)
scancel --signal=USR1 --batch "$late"
until_ 20 "the end of its time" waits "$late"
begin_now "$late"

say "a job is cancelled"
until_ 40 "another job" other "$late"
scancel "$(other "$late")"
ends 1
grep -q 'was cancelled' "$work/out" || fail "apply does not say that a job was cancelled"

say "the rest"
begin
ends 0
"$stepflow" plan -detailed-exitcode -state-dir "$work/p/s" "$work/p" >/dev/null || fail "something is left to do"

wait "$alone" || fail "the run without Slurm"
python3 - "$work/p/s/state.json" "$work/local/.stepflow/state.json" <<'PYTHON'
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
what = lambda s: {n: (x["status"], x["recipe"], x["content"], x.get("values"), x.get("job")) for n, x in s["blocks"].items()}
a, b, blocks = (what(a), a["outputs"]), (what(b), b["outputs"]), len(a["blocks"])
if a != b or blocks != 10:
    sys.exit("failed: the states differ: " + "; ".join(f"{n}: {a[0][n]} and {b[0].get(n)}" for n in a[0] if a[0][n] != b[0].get(n)))
print(f"{blocks} blocks came out the same, bit for bit.")
PYTHON
