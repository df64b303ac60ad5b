#!/usr/bin/env bash
# Renders the book as static pages in bin/docs and checks their links; with -test, they are also opened in headless
# Chromium. It ends with 77 where the packages it needs cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
lock=tools/docs/node_modules/.package-lock.json
[ "$lock" -nt tools/docs/package-lock.json ] || (cd tools/docs && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --silent --no-audit --no-fund) || {
  echo "npm could not install what tools/docs/package-lock.json names: the book was not rendered" >&2
  exit 77
}
rm -rf bin/docs
OUT=bin/docs tools/docs/node_modules/.bin/eleventy --config=tools/docs/eleventy.config.mjs
# The module of its own makes ./... pass over the sources that pages link to.
echo "module book" >bin/docs/go.mod
node tools/docs/check.mjs bin/docs
if [ "${1:-}" = -test ]; then
  export CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
  [ -n "$CHROMIUM" ] || { echo "there is no chromium: the book was not opened; CHROMIUM names another browser" >&2; exit 77; }
  node tools/docs/test.mjs bin/docs
fi
echo "The book is at bin/docs/index.html"
