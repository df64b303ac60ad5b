#!/usr/bin/env bash
# Builds Jaeger's page into bin/jaeger-ui, from the sources that belong to the Jaeger of go.mod. It takes minutes.
set -euo pipefail
cd "$(dirname "$0")"
page=$PWD/../../bin/jaeger-ui
[ ! -e "$page/index.html" ] || exit 0
version=$(go list -m -f '{{.Version}}' github.com/jaegertracing/jaeger)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet --depth 1 --branch "$version" https://github.com/jaegertracing/jaeger-ui "$work"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --engine-strict=false
npm run build
mkdir -p "$page"
cp -r packages/jaeger-ui/build/. "$page"
