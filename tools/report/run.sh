#!/usr/bin/env bash
# Makes the report of every state a run can be found in, and a live one, and opens them in headless Chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -d tools/report/node_modules ] || (cd tools/report && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --silent --no-audit --no-fund)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
STEPFLOW_REPORT_PAGES=$tmp go test -count=1 ./report
export CHROMIUM=${CHROMIUM:-$(command -v chromium)}
node tools/report/test.mjs "$@" "$tmp"/*.html
