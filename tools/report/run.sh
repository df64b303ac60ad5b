#!/usr/bin/env bash
# Makes the report of every state a run can be found in, and a live one, and opens them in headless Chromium.
# With "picture" it makes docs/report.png again, of the quickstart that was run.
# It ends with 77 where the packages it needs cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -d tools/report/node_modules/axe-core ] || (cd tools/report && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --silent --no-audit --no-fund) || {
  echo "npm could not install playwright-core and axe-core: the report was not opened" >&2
  exit 77
}
export CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
[ -n "$CHROMIUM" ] || { echo "there is no chromium: the report was not opened; CHROMIUM names another browser" >&2; exit 77; }
if [ "${1:-}" = picture ]; then
  node tools/report/picture.mjs "$(bin/stepflow report pipelines/quickstart)" docs/report.png
  exit
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
node --test --test-reporter=dot tools/report/units.test.mjs
STEPFLOW_REPORT_PAGES=$tmp go test -count=1 -run Page ./report
node tools/report/test.mjs "$@" "$tmp"/*.html

# A run that goes on, in a folder of its own.
mkdir "$tmp/pipeline"
cp pipelines/quickstart/*.hcl "$tmp/pipeline"
bin/stepflow sample go-docs -o "$tmp/pipeline/data" >"$tmp/log"
bin/stepflow apply -auto-approve -var tokens=1000000 -ui :0 "$tmp/pipeline" >"$tmp/log" 2>&1 &
run=$!
trap 'kill $run 2>/dev/null || true; wait $run 2>/dev/null || true; rm -rf "$tmp"' EXIT
until grep -q 'shows itself at' "$tmp/log" && [ -n "$(find "$tmp/pipeline/.stepflow" -name metrics.jsonl -size +2k 2>/dev/null)" ]; do
  kill -0 $run || { cat "$tmp/log"; exit 1; }
  sleep 0.2
done
node tools/report/test.mjs "$(sed -n 's/.*shows itself at //p' "$tmp/log")"
