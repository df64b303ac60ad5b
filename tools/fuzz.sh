#!/usr/bin/env bash
# fuzz.sh [TIME]: runs every fuzz target there is, each for TIME (default 30s).
set -euo pipefail
cd "$(dirname "$0")/.."
targets=$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "no fuzz target was found" >&2; exit 1; }
while read -r package target; do
  echo "== $package $target"
  # Minimizing an input that covers more takes up to a minute, in which none is tried.
  go test -run=XXX -fuzz="^$target\$" -fuzztime="${1:-30s}" -fuzzminimizetime=20x "$package" </dev/null
done <<<"$targets"
