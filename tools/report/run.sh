#!/usr/bin/env bash
# Makes the report of every state a run can be found in, and a live one, and opens them in headless Chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -d tools/report/node_modules ] || (cd tools/report && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --silent --no-audit --no-fund) || { echo "npm could not install playwright-core and axe-core: the report was not opened"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
STEPFLOW_REPORT_PAGES=$tmp go test -count=1 ./report
export CHROMIUM=${CHROMIUM:-$(command -v chromium)}
node tools/report/test.mjs "$@" "$tmp"/*.html

# A run that goes on, if the quickstart's data are there.
if [ -f pipelines/quickstart/data/go-docs.parquet ]; then
  bin/stepflow apply -auto-approve -state-dir "$tmp/state" -var tokens=1000000 -ui :0 pipelines/quickstart >"$tmp/log" 2>&1 &
  run=$!
  trap 'kill $run 2>/dev/null || true; wait $run 2>/dev/null || true; rm -rf "$tmp"' EXIT
  until grep -q 'shows itself at' "$tmp/log" && [ -n "$(find "$tmp/state" -name metrics.jsonl -size +2k 2>/dev/null)" ]; do kill -0 $run; sleep 0.2; done
  node tools/report/test.mjs "$(sed -n 's/.*shows itself at //p' "$tmp/log")"
fi
